"""The frozen teachers of a task."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import CLIPModel

from .cache import Table, weights_fingerprint
from .objectives import Prototypes


class Teacher:
    """A frozen model, in memory only while somebody computes with it.

    Args:
        name: `original` or `previous`.
        source ([`CLIPModel`] or a function that makes one): a model is frozen, put into eval mode and moved to the
            device while it is asked, to the CPU when it is released; one that a function makes is made when it is
            needed and can go in between.

    Attributes:
        prototypes: of the task's classes, once computed.
        tables: its features, once computed: `image` of the training images, `reference` of the reference images.
            Empty while the teacher runs in every step.
    """

    def __init__(self, name: str, source: CLIPModel | Callable[[], CLIPModel]):
        self.name = name
        self._source = source
        self._model = None
        self.prototypes: Prototypes | None = None
        self.tables: dict[str, Table] = {}

    @property
    def model(self) -> CLIPModel:
        """The model in eval mode, without gradient."""
        if self._model is None:
            source = self._source if isinstance(self._source, CLIPModel) else self._source()
            self._model = source.eval().requires_grad_(False)
        return self._model

    @contextmanager
    def active(self, device: torch.device) -> Iterator[CLIPModel]:
        """The model on `device`, ready to compute with."""
        yield self.model.to(device)

    def fingerprint(self) -> str:
        """Hash of the weights."""
        return weights_fingerprint(self.model)

    def release(self) -> None:
        """Take the model off the accelerator and, if it can be made again, out of memory."""
        if self._model is not None:
            self._model.to("cpu")
        self._model = None
