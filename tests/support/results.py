"""Results of streams that nobody learned."""

import json
from pathlib import Path

from mulki_hf.records import BaseModel, MethodRecord, ReferenceRecord, TaskRecord
from mulki_hf.report.published.records import settings
from mulki_hf.results import StreamResults


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


def of_benchmark(family: str = "mtil", order: str = "order I", protocol: str = "til", lift: float = 0.0, **fields):
    """A finished stream of a published order; accuracy rises by one with each task that is learned."""
    setting = next(known for known in settings() if (known.family, known.order) == (family, order))
    names = [name.partition(":")[2] for name in setting.tasks]
    if setting.classes:
        names = [f"{name}-{number}" for number, name in enumerate(names, start=1)]
    config = {"seed": 0, "language": "en", "protocols": [protocol]}
    if setting.class_order:
        config["tasks"] = [{"name": "all", "class_order": setting.class_order}]
    results = empty_results(*names, protocol=protocol, config=config, **fields)
    for position, (task, name) in enumerate(zip(results.tasks, setting.tasks, strict=True)):
        task.benchmark = {"name": name, "zero_shot": None, "notes": []}
        task.class_names = [f"{task.name} {n}" for n in range(setting.classes[position] if setting.classes else 2)]
    results.base = BaseModel("openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16", license="mit")
    results.about = MethodRecord("A method.", "both towers", settings={"seed": 0})
    results.measured({protocol: [40.0] * len(names)})
    for step in range(len(names)):
        results.add({protocol: [40.0 + step + lift + (20 if j <= step else 0) for j in range(len(names))]}, seconds=1.5)
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
