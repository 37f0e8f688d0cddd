"""Some of a split's images: few of each class, or a sample that keeps the classes' shares."""

from dataclasses import dataclass

import numpy as np

from ..errors import ConfigurationError, shown
from .labels import LEFT_OUT


TRAINING, EVALUATION = 0, 1
"""Tell the draws of one seed apart."""

RECORDED = {"train": "training_images", "evaluation": "evaluation_images"}
"""What a [`TaskRecord`] calls how many images a split has."""


@dataclass(frozen=True)
class Limit:
    """How many images of a task's split there are to be, and which: a function of seed and labels alone.

    Rows are drawn class by class, so that a class's images stay the same whatever other classes there are, and more of
    them hold the fewer.

    Attributes:
        kind: [`TRAINING`] or [`EVALUATION`].
        seed: of the draw.
        shots (*optional*): images of each class; of one that has fewer, all.
        images (*optional*): in all.
    """

    kind: int
    seed: int
    shots: int | None = None
    images: int | None = None

    @classmethod
    def of(cls, limits: dict[str, int], seed: int, training: bool) -> "Limit":
        """By what is asked of the training or evaluation images; see [`DataArguments.limits`]."""
        if training:
            return cls(TRAINING, seed, limits.get("shots"), limits.get("max_train_samples"))
        return cls(EVALUATION, seed, images=limits.get("max_eval_samples"))

    def __bool__(self) -> bool:
        return self.shots is not None or self.images is not None

    def kept(self, labels: np.ndarray) -> np.ndarray:
        """Of `labels` `(N,)`, the classes of a task and [`LEFT_OUT`], the rows that stay `(N,)`, bool."""
        classes, counts = np.unique(labels[labels != LEFT_OUT], return_counts=True)
        quotas = counts
        if self.shots is not None:
            quotas = np.minimum(counts, self.shots)
        elif self.images is not None and self.images < counts.sum():
            quotas = shares(counts, self.images)
        kept = np.zeros(len(labels), dtype=bool)
        for label, quota in zip(classes.tolist(), quotas.tolist(), strict=True):
            rows = np.flatnonzero(labels == label)
            lots = np.random.default_rng(np.random.SeedSequence((self.seed, self.kind, label))).random(len(rows))
            kept[rows[np.argsort(lots, kind="stable")[:quota]]] = True
        return kept

    def short(self, labels: np.ndarray) -> dict[int, int]:
        """The classes with fewer images than `shots`, and how many they have; none of those without any."""
        classes, counts = np.unique(labels[labels != LEFT_OUT], return_counts=True)
        pairs = zip(classes.tolist(), counts.tolist(), strict=True)
        return {label: count for label, count in pairs if self.shots is not None and count < self.shots}


@dataclass(frozen=True)
class Chosen:
    """Rows of a split.

    Attributes:
        split: as it is loaded; a row counts from its beginning.
        rows: by number, the digest of the image in hex, see [`CheckedImages`].
    """

    split: str
    rows: dict[str, str]

    @classmethod
    def of(cls, split: str, used: np.ndarray, digests: np.ndarray) -> "Chosen":
        """The rows that are `used` `(N,)`, bool, of a split whose images have the `digests` `(N, 16)`."""
        return cls(split, {str(row): digests[row].tobytes().hex() for row in np.flatnonzero(used).tolist()})

    def wanted(self, split: str, own: np.ndarray, where: str) -> np.ndarray:
        """Which rows of `split` they are `(N,)`, bool.

        Args:
            split: as it was loaded.
            own (`(N,)`, bool): rows of the task's classes.
            where: dataset and split, for messages.

        Raises:
            ConfigurationError: they are of another split, or one is no row of the task's.
        """
        if split != self.split:
            raise ConfigurationError(f"{where}: rows are of split {self.split!r}")
        wanted = np.zeros(len(own), dtype=bool)
        for row in self.rows:
            if not row.isdecimal() or int(row) >= len(own) or not own[int(row)]:
                raise ConfigurationError(f"{where}: rows has row {shown(row)}, which is none of the task's")
            wanted[int(row)] = True
        return wanted

    def check(self, digests: np.ndarray, seen: np.ndarray, where: str) -> None:
        """Raise `ConfigurationError` unless the images of `digests` `(N, 16)` are those that were chosen.

        Of those that were looked at, `seen` `(N,)`, bool.
        """
        chosen = [(row, digest) for row, digest in self.rows.items() if seen[int(row)]]
        other = [row for row, digest in chosen if digests[int(row)].tobytes().hex() != digest]
        if other:
            raise ConfigurationError(
                f"{where}: {len(other)} of {len(self.rows)} rows hold another image than the one that was chosen, the "
                f"first is row {other[0]}; give the dataset, revision and format that rows were chosen from"
            )


def shares(counts: np.ndarray, images: int) -> np.ndarray:
    """`images` dealt out in proportion to `counts` `(C,)`, as exactly as whole ones can be.

    Each class has one at least, unless there are fewer images than classes. Ties go to the class that comes first.
    """
    total = counts.sum()
    least = 1 if images >= len(counts) else 0
    dealt = np.maximum(counts * images // total, least)
    while (missing := images - dealt.sum()) != 0:
        owed = counts * images - dealt * total
        if missing > 0:
            dealt[np.argmax(owed)] += 1
        else:
            dealt[np.argmin(np.where(dealt > least, owed, np.iinfo(owed.dtype).max))] -= 1
    return dealt
