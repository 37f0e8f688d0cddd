"""A frozen model that teaches."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import CLIPModel


class Teacher:
    """A frozen model, in memory only while somebody computes with it.

    Args:
        name: `original` or `previous`.
        source ([`CLIPModel`] or a function that makes one): a model is frozen, put into eval mode and moved to the
            device while it is asked, to the CPU when it is released; one that a function makes is made when it is
            needed and can go in between.
    """

    def __init__(self, name: str, source: CLIPModel | Callable[[], CLIPModel]):
        self.name = name
        self._source = source
        self._model: CLIPModel | None = None

    @property
    def model(self) -> CLIPModel:
        """The model in eval mode, without gradient."""
        if self._model is None:
            source = self._source if isinstance(self._source, nn.Module) else self._source()
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


def weights_fingerprint(model: nn.Module, state: dict[str, Tensor] | None = None) -> str:
    """Hash of a model's configuration and weights, or of those in `state`."""
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True, default=str).encode())
    for name, value in sorted((state or model.state_dict()).items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
