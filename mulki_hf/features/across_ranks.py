"""A batch as one process would see it: the features of all ranks together."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from ..objectives.batch import IMAGE_PARTS, TEACHERS, FeatureBatch, TeacherFeatures


Features = TypeVar("Features", FeatureBatch, TeacherFeatures)


def of_all_ranks(batch: FeatureBatch, accelerator: Accelerator, counts: bool) -> FeatureBatch:
    """`batch` with the images of all ranks, for a loss that relates images to one another.

    The gradient of this rank's features is scaled by the number of ranks, over which it is averaged later.

    Args:
        batch ([`FeatureBatch`]): of this rank's images.
        accelerator ([`Accelerator`]): of the ranks.
        counts (`bool`): whether the images of this rank count; others see none of them.
    """
    if accelerator.num_processes == 1:
        return batch

    def gathered(values: Tensor) -> Tensor:
        own = values if counts else values[:0]
        numbers = accelerator.gather(torch.tensor([len(own)], device=own.device)).tolist()
        if not max(numbers):
            return own
        # Collectives are of tensors alike.
        padded = F.pad(own.detach(), [0, 0] * (own.dim() - 1) + [0, max(numbers) - len(own)])
        everyone = accelerator.gather(padded).split(max(numbers))
        parts = [rows[:number] for rows, number in zip(everyone, numbers, strict=True)]
        if own.requires_grad:
            parts[accelerator.process_index] = own.detach() + len(numbers) * (own - own.detach())
        return torch.cat(parts)

    def with_all(part: Features, *names: str) -> Features:
        # Its values as they are: to read one that is not filled raises.
        filled = {name: gathered(vars(part)[name]) for name in names if vars(part)[name] is not None}
        return type(part)(**vars(part) | filled)

    teachers = {name: with_all(vars(batch)[name], "image", *IMAGE_PARTS) for name in TEACHERS}
    whole = with_all(batch, "labels", "image", *IMAGE_PARTS)
    return type(whole)(**vars(whole) | teachers)
