"""The model card of a task's checkpoint, from its results alone."""

import dataclasses
import json
from enum import Enum
from itertools import groupby
from pathlib import Path
from statistics import mean

from huggingface_hub import DatasetCard, EvalResult, ModelCard, ModelCardData

from .config import CONSTANT_FIELDS, MulKIConfig, StreamConfig
from .embedded import EMBEDDED_MODELS
from .hub import licence_of
from .metrics import continual_metrics
from .objectives import OBJECTIVES
from .results import BaseModel, StreamResults, markdown_table, percent


PACKAGE = Path(__file__).parent
PROTOCOLS = {
    "til": "each among the classes of its own task (task-incremental)",
    "cil": "each among the classes of all tasks seen so far and its own (class-incremental)",
    "xtail": "each among the classes of every task of the stream (cross-domain task-agnostic)",
}
TOWERS = {"both": "both towers", "vision": "the vision tower", "text": "the text tower"}
LORA_BIBTEX = """@inproceedings{hu2022lora,
  title = {{LoRA}: Low-Rank Adaptation of Large Language Models},
  author = {Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and Li, Yuanzhi and Wang, Shean and
            Wang, Lu and Chen, Weizhu},
  booktitle = {International Conference on Learning Representations},
  year = {2022}
}"""
CLIP_BIBTEX = """@inproceedings{radford2021clip,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and
            Agarwal, Sandhini and Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and
            Krueger, Gretchen and Sutskever, Ilya},
  booktitle = {International Conference on Machine Learning},
  year = {2021}
}"""


ADAPTER_FOLDER = "adapter"


def save_card(results: StreamResults, folder: Path, repo_id: str | None) -> None:
    """Write `README.md` into a checkpoint's folder, for the Hub repository `repo_id` or, without one, for local use.

    An adapter in it gets its own, for the repository of that name and `-lora`.
    """
    (folder / "README.md").write_text(task_card(results, folder.name, repo_id), encoding="utf-8")
    if (folder / ADAPTER_FOLDER).is_dir():
        card = adapter_card(results, folder.name, repo_id)
        (folder / ADAPTER_FOLDER / "README.md").write_text(card, encoding="utf-8")


def task_card(results: StreamResults, folder: str, repo_id: str | None = None) -> str:
    """Card of the checkpoint after the last finished task of `results`: metadata and text.

    Args:
        results ([`StreamResults`]): as they were after that task.
        folder: name of the checkpoint's folder, which the usage snippet loads if there is no repository.
        repo_id (*optional*): the Hub repository that the card is for.
    """
    config, base, number = results.config, results.base, results.finished
    objective = OBJECTIVES[results.method]
    so_far = metrics_so_far(results)
    data = ModelCardData(
        language=config["language"],
        license=base.license,
        library_name="transformers",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "continual-learning", "mulki-hf", results.method],
        base_model=base.hub_id,
        base_model_relation="finetune" if base.hub_id else None,
        datasets=hub_datasets(results) or None,
        metrics=["accuracy"],
        model_name=(repo_id or folder).rpartition("/")[2],
        eval_results=eval_results(results, so_far),
    )
    card = ModelCard.from_template(
        data,
        template_path=str(card_path("task_card.md.jinja")),
        model_name=data.model_name,
        model_id=repo_id or folder,
        published=repo_id is not None,
        base=base_text(base),
        method=results.method,
        method_summary=objective.summary,
        bibtex="\n\n".join(filter(None, (objective.bibtex, CLIP_BIBTEX))),
        task=results.tasks[number - 1],
        number=number,
        total=len(results.tasks),
        towers=TOWERS[config["train_towers"]],
        lora_r=config["lora_r"],
        adapter=f"{repo_id}-lora" if repo_id else ADAPTER_FOLDER,
        stream_table=stream_table(results),
        embedded=any(task.dataset.startswith("embedded:") for task in results.tasks),
        protocol=PROTOCOLS[results.protocol],
        results_table=results.matrix_table(),
        changes_text=changes_text(results),
        changes_table=changes_table(results),
        stream_metrics=markdown_table([[*so_far], [*map(percent, so_far.values())]]) if number > 1 else None,
        settings_table=settings_table(config),
        data_table=data_table(results),
        license=base.license,
        runs=runs(results),
        wall_time=wall_time(results),
        seed=config["seed"],
    )
    return str(card)


