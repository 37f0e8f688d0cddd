"""The model card of a task's checkpoint, from its results alone."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

from huggingface_hub import ModelCard

from ..durable import write_text
from ..errors import ConfigurationError
from ..evaluation.protocols import PROTOCOLS
from ..records import ArtefactRecord, BaseModel, ReferenceRecord
from ..resources import resource
from ..results import IN_MEMORY, StreamResults
from .benchmarks import benchmark_name, notes
from .markdown import code, hypothesis, literal, text
from .metadata import card_data, metrics_so_far, on_hub
from .published.beside import card_table, sentence, standing
from .samples import images_text, samples_text
from .tables import cells_note, duration, markdown_table, matrix_table, metrics_table, percent, signed


CLIP_BIBTEX = """@inproceedings{radford2021clip,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and
            Agarwal, Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and
            Krueger, Gretchen and Sutskever, Ilya},
  booktitle = {International Conference on Machine Learning},
  year = {2021}
}"""


def save_card(results: StreamResults, folder: Path, repo_id: str | None = None) -> None:
    """Write `README.md` into a checkpoint's folder, for the Hub repository `repo_id` or, without one, for local use.

    An artefact in it gets its own, for the repository of that name and the artefact's suffix.
    """
    rows = sorted(file.name for file in folder.glob("rows_*.json"))
    write_text(folder / "README.md", task_card(results, folder.name, repo_id, rows=rows))
    if results.artefact is not None and (folder / results.artefact.folder).is_dir():
        card = artefact_card(results, results.artefact, folder.name, repo_id)
        write_text(folder / results.artefact.folder / "README.md", card)


def card_of_task(results: StreamResults, folder: str, repo_id: str | None = None) -> str:
    """Card of a model, or of adapters, that no stream made: `results` are of one task, and nothing lies beside it."""
    if results.artefact is None:
        return task_card(results, folder, repo_id, alone=True)
    return artefact_card(results, results.artefact, folder, repo_id, alone=True)


def task_card(
    results: StreamResults, folder: str, repo_id: str | None = None, alone: bool = False, rows: Sequence[str] = ()
) -> str:
    """Card of the checkpoint after the last finished task of `results`: metadata and text.

    Args:
        results ([`StreamResults`]): as they were after that task.
        folder: name of the checkpoint's folder, which the usage snippet loads if there is no repository.
        repo_id (*optional*): the Hub repository that the card is for.
        alone (`bool`): no recipe, results, pictures or prototypes lie beside it.
        rows: names of the files beside it that list which images of a sample were used.
    """
    check_described(results)
    number, so_far = results.tasks_learned, {name: metrics_so_far(results, name) for name in results.protocols}
    data = card_data(results, (repo_id or folder).rpartition("/")[2], "transformers", "finetune")
    return str(
        ModelCard.from_template(
            data,
            template_path=str(resource("model_cards/task_card.md.jinja")),
            **words(results),
            model_name=data.model_name,
            model_id=repo_id or folder,
            published=repo_id is not None,
            alone=alone,
            prototypes=results.about.prototypes,
            method_summary=results.about.summary,
            bibtex=citations(results.base, results.about.bibtex),
            artefact=results.artefact,
            artefact_id=results.artefact and artefact_id(results.artefact, repo_id, results.artefact.folder),
            stream_table=stream_table(results),
            in_memory=any(task.get("dataset") == IN_MEMORY for task in results.config.get("tasks", [])),
            embedded=any(task.dataset.startswith("embedded:") for task in results.tasks),
            changes_text=changes_text(results),
            changes_table=changes_table(results),
            stream_metrics=metrics_table(so_far) if number > 1 else None,
            cells_note=cells_note(results, number),
            published_results=published_results(results),
            settings_table=settings_table(results.about.settings),
            runs=runs(results),
            wall_time=wall_time(results),
            seed=results.config["seed"],
            rows=", ".join(map(code, rows)),
        )
    )


def artefact_card(
    results: StreamResults, artefact: ArtefactRecord, folder: str, repo_id: str | None = None, alone: bool = False
) -> str:
    """Card of the artefact; arguments as for [`task_card`], `repo_id` being the repository of the whole model.

    One that is `alone` lies in `folder` and `repo_id` itself.
    """
    check_described(results)
    base = results.base
    own = repo_id or folder if alone else artefact_id(artefact, repo_id, f"{folder}/{artefact.folder}")
    name = (own if alone else f"{repo_id or folder}-{artefact.suffix}").rpartition("/")[2]
    data = card_data(results, name, "peft", "adapter", artefact.tag)
    return str(
        ModelCard.from_template(
            data,
            template_path=str(resource("model_cards/adapter_card.md.jinja")),
            **words(results),
            model_name=data.model_name,
            model_id=own,
            published=repo_id is not None,
            alone=alone,
            merged=f"[{repo_id}](https://huggingface.co/{repo_id})" if repo_id else "The folder above this one",
            base_id=base.name,
            on_hub=base.hub_id is not None,
            revision="" if base.revision in (None, "main") else f", revision={literal(base.revision)}",
            embedded=base.embedded,
            artefact=artefact,
            bibtex=citations(base, results.about.bibtex, artefact.bibtex),
        )
    )


# Parts of the card


def check_described(results: StreamResults) -> None:
    """Raise `ConfigurationError` for results that don't say what a card does, as those of older versions don't."""
    if not results.about.towers:
        raise ConfigurationError(
            f"results of an older version, which do not describe the method {results.method!r}: let "
            "mulki_hf.runs.records.describe_method fill that in"
        )
    for protocol in results.protocols:
        if protocol not in PROTOCOLS:
            raise ConfigurationError(f"results by the unknown protocol {protocol!r}; known are {', '.join(PROTOCOLS)}")
    for name in ("seed", "language"):
        if name not in results.config:
            raise ConfigurationError(f"results.json: config.{name} is missing, which the card says")


def words(results: StreamResults) -> dict[str, Any]:
    """What both cards say of a run."""
    return {
        "text": text,
        "code": code,
        "literal": literal,
        "hypothesis": hypothesis,
        "base": base_text(results.base),
        "encoder": results.base.encoder,
        # A user's own is the name of a class.
        "method": code(results.method) if ":" in results.method else results.method,
        # Of several tasks together any may stand for what it can be asked.
        "task": results.tasks[results.tasks_learned - 1],
        "number": results.tasks_learned,
        "joint": results.stages is not None,
        "total": len(results.tasks),
        "towers": results.about.towers,
        "protocols": [
            {"name": name, "sentence": PROTOCOLS[name].sentence, "table": matrix_table(results, name)}
            for name in results.protocols
        ],
        "samples": samples_text(results),
        "own_settings": own_settings_text(results),
        "benchmarks": notes(results),
        "warnings": results.warnings,
        "data_table": data_table(results),
        "license": results.base.license,
    }


def artefact_id(artefact: ArtefactRecord, repo_id: str | None, local: str) -> str:
    """Where the artefact is loaded from: its repository or, without one, the folder `local`."""
    return f"{repo_id}-{artefact.suffix}" if repo_id else local


def citations(base: BaseModel, *bibtex: str) -> str:
    """Papers of the method and of what it builds on, that of the model last."""
    return "\n\n".join(filter(None, (*bibtex, base.encoder.bibtex or CLIP_BIBTEX)))


def base_text(base: BaseModel) -> str:
    """The model that a stream started from, in a sentence."""
    if base.embedded:
        return f"{code(base.name)}, the small CLIP that ships with mulki-hf,"
    if base.hub_id:
        return f"[{text(base.name)}](https://huggingface.co/{base.hub_id})"
    return code(base.name) if base.name else f"a {base.encoder.name} that has no name"


def stream_table(results: StreamResults) -> str:
    rows = [["#", "task", "dataset", "classes", "training images", "evaluation images", "prompts", "learned in"]]
    for position, task in enumerate(results.tasks):
        counts = [str(len(task.class_names))]
        counts += [images_text(task, split) for split in ("training_images", "evaluation_images")]
        learned = "-" if results.stages or position >= results.finished else duration(task.seconds)
        prompts = text("; ".join(task.templates))
        if task.eval_templates is not None:
            prompts += f"; evaluated with {len(task.eval_templates)} templates, in `results.json`"
        data = link(task.dataset) + (f" ({text(name)})" if (name := benchmark_name(task)) else "")
        rows.append([str(position + 1), text(task.name), data, *counts, prompts, learned])
    return markdown_table(rows)


def own_settings_text(results: StreamResults) -> str:
    """Training settings that tasks have of their own; empty if there are none."""
    tasks: dict[tuple[str, Any], list[str]] = {}
    for task in results.tasks[: 0 if results.stages is not None else results.finished]:
        for setting in task.settings.items():
            tasks.setdefault(setting, []).append(text(task.name))
    own = "; ".join(f"`{name}` {value:g} for {', '.join(who)}" for (name, value), who in tasks.items())
    return f"Tasks with settings of their own: {own}." if own else ""


def data_table(results: StreamResults) -> str:
    rows = [["task", "dataset", "licence"]]
    for task in results.tasks[: results.tasks_learned]:
        rows.append([text(task.name), link(task.dataset), text(task.license or "not known")])
    if results.reference is not None:
        rows += reference_rows(results.reference)
    return markdown_table(rows)


def reference_rows(reference: ReferenceRecord) -> list[list[str]]:
    """Images and texts: in one row where they come from one dataset, with the fingerprint of both."""
    drawn = "" if reference.drawn_from is None else f" of {reference.drawn_from}"
    images = [f"{reference.images}{drawn} unlabelled reference images"] if reference.images else []
    texts = [f"{reference.texts} reference texts"] if reference.texts else []
    whole, _, own = (reference.fingerprint or "").partition("-")

    def row(what: list[str], dataset: str, license: str | None, fingerprint: str) -> list[str]:
        known = f" (fingerprint {code(fingerprint)})" if fingerprint else ""
        return [", ".join(what) + known, link(dataset), text(license or "not known")]

    if reference.text_dataset is None:
        return [row(images + texts, reference.dataset, reference.license, reference.fingerprint or "")]
    beside = row(texts, reference.text_dataset, reference.text_license, own or whole)
    return [row(images, reference.dataset, reference.license, whole), beside] if images else [beside]


def published_results(results: StreamResults) -> str:
    """The run beside the few published rows that say most; empty where there are none."""
    own = standing(results)
    return f"{text(sentence(own))}\n\n{card_table(own)}" if own else ""


def changes_table(results: StreamResults) -> str:
    rows = [["task", "", "zero-shot", "when learned", "now", "change against zero-shot"]]
    for position, (task, before, now) in enumerate(_before_and_now(results)):
        learned = position < results.tasks_learned
        best = percent(results.accuracy[-1 if results.stages else position][position]) if learned else "-"
        rows.append(
            [task, "learned" if learned else "not learned", percent(before), best, percent(now), signed(now - before)]
        )
    return markdown_table(rows)


def changes_text(results: StreamResults) -> str:
    """Gains and losses against zero-shot in words."""
    changes = [(task, now - before) for task, before, now in _before_and_now(results)]
    learned, ahead = changes[: results.tasks_learned], changes[results.tasks_learned :]
    lines = [_about("task that was learned", "tasks that were learned", learned)]
    if ahead:
        lines.append(_about("task that is still to come", "tasks that are still to come", ahead))
    return "\n".join(lines)


def _before_and_now(results: StreamResults) -> list[tuple[str, float, float]]:
    # Both rows are whole in what a finished task leaves.
    rows = results.zero_shot, results.accuracy[-1]
    return list(zip(map(text, results.names), *rows, strict=True))  # type: ignore[arg-type]


def _about(one: str, many: str, changes: list[tuple[str, float]]) -> str:
    gained = [f"{name} {signed(change)}" for name, change in changes if change > 0.05]
    lost = [f"{name} {signed(change)}" for name, change in changes if change < -0.05]
    subject = f"On the {one}" if len(changes) == 1 else f"On the {len(changes)} {many}"
    line = f"- {subject} accuracy changed by **{signed(mean(change for _, change in changes))} points** on average. "
    line += f"Gained: {', '.join(gained)}. " if gained else "Nothing was gained. "
    return line + (f"Lost: {', '.join(lost)}." if lost else "Nothing was lost.")


def settings_table(settings: dict[str, Any]) -> str:
    """The settings that the result depends on and that are not the defaults; tasks and model stand elsewhere."""
    rows = [["setting", "value"], *([f"`{name}`", text(str(value))] for name, value in settings.items())]
    return markdown_table(rows) if settings else "None."


def runs(results: StreamResults) -> list[tuple[str, dict[str, str | None]]]:
    """Which tasks were learned by which run, in words: a stream can go on on another machine."""
    groups = [
        ([number for number, _ in group], origin)
        for origin, group in groupby(
            enumerate(results.learned[: results.finished], start=1), key=lambda entry: entry[1].provenance
        )
    ]
    if len(groups) == 1:
        return [("", groups[0][1])]
    return [
        (f"Task {numbers[0]}" if len(numbers) == 1 else f"Tasks {numbers[0]} to {numbers[-1]}", origin)
        for numbers, origin in groups
    ]


def wall_time(results: StreamResults) -> str:
    seconds = [task.seconds for task in results.learned[: results.finished] if task.seconds is not None]
    if len(seconds) < results.finished:
        return "not recorded"
    tasks = "the task" if len(seconds) == 1 else f"the {len(seconds)} tasks so far"
    return f"{duration(sum(seconds))} for {tasks}, evaluation on every task included"


def link(dataset: str) -> str:
    return f"[{text(dataset)}](https://huggingface.co/datasets/{dataset})" if on_hub(dataset) else text(dataset)
