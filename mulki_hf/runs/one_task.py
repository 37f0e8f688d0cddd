"""What the card says of a task that was learned by itself, with a trainer from Python and no stream around it."""

from types import SimpleNamespace
from typing import Any

from accelerate import Accelerator

from ..adaptation import Adaptation, PeftTuner
from ..adaptation.adapters import STUDENT, Adapters
from ..config import MulKIConfig
from ..config.paths import shareable_settings
from ..config.recipes import default_settings
from ..data.rows import dataset_name
from ..data.tasks import Task
from ..data.unlabelled import Reference
from ..embedded import EMBEDDED_MODELS, embedded_model_path
from ..evaluation.evaluator import StreamEvaluator
from ..records import ArtefactRecord
from ..results import StreamResults
from .provenance import library_versions, provenance
from .records import describe_base, encoder_record, look_up_licences, new_results, reference_record


_NO_SETTING = {"base_model_name_or_path", "inference_mode", "peft_type", "peft_version"}
"""What a PEFT configuration says that nobody chooses."""


def describe_task(trainer: Any) -> StreamResults:
    """Results of what a [`MulKITrainer`] learned; its original model and its student are measured, by all ranks."""
    config, accelerator, adaptation = trainer.args, trainer.accelerator, trainer.adaptation
    evaluate = StreamEvaluator([trainer.task], trainer.processing_class, accelerator, config.eval_batch_size)
    with adaptation.teachers["original"].active(config.device) as original:
        base, before = original.name_or_path, evaluate(original, 0, "the original model")[0]
    after = evaluate(trainer.model, 1, "the student")[0]
    pictures, texts = trainer.features.reference, trainer.reference_texts
    reference = None if pictures is None and not texts else Reference(pictures, texts=texts)
    results = results_of_task(trainer.task, config, base, before, after, accelerator, reference, adaptation)
    results.base.encoder = encoder_record(trainer.model)
    results.learned[0].facts |= trainer.left_out.facts()
    results.warn(trainer.left_out.sentences(trainer.state.global_step))
    return results


def results_of_task(
    task: Task,
    config: MulKIConfig,
    base: str,
    before: float,
    after: float,
    accelerator: Accelerator,
    reference: Reference | None = None,
    adaptation: Adaptation | None = None,
) -> StreamResults:
    """Results of a stream of this task alone, for [`card_of_task`]; asks the Hub for licences that are not known.

    Args:
        task ([`Task`]): the task that was learned.
        config ([`MulKIConfig`]): the settings.
        base: `name_or_path` of the model that it started from: a Hub id, a folder, or empty for one made in memory.
        before, after (`float`): accuracy in percent on the task's evaluation data, of the original model and now.
        accelerator ([`Accelerator`]): what it computed on.
        reference ([`Reference`], *optional*): the reference images.
        adaptation ([`Adaptation`], *optional*): what was trained; of adapters the card is theirs.
    """
    entry = {"name": task.name, "dataset": dataset_name(task.dataset)}
    settings = default_settings() | config.to_dict() | {"tasks": [entry], "model_name_or_path": base}
    shipped = {str(embedded_model_path(name)): name for name in EMBEDDED_MODELS}
    model = describe_base(shipped.get(base, base), "main", config.license)
    results = new_results(settings, [task], model, reference_record(reference))
    facts, note = {}, ""
    if isinstance(adaptation, Adapters):
        results.artefact = results.artefact or _artefact(adaptation.student.peft_config[STUDENT])
        facts = adaptation.facts()
        note = adaptation.note(config, facts)
    results.provenance, results.versions = provenance(accelerator, None), library_versions()
    results.measured({results.protocol: [before]})
    results.add({results.protocol: [after]}, None, facts, note)
    look_up_licences(results, config.hub_token)
    return results


def _artefact(config: Any) -> ArtefactRecord:
    """Adapters that a user made with PEFT, by what of their configuration is not the default."""
    default, given = type(config)().to_dict(), config.to_dict()
    changed = {name: given[name] for name in given if name not in _NO_SETTING and given[name] != default.get(name)}
    changed = {name: sorted(value) if isinstance(value, set) else value for name, value in changed.items()}
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    spec = shareable_settings({"peft_config": {"peft_type": kind} | changed})
    return PeftTuner.artefact(SimpleNamespace(**spec))
