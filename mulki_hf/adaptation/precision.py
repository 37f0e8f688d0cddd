"""The precision that weights are kept in."""

import logging
from typing import TypeVar

import torch
from torch import nn


logger = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)


def in_fp32(model: M) -> M:
    """`model` with fp32 weights, in place: in half precision most steps of training are too small to change one.

    With `bf16` or `fp16` in the arguments autocast computes in half precision nevertheless.
    """
    half = {p.dtype for p in model.parameters() if p.dtype in (torch.bfloat16, torch.float16)}
    if half:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in sorted(half, key=str))
        logger.warning(
            f"the student's weights are {names}: training keeps them in float32; bf16 or fp16 computes in it"
        )
        model.float()
    return model
