"""Accuracy on every task of the stream."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import CLIPModel, CLIPProcessor
from transformers.utils.logging import tqdm

from .images import encode_images, image_transform
from .tasks import Task
from .text import encode_classes, tokenize_prompts


@dataclass(frozen=True)
class Competitors:
    """The classes among which an image of a task is classified.

    Attributes:
        features (`(N, d)`): class features of the competing tasks, one after another.
        names (`(N,)`, long): number of each class's name; equal names, in different tasks, have equal numbers.
    """

    features: torch.Tensor
    names: torch.Tensor


class StreamEvaluator:
    """Evaluates a model on all tasks of a stream, those not yet learned included.

    Args:
        tasks: the stream, in order.
        processor ([`CLIPProcessor`]): the model's own.
        accelerator ([`Accelerator`]): decides device, mixed precision and ranks. Every image is evaluated once,
            whatever the number of ranks.
        batch_size (`int`): images a rank and forward.
        num_workers (`int`): data loader workers.
        protocol: which classes compete. `til`: the task's own; `cil`: those of all tasks seen so far and its own;
            `xtail`: those of every task. Classes of equal name count as one class.
    """

    def __init__(
        self,
        tasks: list[Task],
        processor: CLIPProcessor,
        accelerator: Accelerator,
        batch_size: int = 64,
        num_workers: int = 0,
        protocol: str = "til",
    ):
        self.tasks = tasks
        self.accelerator = accelerator
        self.protocol = protocol
        transform = image_transform(processor.image_processor)
        self.loaders = [
            accelerator.prepare_data_loader(
                DataLoader(task.evaluation.with_transform(transform), batch_size=batch_size, num_workers=num_workers)
            )
            for task in tasks
        ]
        self.prompts = [tokenize_prompts(processor.tokenizer, task.class_names, task.templates) for task in tasks]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(n for t in tasks for n in t.class_names))}
        self.names = [torch.tensor([numbers[n] for n in t.class_names], device=accelerator.device) for t in tasks]

    def __call__(self, model: CLIPModel, learned: int, description: str) -> list[float]:
        """Accuracy in percent on every task.

        Args:
            model ([`CLIPModel`]): moved to the accelerator's device and put into eval mode.
            learned (`int`): how many tasks the model has learned; matters for `cil` only.
            description (`str`): shown beside the progress bar.
        """
        model = model.to(self.accelerator.device).eval()
        with self.accelerator.autocast():
            texts = [
                encode_classes(model, prompts, len(task.class_names))
                for task, prompts in zip(self.tasks, self.prompts, strict=True)
            ]
        total = sum(len(loader) for loader in self.loaders)
        with tqdm(total=total, desc=description, leave=False) as progress:
            return [
                self._accuracy(model, position, self._competitors(texts, position, learned), progress)
                for position in range(len(self.tasks))
            ]

    def _competitors(self, texts: list[torch.Tensor], position: int, learned: int) -> Competitors:
        rivals = {"til": {position}, "cil": {*range(learned), position}, "xtail": {*range(len(self.tasks))}}
        chosen = sorted(rivals[self.protocol])
        return Competitors(torch.cat([texts[i] for i in chosen]), torch.cat([self.names[i] for i in chosen]))

    @torch.no_grad()
    def _accuracy(self, model: CLIPModel, position: int, rivals: Competitors, progress) -> float:
        correct = torch.zeros((), dtype=torch.long, device=self.accelerator.device)
        count = 0
        for batch in self.loaders[position]:
            with self.accelerator.autocast():
                features = encode_images(model, batch["pixel_values"])
            predicted = rivals.names[(features @ rivals.features.T).argmax(dim=-1)]
            hits = self.accelerator.gather_for_metrics(predicted == self.names[position][batch["labels"]])
            correct += hits.sum()
            count += len(hits)
            progress.update()
        return 100.0 * correct.item() / count