def draft_card(results: StreamResults) -> str:
    """A card with the metadata that a person chooses, for the Hub to check before there are results."""
    data = ModelCardData(
        language=results.config["language"],
        license=results.base.license,
        library_name="transformers",
        base_model=results.base.hub_id,
        datasets=[task.dataset for task in results.tasks if "/" in task.dataset] or None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def adapter_card(results: StreamResults, folder: str, repo_id: str | None = None) -> str:
    """Card of the adapter alone; arguments as for [`task_card`], `repo_id` being the repository of the whole model."""
    config, base = results.config, results.base
    objective, task = OBJECTIVES[results.method], results.tasks[results.finished - 1]
    model_id = f"{repo_id}-lora" if repo_id else f"{folder}/{ADAPTER_FOLDER}"
    data = ModelCardData(
        language=config["language"],
        license=base.license,
        library_name="peft",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "continual-learning", "lora", "mulki-hf", results.method],
        base_model=base.hub_id,
        base_model_relation="adapter" if base.hub_id else None,
        datasets=hub_datasets(results) or None,
        metrics=["accuracy"],
        model_name=f"{(repo_id or folder).rpartition('/')[2]}-lora",
        eval_results=eval_results(results, metrics_so_far(results)),
    )
    card = ModelCard.from_template(
        data,
        template_path=str(card_path("adapter_card.md.jinja")),
        model_name=data.model_name,
        model_id=model_id,
        merged=f"[{repo_id}](https://huggingface.co/{repo_id})" if repo_id else "The folder above this one",
        base=base_text(base),
        base_id=base.name,
        revision="" if base.revision in (None, "main") else f", revision={json.dumps(base.revision)}",
        embedded=base.name in EMBEDDED_MODELS,
        method=results.method,
        task=task,
        number=results.finished,
        total=len(results.tasks),
        r=config["lora_r"],
        alpha=config["lora_alpha"],
        targets=config["lora_targets"],
        towers=TOWERS[config["train_towers"]],
        error=task.lora_error,
        protocol=PROTOCOLS[results.protocol],
        results_table=results.matrix_table(),
        bibtex="\n\n".join(filter(None, (objective.bibtex, LORA_BIBTEX, CLIP_BIBTEX))),
    )
    return str(card)


def base_text(base: BaseModel) -> str:
    """The model that a stream started from, in a sentence."""
    if base.name in EMBEDDED_MODELS:
        return f"`{base.name}`, the small CLIP that ships with mulki-hf,"
    return f"[{base.name}](https://huggingface.co/{base.hub_id})" if base.hub_id else f"`{base.name}`"


def card_path(name: str) -> Path:
    """A file of `model_cards/`: inside an installed wheel, or beside the package in a clone."""
    installed, clone = (folder / "model_cards" / name for folder in (PACKAGE, PACKAGE.parent))
    return installed if installed.is_file() else clone


# What only the Hub, or a folder of the machine, knows


def describe_base(name_or_path: str, revision: str, license: str | None) -> BaseModel:
    """The model that a stream starts from; without `license` that of the model's own card, where there is one."""
    path = Path(name_or_path)
    if name_or_path in EMBEDDED_MODELS or path.exists():
        card = card_path(f"{name_or_path}.md") if name_or_path in EMBEDDED_MODELS else path / "README.md"
        own = licence_of(ModelCard, card) if card.is_file() else None
        return BaseModel(path.resolve().name if path.exists() else name_or_path, license=license or own)
    return BaseModel(name_or_path, name_or_path, revision, license)


def look_up_licences(results: StreamResults, token: str | None = None) -> None:
    """Fill in what licences the Hub's cards of model and datasets name."""
    if results.base.license is None and results.base.hub_id is not None:
        results.base.license = licence_of(ModelCard, results.base.hub_id, token)
    for data in (*results.tasks, results.reference):
        if data is not None and data.license is None and "/" in data.dataset:
            data.license = licence_of(DatasetCard, data.dataset, token)


# Parts of the card


def hub_datasets(results: StreamResults) -> list[str]:
    """Hub ids of the data that the model was trained with so far."""
    names = [task.dataset for task in results.tasks[: results.finished]]
    if results.reference is not None:
        names.append(results.reference.dataset)
    return list(dict.fromkeys(name for name in names if "/" in name))


def metrics_so_far(results: StreamResults) -> dict[str, float | None]:
    """The stream's metrics as if it ended with the last finished task."""
    count = results.finished
    return continual_metrics([row[:count] for row in results.accuracy], results.zero_shot[:count])


def eval_results(results: StreamResults, so_far: dict[str, float | None]) -> list[EvalResult]:
    """The `model-index`: accuracy on each task, and Transfer, Avg and Last of the stream; shares of one."""
    kind = "zero-shot-image-classification"
    entries = [
        EvalResult(
            task_type=kind,
            dataset_type=task.dataset if "/" in task.dataset else task.name,
            dataset_name=f"{task.name}, {'learned' if position < results.finished else 'not learned'}",
            metric_type="accuracy",
            metric_name=f"Accuracy ({results.protocol})",
            metric_value=round(value / 100, 4),
        )
        for position, (task, value) in enumerate(zip(results.tasks, results.accuracy[-1], strict=True))
    ]
    entries += [
        EvalResult(
            task_type=kind,
            dataset_type="stream",
            dataset_name=f"stream of {results.finished} tasks: {', '.join(results.names[: results.finished])}",
            metric_type=name,
            metric_name=name.capitalize(),
            metric_value=round(so_far[name] / 100, 4),
        )
        for name in ("transfer", "avg", "last")
        if so_far[name] is not None
    ]
    return entries


