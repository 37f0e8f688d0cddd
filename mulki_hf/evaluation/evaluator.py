"""Accuracy on every task of the stream."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPModel, CLIPProcessor
from transformers.utils.logging import tqdm

from ..data.images import ImageSamples, cached_images, image_transform
from ..data.prompts import tokenize_prompts
from ..data.tables import ArrayCache
from ..data.task import Task
from ..errors import TrainingError
from ..models.classifier import Classifier, classifier_of
from .protocols import PROTOCOLS


class StreamEvaluator:
    """Evaluates a model on all tasks of a stream, those not yet learned included.

    Each image is encoded once, however many protocols are asked for; what a frozen tower says is encoded once for all
    calls.

    Args:
        tasks: the stream, in order.
        processor ([`CLIPProcessor`]): the model's own.
        accelerator ([`Accelerator`]): decides device, mixed precision and ranks. Every image is evaluated once,
            whatever the number of ranks.
        batch_size (`int`): images a rank and forward.
        num_workers (`int`): data loader workers.
        protocol: which classes compete. `til`: the task's own; `cil`: those of all tasks seen so far and its own;
            `xtail`: those of every task. Classes of equal name count as one class.
        trained_towers: `both`, `vision` or `text`: what differs between the models of two calls. The features of the
            other tower are kept from the first call.
        image_cache ([`ArrayCache`], *optional*): keep the images decoded there.
    """

    def __init__(
        self,
        tasks: list[Task],
        processor: CLIPProcessor,
        accelerator: Accelerator,
        batch_size: int = 64,
        num_workers: int = 0,
        protocol: str = "til",
        trained_towers: str = "both",
        image_cache: ArrayCache | None = None,
    ):
        self.tasks = tasks
        self.accelerator = accelerator
        self.batch_size = batch_size
        self.protocol = protocol
        self.trained_towers = trained_towers
        self._kept_classes: Tensor | None = None
        self._kept_images: list[list[dict[str, Tensor]]] = [[] for _ in tasks]
        self.loaders = []
        for position, task in enumerate(tasks):
            rows, image_processor = task.evaluation, processor.image_processor
            what = f"task {task.name!r}, evaluation images"
            if image_cache is None:
                samples = ImageSamples(rows, image_transform(image_processor), what)
            else:
                samples = cached_images(rows, image_processor, image_cache, f"evaluation-{position}", what)
            self.loaders.append(self._loader(samples, batch_size, num_workers))
        self.prompts = [
            (tokenize_prompts(processor, task.class_names, task.evaluation_templates), len(task.class_names))
            for task in tasks
        ]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(n for t in tasks for n in t.class_names))}
        device = accelerator.device
        # Of every class of the stream, task after task: the number of its name, and its task.
        self.names = torch.tensor([numbers[name] for task in tasks for name in task.class_names], device=device)
        counts = torch.tensor([len(task.class_names) for task in tasks], device=device)
        self.owner = torch.arange(len(tasks), device=device).repeat_interleave(counts)

    @classmethod
    def of_run(
        cls,
        tasks: list[Task],
        processor: CLIPProcessor,
        accelerator: Accelerator,
        args: Any,
        cache: Path,
        trained_towers: str = "both",
    ) -> "StreamEvaluator":
        """By the settings of a run.

        Args:
            tasks, processor, accelerator, trained_towers: as of the evaluator.
            args ([`MulKIConfig`]): batch size, workers, and whether images are kept decoded.
            cache: the folder for these.
        """
        batch_size, workers = args.per_device_eval_batch_size, args.dataloader_num_workers
        images = ArrayCache(cache, accelerator, batch_size, workers) if args.cache_images else None
        options = {"batch_size": batch_size, "num_workers": workers, "image_cache": images}
        return cls(tasks, processor, accelerator, trained_towers=trained_towers, **options)

    def __call__(self, model: CLIPModel, learned: int, description: str) -> list[float]:
        """Accuracy in percent on every task, by the evaluator's protocol.

        Args:
            model ([`CLIPModel`]): moved to the accelerator's device and put into eval mode.
            learned (`int`): how many tasks the model has learned; matters for `cil` only.
            description (`str`): shown beside the progress bar.
        """
        return self.by_protocol(model, learned, description, [self.protocol])[self.protocol]

    def by_protocol(
        self, model: CLIPModel, learned: int, description: str, protocols: Sequence[str]
    ) -> dict[str, list[float]]:
        """Accuracy in percent on every task, by several protocols in one pass; raises as [`rows`] does."""
        return {name: row for name, (row,) in self.rows(model, [learned], description, protocols).items()}

    def rows(
        self, model: CLIPModel, learned: Sequence[int], description: str, protocols: Sequence[str]
    ) -> dict[str, list[list[float]]]:
        """[`cells`] on every task."""
        return self.cells(model, learned, description, protocols)

    @torch.no_grad()
    def cells(
        self,
        model: CLIPModel,
        learned: Sequence[int],
        description: str,
        protocols: Sequence[str],
        only: Collection[int] | None = None,
        seen: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> dict[str, list[list[float | None]]]:
        """Accuracy in percent on tasks, by several protocols and as after several numbers of tasks, in one pass.

        Args:
            model, description: as of a call.
            learned: how many tasks count as learned; a row for each.
            protocols: by name.
            only (*optional*): positions of the tasks to evaluate on. Default: all.
            seen (*optional*): told of every batch, on every rank of the images of all: the task's position, the labels
                `(B,)` and, in columns by protocol and number of learned tasks, for which class of the stream each was
                taken `(B, M)`.

        Returns:
            By protocol: a row for each of `learned`, a column for each task, None where it was not asked for.

        Raises:
            TrainingError: on every rank: scores are not finite.
        """
        asked = [(name, count) for name in protocols for count in learned]
        classifier = self._classifier(model.to(self.accelerator.device).eval())
        positions = range(len(self.tasks)) if only is None else sorted(only)
        total = sum(len(self.loaders[position]) for position in positions)
        accuracies: dict[str, list[list[float | None]]] = {
            name: [[None] * len(self.tasks) for _ in learned] for name in protocols
        }
        with tqdm(total=total, desc=description, leave=False) as progress:
            for position in positions:
                masks = [PROTOCOLS[name].mask(self.owner, position, count) for name, count in asked]
                own_names = self.names[self.owner == position]
                correct = torch.zeros(len(asked), dtype=torch.long, device=self.accelerator.device)
                count, finite = 0, torch.tensor(True, device=self.accelerator.device)
                for features, labels in self._images(classifier, position):
                    logits = classifier.logits(features)
                    taken = [logits.masked_fill(~mask, -torch.inf).argmax(dim=-1) for mask in masks]
                    columns = torch.stack([labels, *taken, logits.isfinite().all(dim=-1).long()], dim=-1)
                    columns = self.accelerator.gather_for_metrics(columns)
                    labels, chosen = columns[:, 0], columns[:, 1:-1]
                    finite &= columns[:, -1].all()
                    correct += (self.names[chosen] == own_names[labels, None]).sum(dim=0)
                    count += len(columns)
                    if seen is not None:
                        seen(position, labels, chosen)
                    progress.update()
                if not finite:
                    raise TrainingError(
                        f"{description}: the model's scores of images of task {self.tasks[position].name!r} are not "
                        "finite. Nothing of it was written: lower learning_rate, or look at the model it started from"
                    )
                for number, right in enumerate(correct.tolist()):
                    name, row = protocols[number // len(learned)], number % len(learned)
                    accuracies[name][row][position] = 100.0 * right / count
        return accuracies

    def _classifier(self, model: CLIPModel) -> Classifier:
        with self.accelerator.autocast():
            classifier = classifier_of(model, self.prompts, self._kept_classes)
        if self.trained_towers == "vision":
            self._kept_classes = getattr(classifier, "classes", None)
        return classifier

    def _images(self, classifier: Classifier, position: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Features and labels of a task's images, batch by batch."""
        loader, kept = self.loaders[position], self._kept_images[position]
        if kept:
            # The labels alone: no image is decoded. Still from a loader, which knows the rows that only fill up the
            # last batch of several ranks.
            labels = self.tasks[position].evaluation.select_columns("label")
            loader = self._loader(labels.rename_column("label", "labels"), self.batch_size)
            yield from ((features, batch["labels"]) for features, batch in zip(kept, loader, strict=True))
            return
        encoded = []
        for batch in loader:
            with self.accelerator.autocast():
                encoded.append(classifier.features(batch["pixel_values"]))
            yield encoded[-1], batch["labels"]
            if self.trained_towers != "text":
                encoded.clear()
        kept += encoded

    def _loader(self, samples: Dataset, batch_size: int, num_workers: int = 0) -> DataLoader:
        loader = DataLoader(samples, batch_size=batch_size, num_workers=num_workers, generator=torch.Generator())
        return self.accelerator.prepare_data_loader(loader)
