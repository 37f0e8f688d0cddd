"""The models of a stream, from before the first task to after the last, or a single one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from transformers import CLIPModel, CLIPProcessor
from transformers.utils import logging

from ..embedded import EMBEDDED_MODELS
from ..errors import ConfigurationError
from ..models.loading import load_processor
from ..results import StreamResults
from ..runs.sources import HUB_ID, LAST, ZERO_SHOT, Run, find_run
from ..runs.subjects import MODEL, find_subject, loaded, named


@dataclass(frozen=True)
class Stage:
    """A model, found and loaded when it is asked for.

    Attributes:
        name: `zero-shot`, `after greek`; a model that is of no stream by its own.
        loader: of the model in fp32 and its own processor.
    """

    name: str
    loader: Callable[[], tuple[CLIPModel, CLIPProcessor]]

    def load(self) -> tuple[CLIPModel, CLIPProcessor]:
        """The model in eval mode, and its processor.

        Raises:
            ConfigurationError: it is not there, no CLIP, or its weights are no numbers.
        """
        with without_bars():
            model, processor = self.loader()
            return model.eval(), processor


@contextmanager
def without_bars() -> Iterator[None]:
    """Inside, transformers shows no bars: one of weights a model would run through those of the pictures."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class Models:
    """What can be asked: a stream's models in order, or one.

    Attributes:
        source: as it was given.
        stages: zero-shot first.
        results (*optional*): of the stream.
        absent: by a stage's name, why its model can't be had; it is none of `stages`.
        run (*optional*): the stream's.
    """

    source: str
    stages: list[Stage]
    results: StreamResults | None = None
    absent: dict[str, str] = field(default_factory=dict)
    run: Run | None = None

    def stage(self, asked: str) -> Stage:
        """The one that `--checkpoint` means: `last`, `zero-shot`, or a task's number or name.

        Raises:
            ConfigurationError: there is no such one, or it can't be had.
        """
        if self.run is None:
            if asked != LAST:
                raise ConfigurationError(f"checkpoint {asked!r}: {self.source!r} is one model, not a stream's run")
            return self.stages[0]
        row = self.run.row(asked)
        name = ZERO_SHOT if row is None else after(self.run.results.stage_names[row])
        if name in self.absent:
            raise ConfigurationError(f"checkpoint {asked!r}: {self.absent[name]}")
        return next(stage for stage in self.stages if stage.name == name)


def after(name: str) -> str:
    """What the model after the stage `name` is called."""
    return f"after {name}"


def find_models(source: str, token: str | None = None, base: str | None = None, pickled: bool = False) -> Models:
    """The models that `source` names: those of a run (see [`find_run`]), or a CLIP of its own.

    Args:
        source: a run, or a model.
        token (*optional*): for the Hub.
        base (*optional*): the CLIP that an adapter belongs to or that a run started from, where it is now.
        pickled: that CLIP, or the model, may have pickled weights; see [`ModelArguments`].

    Raises:
        ConfigurationError: it is neither.
    """
    if source in EMBEDDED_MODELS or (Path(source).is_dir() and not (Path(source) / StreamResults.FILE).is_file()):
        return _one(source, token, base, pickled)
    try:
        return models_of(find_run(source, token, MODEL), base, pickled)
    except ConfigurationError as error:
        if Path(source).exists() or not HUB_ID.fullmatch(source):
            raise
        try:
            return _one(source, token, base, pickled)
        except ConfigurationError:
            raise error from None


def _one(source: str, token: str | None, base: str | None, pickled: bool) -> Models:
    subject = find_subject(source, base, token, pickled)
    # No CLIP is refused before any picture is looked at.
    processor = load_processor(*subject.clip, MODEL)
    return Models(source, [Stage(Path(subject.source).name, lambda: (subject.original(), processor))])


def models_of(run: Run, base: str | None = None, pickled: bool = False) -> Models:
    """Those of a run that can be had, zero-shot first: `base` or, by default, the model that it started from."""
    stages, absent = [], {}
    try:
        origin = named(base) if base is not None else run.base
        stages.append(Stage(ZERO_SHOT, partial(_at, *origin, pickled=pickled)))
    except ConfigurationError as error:
        absent[ZERO_SHOT] = str(error)
    for position in range(run.results.finished):
        name = after(run.results.stage_names[position])
        try:
            run.check(position)
            stages.append(Stage(name, partial(_checkpoint, run, position)))
        except ConfigurationError as error:
            absent[name] = str(error)
    if not stages:
        raise ConfigurationError(f"{run.source!r} has no model that can be asked: {'; '.join(absent.values())}")
    return Models(run.source, stages, run.results, absent, run)


def _checkpoint(run: Run, position: int) -> tuple[CLIPModel, CLIPProcessor]:
    return _at(str(run.checkpoint(position).absolute()))


def _at(place: str, revision: str = "main", pickled: bool = False) -> tuple[CLIPModel, CLIPProcessor]:
    return loaded(place, revision, pickled), load_processor(place, revision, MODEL)


def models_at(places: Mapping[str, str], pickled: bool = False) -> Models:
    """Those of a stream by name where they are: `clip-nano` or `org/name@REVISION`; results are of the last one.

    Args:
        places: by name.
        pickled: the one that the stream started from may have pickled weights.

    Raises:
        ConfigurationError: there is no such checkpoint.
    """
    run = find_run([*places.values()][-1])
    stages = []
    for name, place in places.items():
        repository, _, revision = place.partition("@")
        stages.append(Stage(name, partial(_at, repository, revision or "main", pickled and name == ZERO_SHOT)))
    return Models(run.source, stages, run.results, run=run)