def stream_table(results: StreamResults) -> str:
    rows = [["#", "task", "dataset", "classes", "training images", "evaluation images", "prompts", "learned in"]]
    for position, task in enumerate(results.tasks):
        counts = [str(n) for n in (len(task.class_names), task.training_images, task.evaluation_images)]
        learned = "-" if position >= results.finished else duration(task.seconds)
        rows.append([str(position + 1), task.name, link(task.dataset), *counts, "; ".join(task.templates), learned])
    return markdown_table(rows)


def data_table(results: StreamResults) -> str:
    rows = [["task", "dataset", "licence"]]
    for task in results.tasks[: results.finished]:
        rows.append([task.name, link(task.dataset), task.license or "not known"])
    if results.reference is not None:
        data = results.reference
        rows.append([f"{data.images} unlabelled reference images", link(data.dataset), data.license or "not known"])
    return markdown_table(rows)


def changes_table(results: StreamResults) -> str:
    rows = [["task", "", "zero-shot", "when learned", "now", "change against zero-shot"]]
    for position, (task, before, now) in enumerate(_before_and_now(results)):
        learned = position < results.finished
        best = percent(results.accuracy[position][position]) if learned else "-"
        rows.append(
            [task, "learned" if learned else "not learned", percent(before), best, percent(now), signed(now - before)]
        )
    return markdown_table(rows)


def changes_text(results: StreamResults) -> str:
    """Gains and losses against zero-shot in words."""
    changes = [(task, now - before) for task, before, now in _before_and_now(results)]
    learned, ahead = changes[: results.finished], changes[results.finished :]
    lines = [_about("task that was learned", "tasks that were learned", learned)]
    if ahead:
        lines.append(_about("task that is still to come", "tasks that are still to come", ahead))
    return "\n".join(lines)


def _before_and_now(results: StreamResults) -> list[tuple[str, float, float]]:
    return list(zip(results.names, results.zero_shot, results.accuracy[-1], strict=True))


def _about(one: str, many: str, changes: list[tuple[str, float]]) -> str:
    gained = [f"{name} {signed(change)}" for name, change in changes if change > 0.05]
    lost = [f"{name} {signed(change)}" for name, change in changes if change < -0.05]
    subject = f"On the {one}" if len(changes) == 1 else f"On the {len(changes)} {many}"
    line = f"- {subject} accuracy changed by **{signed(mean(change for _, change in changes))} points** on average. "
    line += f"Gained: {', '.join(gained)}. " if gained else "Nothing was gained. "
    return line + (f"Lost: {', '.join(lost)}." if lost else "Nothing was lost.")


def settings_table(config: dict) -> str:
    """The settings that the result depends on and that are not the defaults; tasks and model stand elsewhere."""
    rows = [["setting", "value"]]
    elsewhere = {
        "tasks",
        "model_name_or_path",
        "model_revision",
        "method",
        "protocol",
        "templates",
        "reference_dataset",
    }
    for f in (*dataclasses.fields(StreamConfig), *dataclasses.fields(MulKIConfig)):
        if f.name in CONSTANT_FIELDS - elsewhere and config[f.name] != _default(f, config):
            rows.append([f"`{f.name}`", str(config[f.name])])
    return markdown_table(rows) if len(rows) > 1 else "None."


def _default(field: dataclasses.Field, config: dict):
    if field.name == "train_towers":
        return OBJECTIVES[config["method"]].towers
    value = field.default_factory() if field.default is dataclasses.MISSING else field.default
    return value.value if isinstance(value, Enum) else value


def runs(results: StreamResults) -> list[tuple[str, dict[str, str | None]]]:
    """Which tasks were learned by which run, in words: a stream can go on on another machine."""
    groups = [
        ([number for number, _ in group], origin)
        for origin, group in groupby(
            enumerate(results.tasks[: results.finished], start=1), key=lambda entry: entry[1].provenance
        )
    ]
    if len(groups) == 1:
        return [("", groups[0][1])]
    return [
        (f"Task {numbers[0]}" if len(numbers) == 1 else f"Tasks {numbers[0]} to {numbers[-1]}", origin)
        for numbers, origin in groups
    ]


def wall_time(results: StreamResults) -> str:
    seconds = [task.seconds for task in results.tasks[: results.finished]]
    if None in seconds:
        return "not recorded"
    return f"{duration(sum(seconds))} for the {len(seconds)} tasks so far, evaluation on every task included"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def signed(value: float) -> str:
    """`+3.2`, `−0.4`, `0.0`: with a real minus sign."""
    return f"{value:+.1f}".replace("-", "−") if abs(value) >= 0.05 else "0.0"


def link(dataset: str) -> str:
    return f"[{dataset}](https://huggingface.co/datasets/{dataset})" if "/" in dataset else dataset
