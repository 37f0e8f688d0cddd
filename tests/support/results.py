"""Results of streams that nobody learned."""

import json
from pathlib import Path

from mulki_hf.results import BaseModel, MethodRecord, ReferenceRecord, StreamResults, TaskRecord


ROWS = [[80.25, 30.5], [70.75, 90.125]]


def empty_results(*names: str, method: str = "mulki", protocol: str = "til", **fields) -> StreamResults:
    tasks = [TaskRecord(name, "local files", ["a", "b"], ["{}"], 10, 5) for name in names]
    return StreamResults(method, protocol, tasks, BaseModel("tiny"), **fields)


def make_results(finished: int = 2) -> StreamResults:
    results = empty_results(
        "digits", "Straßenschilder", zero_shot=[50.0, 40.0], config={"seed": 3}, versions={"torch": "2"}
    )
    results.reference = ReferenceRecord("org/pictures", 100, "mit")
    for row in ROWS[:finished]:
        results.add({"til": row}, seconds=1.5)
    return results


def by_protocols(finished: int = 2) -> StreamResults:
    """By three protocols, the headline class-incremental; each reads 10 points lower than the one before."""
    results = empty_results("digits", "letters", protocol="cil", config={"protocols": ["cil", "xtail", "til"]})
    rows = [
        {protocol: [value - 10 * lower for value in row] for lower, protocol in enumerate(results.config["protocols"])}
        for row in ([50.0, 40.0], *ROWS)
    ]
    results.measured(rows[0])
    for row in rows[1 : 1 + finished]:
        results.add(row, seconds=1.5)
    return results


def seeded(rows: list[list[float]], seed: int = 0, names: str = "abc", settings=None, **fields) -> StreamResults:
    """Results of the tasks `names`, a letter each, from the zero-shot row and those after each task."""
    settings = (settings or {}) | {"seed": seed}
    config = {"learning_rate": 1e-5, "lora_r": None} | settings
    results = empty_results(*names, config=config, **fields)
    results.about = MethodRecord("A method.", "both towers", settings=settings)
    results.provenance = {"command": f"python -m mulki_hf.train --seed {seed}", "git_commit": "c0ffee"}
    results.measured({results.protocol: rows[0]})
    for row in rows[1:]:
        results.add({results.protocol: row}, seconds=1.5)
    return results


def as_an_older_version(folder: Path) -> None:
    """Rewrite `results.json` as it was written before it described method, artefact and further protocols."""
    path = folder / StreamResults.FILE
    results = json.loads(path.read_text(encoding="utf-8"))
    for name in ("about", "artefact", "others"):
        del results[name]
    del results["base"]["embedded"]
    for name in ("peft_config", "snd_gate"):
        del results["config"][name]
    results["config"]["protocol"] = results["config"].pop("protocols")[0]
    results["metrics"] = {name: value for name, value in results["metrics"].items() if not name.startswith("snd_")}
    for task in results["tasks"]:
        task["lora_error"] = task.pop("facts").get("lora_error")
        del task["note"]
    path.write_text(json.dumps(results), encoding="utf-8")
