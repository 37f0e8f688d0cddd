"""What models take pictures for: asked of many pictures, written down."""

import csv
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator
from PIL.Image import Image
from tqdm.auto import tqdm

from ..errors import ConfigurationError
from ..report.tables import csv_cell, markdown_table
from .answers import Reader, top
from .classes import Classes
from .pictures import UnreadablePicture, called, read_picture
from .stages import Stage


logger = logging.getLogger(__name__)

CSV, JSON = "predictions.csv", "predictions.json"


@dataclass
class Predictions:
    """The most probable classes of pictures by one model or several.

    Attributes:
        source: of the models, as it was given.
        classes: that pictures were told apart as.
        answers: by model and picture, classes with their probability, the best first.
        unreadable: by picture what is wrong with it.
    """

    source: str
    classes: Classes
    answers: dict[str, dict[Path, list[tuple[str, float]]]] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """Their names, in order."""
        return [*self.answers]

    @property
    def pictures(self) -> list[Path]:
        """Those that could be read."""
        return [*next(iter(self.answers.values()))]

    def of(self, picture: Path) -> list[list[tuple[str, float]]]:
        """What each model says of a picture."""
        return [said[picture] for said in self.answers.values()]

    def table(self) -> str:
        """A line a picture, for a terminal: the classes of one model, or the first one of each."""
        if len(self.answers) > 1:
            rows = [["image", *self.models]]
            rows += [[called(p), *(_share(*said[0]) for said in self.of(p))] for p in self.pictures]
        else:
            count = max(len(self.of(picture)[0]) for picture in self.pictures)
            rows = [["image", *(f"{number + 1}." for number in range(count))]]
            rows += [[called(picture), *(_share(*said) for said in self.of(picture)[0])] for picture in self.pictures]
        return markdown_table(rows)

    def save(self, folder: Path) -> None:
        """Write `predictions.csv`, a line a picture, and `predictions.json`, which says the classes too."""
        folder.mkdir(parents=True, exist_ok=True)
        count = max(len(said) for answers in self.answers.values() for said in answers.values())
        one = len(self.answers) == 1
        heads = [("" if one else f"{model}: ") + kind for model in self.models for kind in _columns(count)]
        with (folder / CSV).open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["image", *heads])
            for picture in self.pictures:
                cells = [cell for said in self.of(picture) for name, p in said for cell in (name, f"{p:.6f}")]
                lines.writerow(map(csv_cell, [called(picture), *cells]))
        images = [
            {
                "image": called(picture),
                "answers": {
                    model: [{"class": name, "probability": p} for name, p in said]
                    for model, said in zip(self.models, self.of(picture), strict=True)
                },
            }
            for picture in self.pictures
        ]
        content = {
            "model": self.source,
            "classes": [{"class_names": names, "templates": templates} for names, templates in self.classes.groups],
            "images": images,
            "unreadable": {called(picture): problem for picture, problem in self.unreadable.items()},
        }
        (folder / JSON).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _columns(count: int) -> list[str]:
    return [f"{kind} {number + 1}" for number in range(count) for kind in ("class", "probability")]


def _share(name: str, probability: float) -> str:
    return f"{name} {100 * probability:.1f}%"


def predict(
    source: str,
    stages: Sequence[Stage],
    pictures: Sequence[Path],
    classes: Classes,
    accelerator: Accelerator,
    batch_size: int = 32,
    count: int = 5,
    unreadable: str = "skip",
) -> Predictions:
    """What each stage's model takes the pictures for; one model is in memory at a time, and a batch of pictures.

    Args:
        source: of the models, for the record.
        count: how many classes are kept of each answer.
        unreadable: `skip` leaves out, with a warning, what can't be read; `error` stops there.

    Raises:
        ConfigurationError: a model can't be loaded, a prompt is too long, or no picture can be read.
    """
    predictions, names = Predictions(source, classes), classes.names
    for stage in stages:
        reader = Reader(stage, accelerator)
        classifier = reader.classifier(classes)
        said: dict[Path, list[tuple[str, float]]] = {}
        left = [picture for picture in pictures if picture not in predictions.unreadable]
        with tqdm(total=len(left), desc=stage.name, leave=False, disable=None) as progress:
            for batch in _batches(left, batch_size, predictions.unreadable, unreadable):
                probabilities = reader.probabilities([image for _, image in batch], classifier, classes)
                said |= {path: top(row, names, count) for (path, _), row in zip(batch, probabilities, strict=True)}
                progress.update(len(batch))
        if not said:
            reasons = "; ".join(f"{called(path)}: {problem}" for path, problem in predictions.unreadable.items())
            raise ConfigurationError(f"images: none can be read: {reasons}")
        predictions.answers[stage.name] = said
    # A file may have become unreadable since the first model saw it.
    for answers in predictions.answers.values():
        for picture in predictions.unreadable:
            answers.pop(picture, None)
    return predictions


def _batches(
    pictures: Sequence[Path], size: int, unreadable: dict[Path, str], then: str
) -> Iterator[list[tuple[Path, Image]]]:
    """Pictures that can be read with their images, `size` at a time; the others go into `unreadable`."""
    batch: list[tuple[Path, Image]] = []
    for picture in pictures:
        try:
            batch.append((picture, read_picture(picture)))
        except UnreadablePicture as error:
            if then == "error":
                raise ConfigurationError(
                    f"images: {called(picture)} can't be read: {error}; mend it or give --unreadable_images skip"
                ) from error
            logger.warning(f"left out, as it can't be read: {called(picture)}: {error}")
            unreadable[picture] = str(error)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
