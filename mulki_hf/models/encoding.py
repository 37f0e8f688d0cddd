"""Features of images and of classes, in memory that stays bounded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import TrainerCallback
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPOutput


@dataclass
class EncodingArguments:
    """How class prompts are read."""

    _argument_group_name = "Text tower"

    text_chunk: int = field(
        default=256,
        metadata={
            "help": "Prompts that a trained text tower reads at a time; with more, each part is computed again in the "
            "backward pass, so that memory stays bounded."
        },
    )

    def __post_init__(self):
        if self.text_chunk < 1:
            raise ValueError(f"text_chunk must be >= 1, got {self.text_chunk}")


@torch.no_grad()
def encode_images(model, pixel_values: Tensor) -> Tensor:
    """The model's L2-normalised image features `(B, d)` in fp32, without gradient.

    Mixed precision is the caller's: wrap the call in `accelerator.autocast()`.
    """
    features = model.get_image_features(pixel_values=pixel_values).pooler_output.float()
    return F.normalize(features, dim=-1)


def class_features(text_embeds: Tensor, classes: int | Sequence[tuple[int, int]]) -> Tensor:
    """Mean of each class's normalised prompt features over the templates, normalised.

    Args:
        text_embeds (`(N, d)`): of the prompts, class after class.
        classes: their number `C`, each with as many prompts; or numbers of prompts and of classes for one part of the
            prompts after another.

    Returns:
        `(C, d)`, of all parts.
    """
    parts = [(len(text_embeds), classes)] if isinstance(classes, int) else classes
    means = [
        part.view(count, -1, part.shape[-1]).mean(dim=1)
        for part, (_, count) in zip(text_embeds.split([prompts for prompts, _ in parts]), parts, strict=True)
    ]
    return F.normalize(torch.cat(means), dim=-1)


@torch.no_grad()
def encode_classes(
    model, prompts: dict[str, Tensor], classes: int | Sequence[tuple[int, int]], chunk: int = 512
) -> Tensor:
    """The model's class features `(C, d)` in fp32, without gradient, in chunks of prompts so that memory stays bounded.

    `classes` is what [`class_features`] takes.

    Mixed precision is the caller's: wrap the call in `accelerator.autocast()`.
    """
    embeds = [
        F.normalize(model.get_text_features(input_ids=ids.to(model.device)).pooler_output.float(), dim=-1)
        for ids in prompts["input_ids"].split(chunk)
    ]
    return class_features(torch.cat(embeds), classes)


class TrainedText(TrainerCallback):
    """Features of a text tower in training, read once an optimizer step: within one neither weights nor prompts change.

    The first micro-batch of a step reads the prompts and keeps the graph. Every loss sees the features as a leaf, where
    gradients gather, scaled as each loss was; that of the last micro-batch takes them through the graph. As a callback
    it forgets what was kept for a step that was never finished.

    Args:
        accelerator ([`accelerate.Accelerator`]): says which micro-batch is a step's last.
        chunk (`int`): prompts that are read at a time, see [`chunked_text_tower`].
    """

    def __init__(self, accelerator: Accelerator, chunk: int):
        self.accelerator = accelerator
        self.chunk = chunk
        self._trains = False
        self._kept: tuple[Tensor, Tensor] | None = None

    @contextmanager
    def trains(self, text_model: nn.Module) -> Iterator[None]:
        """Inside the block steps are taken, in which the tower reads its prompts in chunks."""
        self._trains = True
        try:
            with chunked_text_tower(text_model, self.chunk):
                yield
        finally:
            self._trains, self._kept = False, None

    def on_train_begin(self, args, state, control, **kwargs):
        self._kept = None

    def kept(self, training: bool) -> bool:
        """Whether this step's prompts have been read, so that it does not matter which texts the forward gets."""
        return training and self._kept is not None

    def features(self, outputs: CLIPOutput, classes: Sequence[tuple[int, int]], training: bool) -> Tensor:
        """Class features `(C, d)` for the loss of a micro-batch, from its forward's outputs or kept.

        `classes` is what [`class_features`] takes.

        Where one operation made both images and texts, as a compiled model's does, the images' backward pass would use
        up the texts' graph: then nothing is kept, and every micro-batch reads the prompts.
        """
        kept = self._kept if training else None
        if kept is None:
            # Forward normalises in the precision of autocast, which leaves lengths of 0.99 and 1.01.
            read = class_features(F.normalize(outputs.text_embeds.float(), dim=-1), classes)
            if not training or self._last() or share_operations(outputs.image_embeds, outputs.text_embeds):
                return read
            self._kept = kept = read, read.detach().requires_grad_()
        read, leaf = kept
        if not self._last():
            return leaf
        self._kept = None
        read.register_hook(lambda gradient: gradient if leaf.grad is None else gradient + leaf.grad)
        return read

    def _last(self) -> bool:
        """Whether gradients have to be complete after this micro-batch."""
        state = self.accelerator.gradient_state
        return not self._trains or state.sync_gradients or state.plugin_kwargs.get("sync_each_batch", False)


def share_operations(first: Tensor, second: Tensor) -> bool:
    """Whether going back through the graph of one uses up a part of the other's."""

    def operations(tensor: Tensor) -> set:
        seen, ahead = set(), [tensor.grad_fn]
        while ahead:
            node = ahead.pop()
            if node is not None and node not in seen:
                seen.add(node)
                ahead += [before for before, _ in node.next_functions]
        # What ends at a weight may be gone through any number of times.
        return {node for node in seen if not hasattr(node, "variable")}

    return not operations(first).isdisjoint(operations(second))


@contextmanager
def chunked_text_tower(text_model: nn.Module, chunk: int) -> Iterator[None]:
    """While training, let a text tower read more than `chunk` prompts in chunks, computed again in the backward pass.

    The memory of a step is then that of one chunk, however many classes there are; the gradients stay the same. Prompts
    come without a mask, as [`tokenize_prompts`] makes them.
    """
    forward = text_model.forward

    def in_chunks(input_ids: Tensor, **kwargs) -> BaseModelOutputWithPooling:
        if len(input_ids) <= chunk or not torch.is_grad_enabled():
            return forward(input_ids=input_ids, **kwargs)

        def pooled(ids: Tensor) -> Tensor:
            return forward(input_ids=ids, **kwargs).pooler_output

        parts = [checkpoint(pooled, ids, use_reentrant=False) for ids in input_ids.split(chunk)]
        return BaseModelOutputWithPooling(pooler_output=torch.cat(parts))

    # An instance may have a forward of its own already.
    own = vars(text_model).get("forward")
    text_model.forward = in_chunks
    try:
        yield
    finally:
        del text_model.forward
        if own is not None:
            text_model.forward = own
