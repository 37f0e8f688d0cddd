"""What a person names to be evaluated: a CLIP, an adapter on its base, a task's checkpoint, or a run with them all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import CLIPModel

from ..adaptation.merged import base_of_adapter, merged_adapter
from ..embedded import EMBEDDED_MODELS
from ..errors import ConfigurationError
from ..hub.fetch import holds
from ..manifest import manifest_fault
from ..models.loading import check_finite, load_finite
from ..results import StreamResults
from .sources import HUB_ID, Run, find_run


MODEL = "MODEL"
"""The option that names it, for messages."""
ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Subject:
    """A model, or a run's models.

    Attributes:
        source: as it was given, a Hub id without its revision.
        revision: of a model on the Hub.
        run (*optional*): the run that it is or belongs to.
        position (*optional*): of the stage whose checkpoint in that run it is.
        whole: it is the run, with all of its checkpoints and the model that it started from.
        base (*optional*): the model that an adapter belongs to or that a run started from: its name, folder or Hub id,
            and its revision.
        token (*optional*): for the Hub.
    """

    source: str
    revision: str = "main"
    run: Run | None = None
    position: int | None = None
    whole: bool = False
    base: tuple[str, str] | None = None
    token: str | None = None

    @property
    def clip(self) -> tuple[str, str]:
        """Name and revision of the CLIP that is whole, and brings a processor: itself, or its base."""
        return self.base or (self.source, self.revision)

    def original(self) -> CLIPModel:
        """The model of the first row: itself or, of a run, the one that it started from."""
        model = loaded(*self.clip)
        if not self.whole and self.base is not None:
            model = merged_adapter(model, self.source, self.revision, self.token, MODEL)
            check_finite(model, self.source, MODEL)
        return model

    def checkpoints(self, positions: list[int]) -> list[Callable[[], CLIPModel]]:
        """What loads the model after each of a run's stages; asks at once whether they are there.

        Raises:
            ConfigurationError: one is missing; names the task.
        """
        if self.run is None:
            return []
        # From the disk alone: `out/task1-pets` could be a name on the Hub, too.
        return [partial(loaded, str(self.run.checkpoint(position).absolute())) for position in positions]


def loaded(name: str, revision: str = "main") -> CLIPModel:
    """A model whose weights are numbers."""
    return load_finite(name, revision, MODEL)


def find_subject(source: str, base: str | None = None, token: str | None = None) -> Subject:
    """What `source` names; loads no model.

    Args:
        source: a Hub id (`org/name`, `org/name@REVISION`), a folder or a run's file of results, or an embedded model.
        base (*optional*): the model that an adapter belongs to, or that a run started from, where it is now.
        token (*optional*): for the Hub.

    Raises:
        ConfigurationError: it names nothing that could be evaluated.
    """
    path, given = Path(source), None if base is None else named(base)
    if source in EMBEDDED_MODELS:
        found = Subject(source)
    elif path.exists():
        found = _on_disk(source, path, given)
    elif HUB_ID.fullmatch(source):
        found = _on_hub(source, given, token)
    else:
        raise ConfigurationError(
            f"{MODEL}: {source!r} is no folder, no id on the Hub (`org/name`), and none of the models that ship with "
            f"this package ({', '.join(EMBEDDED_MODELS)})"
        )
    if given is not None and found.base is None:
        raise ConfigurationError(
            f"base {base!r} is for an adapter or for a run, whose model may lie elsewhere now; {source!r} is neither"
        )
    return found


def _on_disk(source: str, path: Path, base: tuple[str, str] | None) -> Subject:
    adapter, model, results = ((path / name).is_file() for name in (ADAPTER_CONFIG, "config.json", StreamResults.FILE))
    if path.is_file() or (results and not adapter and not model):
        run = find_run(source, asked_by=MODEL)
        return Subject(source, run=run, whole=True, base=base or _base_of_run(run))
    if not adapter and not model:
        raise ConfigurationError(
            f"{MODEL}: the folder {source!r} holds no model (config.json), no adapter ({ADAPTER_CONFIG}) and no run "
            f"({StreamResults.FILE})"
        )
    # A task's adapter lies in the folder of its model.
    beside = path.absolute().parent
    home = path if results else beside if adapter and (beside / StreamResults.FILE).is_file() else None
    if home is None:
        return Subject(source, base=base or (_base_of_adapter(source) if adapter else None))
    if (fault := manifest_fault(home, f"{path.name}/" if adapter else "")) is not None:
        raise ConfigurationError(f"{MODEL}: {fault}")
    run = find_run(str(home), asked_by=MODEL)
    position, run = run.results.finished - 1, run.whole
    if adapter:
        base = base or _base_of_run(run)
    return Subject(source, run=run, position=position, base=base)


def _on_hub(source: str, base: tuple[str, str] | None, token: str | None) -> Subject:
    name, _, revision = source.partition("@")
    revision = revision or "main"
    if holds(source, ADAPTER_CONFIG, token, MODEL):
        return Subject(name, revision, base=base or _base_of_adapter(name, revision, token), token=token)
    if not holds(source, StreamResults.FILE, token, MODEL):
        return Subject(name, revision, token=token)
    run = find_run(source, token, asked_by=MODEL)
    commit = str(run.repository).partition("@")[2]
    return Subject(name, commit, run, run.results.finished - 1, token=token)


def _base_of_run(run: Run) -> tuple[str, str]:
    try:
        return run.base
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; give its place with --base") from error


def _base_of_adapter(source: str, revision: str = "main", token: str | None = None) -> tuple[str, str]:
    name, own_revision = base_of_adapter(source, revision, token, MODEL)
    if not Path(name).exists() and name not in EMBEDDED_MODELS and not HUB_ID.fullmatch(name):
        raise ConfigurationError(
            f"{MODEL}: the adapter {source!r} belongs to {name!r}, which is no folder here and no id on the Hub; give "
            "its place with --base"
        )
    return name, own_revision


def named(base: str) -> tuple[str, str]:
    """A model's name, folder or Hub id, and its revision."""
    name, _, revision = base.partition("@")
    return (base, "main") if Path(base).exists() else (name, revision or "main")
