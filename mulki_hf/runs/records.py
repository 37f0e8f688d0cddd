"""What results say of model, tasks, reference images and method: recorded when a run begins, for the cards."""

import dataclasses
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from huggingface_hub import DatasetCard, ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import PreTrainedModel

from ..adaptation import adaptation_of
from ..adaptation.towers import TOWER_WORDS
from ..config.paths import shareable_settings
from ..config.recipes import SWITCHES, changed_settings, default_settings
from ..config.training import config_of
from ..data.rows import dataset_name
from ..data.tasks import Task
from ..data.union import union
from ..data.unlabelled import Reference
from ..embedded import EMBEDDED_MODELS
from ..errors import ConfigurationError
from ..hub.fetch import licence_of
from ..models.dual_encoders import kind_of
from ..objectives import FORMER_SETTINGS, find_objective, objective_of
from ..records import BaseModel, EncoderRecord, MethodRecord, ReferenceRecord, TaskRecord
from ..resources import resource
from ..results import ProtocolResults, StreamResults


def new_results(
    settings: dict[str, Any], tasks: list[Task], base: BaseModel, reference: ReferenceRecord | None
) -> StreamResults:
    """Results of a stream that begins, by its resolved `settings`."""
    records = [task_record(task) for task in tasks]
    results = StreamResults(
        settings["method"], settings["protocols"][0], records, base, reference=reference, config=settings
    )
    results.others = {protocol: ProtocolResults() for protocol in settings["protocols"][1:]}
    learns = objective_of(SimpleNamespace(**settings)).learns
    if learns != "each":
        results.stages = [task_record(union(tasks))] if learns == "all" else []
    describe_method(results)
    return results


def describe_method(results: StreamResults) -> None:
    """Fill in method and artefact in words from the configuration, which files of older versions lack.

    Raises:
        ConfigurationError: the method is none that is known here; for what a file says no module is imported.
    """
    try:
        find_objective(results.method, load=False)
    except ConfigurationError as error:
        raise ConfigurationError(f"results of the unknown method {results.method!r}: {error}") from error
    settings = shareable_settings(results.config)
    objective = objective_of(SimpleNamespace(**default_settings(config_of(settings)) | settings))
    summary = objective.summary or inspect.cleandoc(objective.__doc__ or "")
    gone = [name for name in FORMER_SETTINGS.get(results.method, ()) if name in settings]
    if gone:
        summary += (
            "\n\n**This model is of an older version of mulki-hf, whose equations were others**: they had the settings "
            f"{', '.join(f'`{name}` ({settings[name]})' for name in gone)}."
        )
    results.about = MethodRecord(
        summary,
        TOWER_WORDS[settings["train_towers"]],
        objective.bibtex,
        changed_settings(settings),
        objective.needs_prototypes(),
    )
    # Settings that came later were not asked for.
    asked = SimpleNamespace(**dict.fromkeys(SWITCHES) | settings)
    adaptation = adaptation_of(asked)
    results.artefact = adaptation.artefact(asked)
    for task in results.learned[: results.finished]:
        task.note = task.note or adaptation.note(asked, task.facts)
    results.base.embedded = results.base.hub_id is None and results.base.name in EMBEDDED_MODELS


def shareable_results(results: StreamResults) -> StreamResults:
    """`results` as they may leave the machine."""
    return dataclasses.replace(results, config=shareable_settings(results.config))


def task_record(task: Task) -> TaskRecord:
    """What the results say of a task before it is learned."""
    benchmark = task.benchmark
    return TaskRecord(
        task.name,
        dataset_name(task.dataset),
        task.class_names,
        task.templates,
        len(task.train),
        len(task.evaluation),
        task.train.info.license or (benchmark.license if benchmark else None),
        fingerprint=task.fingerprint,
        limits=task.limits,
        eval_templates=task.eval_templates,
        settings=task.settings,
        benchmark=benchmark.record() if benchmark else None,
    )


def reference_record(reference: Reference | None) -> ReferenceRecord | None:
    """What the results say of the reference images and texts."""
    if reference is None:
        return None
    images = reference.images
    return ReferenceRecord(
        dataset_name(reference.dataset),
        0 if images is None else len(images),
        None if images is None else images.info.license or None,
        reference.fingerprint,
        len(reference.texts),
        reference.drawn_from,
        None if reference.text_dataset is None else dataset_name(reference.text_dataset),
        reference.text_license,
    )


def describe_base(name_or_path: str, revision: str, license: str | None) -> BaseModel:
    """The model that a stream starts from; without `license` that of the model's own card, where there is one.

    One made in memory has no name; of a folder, also of one that is no more, only the name is said.
    """
    path, embedded = Path(name_or_path), name_or_path in EMBEDDED_MODELS
    if embedded or (name_or_path and path.exists()):
        card = resource(f"model_cards/{name_or_path}.md") if embedded else path / "README.md"
        own = licence_of(ModelCard, card) if card.is_file() else None
        return BaseModel(path.resolve().name if path.exists() else name_or_path, license=license or own)
    try:
        validate_repo_id(name_or_path)
    except HFValidationError:
        return BaseModel(path.name, license=license)
    return BaseModel(name_or_path, name_or_path, revision, license)


def encoder_record(model: PreTrainedModel) -> EncoderRecord:
    """Which kind of dual encoder a model is."""
    kind = kind_of(model)
    return EncoderRecord(kind.name, model.config.model_type, kind.model.__name__, kind.padding, kind.bibtex)


def look_up_licences(results: StreamResults, token: str | None = None) -> None:
    """Fill in what licences the Hub's cards of model and datasets name."""
    if results.base.license is None and results.base.hub_id is not None:
        results.base.license = licence_of(ModelCard, results.base.hub_id, token)
    for data in (*results.tasks, results.reference):
        if data is not None and data.license is None and "/" in data.dataset:
            data.license = licence_of(DatasetCard, data.dataset, token)
    texts = results.reference
    if texts is not None and texts.text_license is None and texts.text_dataset and "/" in texts.text_dataset:
        texts.text_license = licence_of(DatasetCard, texts.text_dataset, token)
