"""A stop between two optimizer steps: on every rank the same, with a checkpoint to go on from."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from .ranks import greatest
from .stopping import DEFERRAL


class StepStop(TrainerCallback):
    """Of one trainer: keeps a first signal until a step is over, and knows whether that step's state is on disk.

    Works inside [`stoppable`] alone; elsewhere signals are whoever's they are.
    """

    def __init__(self) -> None:
        self._saved: int | None = None
        self._epoch_is_over = False

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._epoch_is_over = False
        DEFERRAL.on = DEFERRAL.stops is not None

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._epoch_is_over = True

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._saved = None  # what was measured belongs into the checkpoint

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._saved = state.global_step

    def saved(self, state: TrainerState) -> bool:
        """Whether a checkpoint of what `state` is now was written."""
        return self._saved == state.global_step

    def due(self, state: TrainerState, control: TrainerControl) -> int:
        """The signal that stops the run now, the same on every rank, of which one may have had it; 0: none.

        Asked after every step and every epoch. Between an epoch's last step and its end nothing stops: what is due at
        its end (an evaluation) would be left out when the run goes on.
        """
        if not DEFERRAL.on:
            return 0
        number = greatest(DEFERRAL.number)
        ends = control.should_training_stop or control.should_epoch_stop or float(state.epoch or 0).is_integer()
        return number if self._epoch_is_over or not ends else 0
