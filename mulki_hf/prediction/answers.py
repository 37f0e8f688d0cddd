"""Models that answer: probabilities of classes, for pictures."""

from collections.abc import Sequence

import psutil
import torch
from accelerate import Accelerator
from PIL.Image import Image
from torch import Tensor
from transformers import CLIPModel, CLIPProcessor

from ..data.prompts import tokenize_prompts
from ..errors import ConfigurationError
from ..models.classifier import Classifier, classifier_of
from .classes import Classes
from .stages import Stage


KEPT_CLASSES = 8
"""Sets of classes whose features a model keeps."""


class Reader:
    """A model that tells pictures apart.

    Args:
        stage: whose model it is.
        accelerator ([`Accelerator`]): decides device and mixed precision.

    Raises:
        ConfigurationError: the model can't be loaded.
    """

    def __init__(self, stage: Stage, accelerator: Accelerator):
        self.name = stage.name
        self.accelerator = accelerator
        self.model: CLIPModel
        self.processor: CLIPProcessor
        self.model, self.processor = stage.load()
        self.model.to(accelerator.device)

    @property
    def bytes(self) -> int:
        """Memory of the weights."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.model.parameters())

    @torch.no_grad()
    def classifier(self, classes: Classes, features: Tensor | None = None) -> Classifier:
        """How the model classifies; `features` are what its text tower said of the classes before.

        Raises:
            ConfigurationError: a prompt is longer than the text tower reads.
        """
        prompts = []
        if features is None:
            prompts = [(tokenize_prompts(self.processor, [*names], [*t]), len(names)) for names, t in classes.groups]
        with self.accelerator.autocast():
            return classifier_of(self.model, prompts, features)

    @torch.no_grad()
    def probabilities(self, images: Sequence[Image], classifier: Classifier, classes: Classes) -> Tensor:
        """Of RGB images, `(B, N)` over `classes.names`, in fp32 on the CPU: by no other picture of the batch.

        Raises:
            ConfigurationError: scores are not finite.
        """
        pixels = self.processor.image_processor([*images], return_tensors="pt")["pixel_values"]
        with self.accelerator.autocast():
            features = classifier.features(pixels.to(self.accelerator.device))
        scores = classifier.logits(features).float()
        names = classes.names
        number = {name: position for position, name in enumerate(names)}
        owner = torch.tensor([number[name] for own, _ in classes.groups for name in own], device=scores.device)
        best = scores.new_full((len(scores), len(names)), -torch.inf)
        best = best.scatter_reduce(1, owner.expand(len(scores), -1), scores, "amax")
        probabilities = (best * self.model.logit_scale.exp().float()).softmax(dim=-1).cpu()
        if not probabilities.isfinite().all():
            raise ConfigurationError(
                f"the model {self.name!r} gives scores that are not finite: its weights are broken"
            )
        return probabilities


class Readers:
    """Answers of many models to one question after another.

    A model is loaded when it is first asked. It stays as long as those that do take half of the memory that was free
    in the beginning; what does not fit is loaded anew for every question. (To drop those that were used longest ago
    would load every model every time, since each question asks all of them in turn.) Of classes each model keeps what
    its text tower said.

    Args:
        stages: by whose models.
        accelerator ([`Accelerator`]): decides device and mixed precision.
        memory (*optional*): bytes that models may take, in place of half of what is free.
    """

    def __init__(self, stages: Sequence[Stage], accelerator: Accelerator, memory: int | None = None):
        self.stages = stages
        self.accelerator = accelerator
        self.room = free_memory(accelerator) // 2 if memory is None else memory
        self._readers: dict[str, Reader] = {}
        self._classes: dict[str, dict[Classes, Tensor]] = {}

    def answer(self, stage: Stage, image: Image, classes: Classes) -> Tensor:
        """Probabilities `(N,)` of `classes.names` by a stage's model; raises as [`Reader`] does."""
        reader = self._readers.get(stage.name) or Reader(stage, self.accelerator)
        if stage.name not in self._readers and reader.bytes <= self.room:
            self._readers[stage.name] = reader
            self.room -= reader.bytes
        kept = self._classes.setdefault(stage.name, {})
        classifier = reader.classifier(classes, kept.get(classes))
        features = getattr(classifier, "classes", None)
        if features is not None:
            while len(kept) >= KEPT_CLASSES and classes not in kept:
                del kept[next(iter(kept))]
            kept[classes] = features
        return reader.probabilities([image], classifier, classes)[0]


def free_memory(accelerator: Accelerator) -> int:
    """Bytes that are free where models go."""
    if accelerator.device.type == "cuda":
        return torch.cuda.mem_get_info(accelerator.device)[0]
    return psutil.virtual_memory().available


def top(probabilities: Tensor, names: Sequence[str], count: int) -> list[tuple[str, float]]:
    """The most probable classes with their probability, the best first; equal ones in the order of `names`."""
    order = probabilities.sort(descending=True, stable=True)
    return [(names[i], value) for value, i in zip(order.values.tolist(), order.indices.tolist(), strict=True)][:count]
