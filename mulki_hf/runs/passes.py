"""How far an evaluation of several models has come, as one bar."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..config import MulKIConfig
from ..report.tables import duration
from .progress import Shown


class Passes(Shown):
    """Shows the passes of models over a stream's images.

    Args:
        config ([`MulKIConfig`]): the settings.
        main_process (`bool`): whether this one shows anything.
        models (`int`): how many there are.
    """

    def __init__(self, config: MulKIConfig, main_process: bool, models: int):
        super().__init__(config, main_process)
        self.models = models
        self._began = time.monotonic()
        self._done, self._name, self._evaluating = 0, "", False

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
        """Time is taken of the whole, not of its pieces."""

    def part(self, description: str, share: float) -> None:
        if self._view is None:
            return
        come = (self._done + share * self._evaluating) / self.models
        texts = [f"model {self._done + 1}/{self.models} {self._name}" if self._evaluating else description]
        if come:
            left = (time.monotonic() - self._began) * (1 - come) / come
            texts.insert(0, f"{duration(left)} left".rjust(len("10 min 10 s left")))
        self._view.show(come, texts)
