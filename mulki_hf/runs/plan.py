"""How much of a stream's work is done, and how long the rest of it takes."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


STEPS, EVALUATION = "steps", "evaluation"
FILLS = -2
"""What stands for a stage in the first evaluation that fills a row; the next one has one less."""
FORWARD_AND_BACK = 3
"""What an image costs in a step, against one that is evaluated: until both have been timed, and for the bar."""
MEMORY = 0.98
"""What earlier images weigh in a pace, each time that more are done."""


@dataclass
class Pace:
    """How long an image takes, lately."""

    seconds: float = 0.0
    images: float = 0.0

    def add(self, seconds: float, images: float) -> None:
        self.seconds = MEMORY * self.seconds + seconds
        self.images = MEMORY * self.images + images

    @property
    def each(self) -> float | None:
        """Seconds; None: not known yet."""
        return self.seconds / self.images if self.images else None


class Plan:
    """The parts of a stream's work, counted in images that are evaluated: a step's count [`FORWARD_AND_BACK`] times.

    Time that belongs to no part (loading, teachers' tables, saving) is expected again in the tasks to come, in
    proportion to their training images.

    Args:
        images: of each stage, for training.
        steps: of each stage.
        batch (`int`): images a step.
        evaluated (`int`): images of an evaluation on every task.
        finished (`int`): stages that are.
        measured (`bool`): the zero-shot row is there.
        fills: images of each evaluation that fills a row which lacks cells.
        clock: seconds from anywhere.
    """

    def __init__(
        self,
        images: Sequence[int],
        steps: Sequence[int],
        batch: int,
        evaluated: int,
        finished: int = 0,
        measured: bool = False,
        fills: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ):
        self.images, self.batch, self.clock = images, batch, clock
        # By kind and stage, -1 before the first.
        self.work: dict[tuple[str, int], float] = {(EVALUATION, -1): evaluated}
        for stage, count in enumerate(steps):
            self.work[STEPS, stage] = FORWARD_AND_BACK * batch * count
            self.work[EVALUATION, stage] = evaluated
        first = finished if finished or measured else -1
        self.done = {part: work if part[1] < first else 0.0 for part, work in self.work.items()}
        # What is filled comes before the first stage, too.
        self.work |= {(EVALUATION, FILLS - number): count for number, count in enumerate(fills)}
        self.done |= {(EVALUATION, FILLS - number): 0.0 for number in range(len(fills))}
        self.paces = {STEPS: Pace(), EVALUATION: Pace()}
        self.stage = -1
        self._ended = finished - 1
        self._others: dict[int, float] = {}
        self._marked = clock()

    def begin(self, stage: int) -> None:
        """Time is the stage's from now on."""
        self.mark()
        self.stage = stage

    def mark(self) -> None:
        """What has passed since the last mark belonged to no part."""
        self._others[self.stage] = self._others.get(self.stage, 0.0) + self._passed()

    def set_steps(self, stage: int, steps: int, done: int = 0) -> None:
        """How many there are, and were before this run."""
        self.mark()
        self.work[STEPS, stage] = FORWARD_AND_BACK * self.batch * steps
        self.done[STEPS, stage] = FORWARD_AND_BACK * self.batch * min(done, steps)

    def advance(self, kind: str, share: float) -> None:
        """Of a part of the current stage `share` is done, in [0, 1]; what has passed since the last mark was spent."""
        part = (kind, self.stage)
        gained = min(share, 1.0) * self.work[part] - self.done[part]
        if gained <= 0:  # more than was planned
            self.mark()
            return
        self.done[part] += gained
        self.paces[kind].add(self._passed(), gained)

    def end(self) -> None:
        """Whatever was planned of the current stage is over."""
        self.mark()
        self._ended = max(self._ended, self.stage)
        for part in self.work:
            if part[1] == self.stage:
                self.done[part] = self.work[part]

    @property
    def share(self) -> float:
        """Of the whole stream, in [0, 1]."""
        return sum(self.done.values()) / max(sum(self.work.values()), 1)

    def left(self) -> float | None:
        """Seconds until the stream is learned; None: nothing was timed yet."""
        paces = {kind: pace.each for kind, pace in self.paces.items()}
        known = [each for each in paces.values() if each is not None]
        if not known:
            return None
        seconds = 0.0
        for part, work in self.work.items():
            each = paces[part[0]]
            seconds += (work - self.done[part]) * (known[0] if each is None else each)
        return seconds + self._others_left()

    def _others_left(self) -> float:
        seen = {stage: seconds for stage, seconds in self._others.items() if stage >= 0}
        ended = {stage: seconds for stage, seconds in seen.items() if stage != self.stage} or seen
        each = sum(ended.values()) / max(sum(self.images[stage] for stage in ended), 1)
        still = range(self._ended + 1, len(self.images))
        return sum(max(each * self.images[stage] - seen.get(stage, 0.0), 0.0) for stage in still)

    def _passed(self) -> float:
        before, self._marked = self._marked, self.clock()
        return self._marked - before


def planned_steps(
    images: int, batch: int, accumulation: int, epochs: float, max_steps: int, drop_last: bool = False
) -> int:
    """Optimizer steps as Trainer counts them, from the images and those of a micro-batch of all ranks."""
    if max_steps > 0:
        return max_steps
    batches = images // batch if drop_last else math.ceil(images / batch)
    return math.ceil(epochs * max(math.ceil(batches / accumulation), 1))
