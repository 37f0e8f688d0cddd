"""How far an evaluation of several models has come, as one bar."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils.logging import set_tqdm_hook

from ..config import MulKIConfig
from ..report.tables import duration
from .progress import Part
from .terminal import Bar, Lines, verbose, wants_bar


class Passes:
    """Shows the passes of models over a stream's images inside its block: see [`Bar`] and [`Lines`].

    Like [`Progress`] it takes the place of every bar that is made by `transformers.utils.logging`.

    Args:
        config ([`MulKIConfig`]): the settings.
        main_process (`bool`): whether this one shows anything.
        models (`int`): how many there are.
    """

    def __init__(self, config: MulKIConfig, main_process: bool, models: int):
        self.config, self.models = config, models
        self.shown = main_process and not verbose(config)
        self.plan = self  # of a [`Part`], which says there when it begins
        self._view: Bar | Lines | None = None
        self._hook: Any = None
        self._done, self._name, self._evaluating = 0, "", False

    def __enter__(self) -> "Passes":
        if self.shown:
            self._began = time.monotonic()
            self._view = Bar() if wants_bar(self.config) else Lines()
            self._hook = set_tqdm_hook(lambda factory, args, kwargs: Part(self, *args, **kwargs))  # type: ignore[arg-type]
        return self

    def __exit__(self, *_: object) -> None:
        if self._view is not None:
            set_tqdm_hook(self._hook)
            self._view.close()
            self._view = None

    @contextmanager
    def evaluating(self, name: str) -> Iterator[None]:
        """What is counted in the block is the pass of the model `name`."""
        self._name, self._evaluating = name, True
        try:
            yield
        finally:
            self._evaluating = False
        self._done += 1

    def mark(self) -> None:
        """Nothing is timed by itself."""

    def part(self, description: str, share: float) -> None:
        """A piece of work stands at `share`."""
        if self._view is None:
            return
        come = (self._done + share * self._evaluating) / self.models
        texts = [f"model {self._done + 1}/{self.models} {self._name}" if self._evaluating else description]
        if come:
            left = (time.monotonic() - self._began) * (1 - come) / come
            texts.insert(0, f"{duration(left)} left".rjust(len("10 min 10 s left")))
        self._view.show(come, texts)
