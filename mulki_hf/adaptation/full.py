"""The whole model is trained, or a tower of it."""

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers import CLIPModel

from ..errors import ConfigurationError
from ..models.dual_encoders import check_dual_encoder, kind_of
from ..objectives import Objective
from .adapters import has_adapters
from .base import FLOAT, Adaptation, Load, count
from .precision import in_fp32
from .teacher import Teacher
from .towers import TOWERS, train_towers


Source: TypeAlias = CLIPModel | Callable[[], CLIPModel]


class FullModel(Adaptation):
    """The parameters of the trained towers themselves; the teachers are models of their own.

    Args:
        model ([`CLIPModel`]): the student, trained in place.
        args ([`MulKIConfig`]): `train_towers`.
        original ([`CLIPModel`] or a function that loads it, *optional*): teacher O. Default: the student as given.
        previous ([`CLIPModel`] or a function that loads it, *optional*): teacher P. Default: teacher O.

    Raises:
        ConfigurationError: the model is no dual encoder that is supported, or has adapters.
    """

    name = "the full model"

    def __init__(self, model: CLIPModel, args: Any, original: Source | None = None, previous: Source | None = None):
        check_dual_encoder(model)
        if has_adapters(model):
            raise ConfigurationError("the model has adapters but is no PeftModel: make them with peft.get_peft_model")
        self.student = in_fp32(model)
        train_towers(model, args.train_towers)
        # A teacher that is the student itself would freeze it: teach with a copy.
        original = snapshot(model) if original is None or original is model else original
        previous = snapshot(model) if previous is model else previous
        teacher = Teacher("original", original)
        self.teachers = {
            "original": teacher,
            "previous": teacher if previous is None else Teacher("previous", previous),
        }

    @classmethod
    def takes(cls, model: Any) -> bool:
        return True

    @classmethod
    def start(cls, load: Load, args: Any, before: Path | None) -> "FullModel":
        previous = partial(load, before) if before else None
        return cls((previous or load)(), args, load, previous)

    @classmethod
    def checkpoint_size(cls, model: CLIPModel, args: Any, averaged: bool) -> int:
        parts = [getattr(model, part, None) for part in TOWERS[args.train_towers or "both"]]
        trained = count(model) if args.train_towers == "both" else sum(count(part) for part in parts if part)
        # What others than Adam keep is not known here, nor what is kept in few bits.
        optim = str(getattr(args.optim, "value", args.optim))
        moments = 0 if args.save_only_model or "bit" in optim else 2 * ("adam" in optim)
        return FLOAT * (count(model) + trained * (moments + averaged))

    def finish(self) -> CLIPModel:
        return self.student

    def can_connect(self, objective: Objective) -> None:
        """It can."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, p) for name, p in self.student.named_parameters() if p.requires_grad)

    @torch.no_grad()
    def connect(self, average: Mapping[str, Tensor] | None, teacher: str | None, alpha: float) -> None:
        if average is not None:
            for name, parameter in self.weights():
                parameter.copy_(average[name])
        if teacher is not None and alpha > 0 and not (teacher == "previous" and self.first):
            merge_weights(self.student, self.teachers[teacher].model, alpha)
            self.teachers[teacher].release()


@torch.no_grad()
def merge_weights(model: nn.Module, other: nn.Module, alpha: float) -> None:
    """In place, on the trainable parameters: `model = (1 - alpha) * model + alpha * other`."""
    others = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.lerp_(others[name].to(parameter), alpha)


def snapshot(model: CLIPModel) -> CLIPModel:
    """An independent copy of a model's weights, free of whatever wraps the model."""
    # Built in the precision of the configuration, which is that of the file.
    twin = kind_of(model).model(copy.deepcopy(model.config)).to(model.dtype)
    twin.load_state_dict(model.state_dict())
    return twin
