"""LoRA through PEFT: the student is an adapter on the original model, and so is the previous teacher.

One backbone serves all three: with adapters off it is the original teacher, with the previous task's adapter the
previous one. What stage 4 does to weights it does here to the weight change `B A`, never to `A` and `B` apart: the mean
of two products is not the product of two means.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPModel

from .cache import weights_fingerprint
from .errors import ConfigurationError
from .teachers import Teacher


TARGETS = {
    "attention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "mlp": ("fc1", "fc2"),
    "all": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "visual_projection", "text_projection"),
}
TOWER_PARTS = {"vision": ("vision_model", "visual_projection"), "text": ("text_model", "text_projection")}
TOWER_PARTS["both"] = TOWER_PARTS["vision"] + TOWER_PARTS["text"]
STUDENT, PREVIOUS = "default", "previous"


@dataclass
class LoraArguments:
    """Adapters instead of the whole model; off unless `lora_r` is given."""

    _argument_group_name = "LoRA (through PEFT; needs mulki-hf[lora])"

    lora_r: int | None = field(
        default=None, metadata={"help": "Rank of the adapters. Default: no adapters, the model itself is trained."}
    )
    lora_alpha: float | None = field(
        default=None, metadata={"help": "The weight change is lora_alpha / lora_r times B A. Default: 2 * lora_r."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters, in [0, 1)."})
    lora_targets: str = field(
        default="all",
        metadata={
            "help": "Linear layers that get an adapter: attention, mlp, all (with the projections), or a regular "
            "expression that the whole name of a layer matches."
        },
    )
    lora_towers: Literal["both", "vision", "text"] | None = field(
        default=None, metadata={"help": "Towers that get adapters. Default: those that train_towers says."}
    )

    def __post_init__(self):
        if self.lora_r is not None and self.lora_r <= 0:
            raise ValueError(f"lora_r must be > 0, got {self.lora_r}")
        if self.lora_alpha is not None and not 0 < self.lora_alpha < math.inf:
            raise ValueError(f"lora_alpha must be > 0 and finite, got {self.lora_alpha}")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout must be in [0, 1), got {self.lora_dropout}")
        if self.lora_towers not in (None, *TOWER_PARTS):
            raise ValueError(f"lora_towers must be one of {', '.join(TOWER_PARTS)}, got {self.lora_towers!r}")
        if self.lora_r is not None and self.lora_alpha is None:
            self.lora_alpha = 2.0 * self.lora_r


def import_peft():
    """The package, or an error that says how to get it."""
    try:
        import peft
    except ImportError as error:
        raise ConfigurationError('lora_r needs the package peft: run pip install "mulki-hf[lora]"') from error
    return peft


def is_adapted(model: nn.Module) -> bool:
    """Whether `model` is a `PeftModel`."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def target_layers(model: CLIPModel, targets: str, towers: str) -> list[str]:
    """Names of the linear layers that get an adapter.

    Raises:
        ConfigurationError: there is none; the message lists what could match.
    """
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(TOWER_PARTS[towers])
    ]
    if targets in TARGETS:
        chosen = [name for name in layers if name.rpartition(".")[2] in TARGETS[targets]]
    else:
        try:
            chosen = [name for name in layers if re.fullmatch(targets, name)]
        except re.error as error:
            raise ConfigurationError(f"lora_targets {targets!r} is no regular expression: {error}") from error
    if not chosen:
        kinds = sorted({re.sub(r"\.\d+\.", ".N.", name) for name in layers})
        raise ConfigurationError(
            f"lora_targets {targets!r} matches no layer of lora_towers {towers!r}; give {', '.join(TARGETS)} or a "
            f"regular expression for: {', '.join(kinds)}"
        )
    return chosen


def add_lora(model: CLIPModel, args, base_name: str, previous: Path | None = None) -> nn.Module:
    """`model` as a `PeftModel` whose adapter is the student; in place, without a copy of the weights.

    Args:
        model ([`CLIPModel`]): the original model.
        args ([`MulKIConfig`]): the `lora_*` fields.
        base_name: what the adapter's configuration says it belongs to.
        previous (*optional*): folder of the previous task's adapter: where the student starts, and teacher P.

    Raises:
        ConfigurationError: peft is missing, the targets match nothing, or the model has adapters already.
    """
    peft = import_peft()
    targets = check_lora(model, args)
    if previous is None:
        config = peft.LoraConfig(
            r=args.lora_r, lora_alpha=args.lora_alpha, lora_dropout=args.lora_dropout, target_modules=targets
        )
        # The random half of a new adapter depends on the seed alone, on every rank.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(args.seed)
            adapted = peft.get_peft_model(model, config, adapter_name=STUDENT)
    else:
        adapted = peft.PeftModel.from_pretrained(model, str(previous), adapter_name=STUDENT, is_trainable=True)
        adapted.load_adapter(str(previous), adapter_name=PREVIOUS, is_trainable=False)
        adapted.set_adapter(STUDENT)
    for name in adapted.peft_config:
        adapted.peft_config[name].base_model_name_or_path = base_name
    return adapted


def check_lora(model: nn.Module, args) -> list[str]:
    """The layers that [`add_lora`] would give an adapter; raises what it would raise."""
    import_peft()
    # Theirs and ours would be one on top of the other.
    if is_adapted(model) or any("lora_" in name for name, _ in model.named_parameters()):
        raise ConfigurationError(
            "lora_r: the model has adapters already; merge them first (merge_and_unload) or train without lora_r"
        )
    return target_layers(model, args.lora_targets, args.lora_towers)


def save_adapter(model: nn.Module, folder: Path) -> None:
    """Write the student's adapter alone, as `PeftModel.from_pretrained` reads it."""
    # Adapters of linear layers alone; to find that out, peft would look for the base model's configuration on the Hub.
    model.save_pretrained(str(folder), selected_adapters=[STUDENT], save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty form; the card comes from `model_card`


def merge(model: nn.Module) -> CLIPModel:
    """The plain CLIP with the student's adapter in its weights; in place, so `model` is used up."""
    return model.merge_and_unload(adapter_names=[STUDENT])


class AdapterTeacher(Teacher):
    """A teacher on the student's own backbone: adapters off, or the previous task's adapter."""

    def __init__(self, name: str, student: nn.Module):
        super().__init__(name, student.get_base_model())
        self.student = student

    @property
    def model(self) -> CLIPModel:
        return self._source

    @contextmanager
    def active(self, device: torch.device) -> Iterator[CLIPModel]:
        training = self.student.training
        self.student.eval()
        try:
            if self.name == "original":
                with self.student.disable_adapter():
                    yield self._source
            else:
                self.student.set_adapter(PREVIOUS, inference_mode=True)
                try:
                    yield self._source
                finally:
                    self.student.set_adapter(STUDENT)
        finally:
            self.student.train(training)

    def fingerprint(self) -> str:
        own = f".{PREVIOUS}." if self.name == "previous" else None
        state = {
            name: value
            for name, value in self._source.state_dict().items()
            if "lora_" not in name or (own and own in name)
        }
        scaling = ""
        if own:
            config = self.student.peft_config[PREVIOUS]
            scaling = f"r {config.r} alpha {config.lora_alpha}"
        return weights_fingerprint(self._source, state) + scaling

    def release(self) -> None:
        """Nothing to do: it takes no memory of its own."""


# Stage 4 on the weight change


def compress(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best approximation of rank `rank` to `left @ right`, without making the product.

    Args:
        left (`(n, k)`), right (`(k, m)`): factors.
        rank (`int`): of the result; exact where `k` is not larger.

    Returns:
        Factors `(n, rank)` and `(rank, m)`, with the singular values shared between them, and the relative error in the
        Frobenius norm.
    """
    q_left, r_left = torch.linalg.qr(left.double())
    q_right, r_right = torch.linalg.qr(right.double().T)
    u, sigma, v = torch.linalg.svd(r_left @ r_right.T)
    kept = sigma[:rank]
    root = kept.sqrt()
    new_left, new_right = q_left @ (u[:, :rank] * root), (root[:, None] * v[:rank]) @ q_right.T
    if len(kept) < rank:
        pad = rank - len(kept)
        new_left = torch.cat([new_left, new_left.new_zeros(len(left), pad)], dim=1)
        new_right = torch.cat([new_right, new_right.new_zeros(pad, right.shape[1])])
    total = sigma.square().sum().sqrt()
    error = float(sigma[rank:].square().sum().sqrt() / total) if total > 0 else 0.0
    return new_left.to(left), new_right.to(right), error


def combine(parts: list[tuple[float, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Factors of `sum weight * left @ right`, exact: they are put side by side."""
    return torch.cat([weight * left for weight, left, _ in parts], dim=1), torch.cat([right for *_, right in parts])


def adapter_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that carry the student's adapter, by name."""
    return {name: module for name, module in model.named_modules() if STUDENT in getattr(module, "lora_A", {})}


def weight_change(layer: nn.Module, adapter: str = STUDENT) -> tuple[Tensor, Tensor]:
    """Copies of the factors `(out, r)` and `(r, in)` of the weight change of one layer, its scaling in the first."""
    left = layer.scaling[adapter] * layer.lora_B[adapter].weight.detach()
    return left.float(), layer.lora_A[adapter].weight.detach().float().clone()


def set_weight_change(layer: nn.Module, left: Tensor, right: Tensor) -> float:
    """Make `left @ right`, cut to the adapter's rank, the student's weight change; returns the relative error."""
    a, b = layer.lora_A[STUDENT].weight, layer.lora_B[STUDENT].weight
    left, right, error = compress(left, right, a.shape[0])
    a.data.copy_(right)
    b.data.copy_(left / layer.scaling[STUDENT])
    return error


class AdapterAverage:
    """Uniform running average of the student's weight change; the counterpart of [`averaging.WeightAverage`].

    The average of products of rank r has a higher rank. It is kept in factors of at most `8 r`; beyond that, and at the
    end to r again, it is cut by SVD. `error` is the largest relative error of a single cut; the losses of several cuts
    add up.

    Args:
        model: a `PeftModel`.
        every (`int`): optimizer steps between two samples; at most the number of steps of the task.
    """

    FILE = "adapter_average.safetensors"

    def __init__(self, model: nn.Module, every: int):
        self.model = model
        self.every = every
        self.layers = adapter_layers(model)
        self.average = {name: weight_change(layer) for name, layer in self.layers.items()}
        self.error = 0.0

    @torch.no_grad()
    def step(self, global_step: int) -> None:
        """Take the weight change after optimizer step `global_step` (1-based) into the average if it is its turn."""
        if global_step % self.every:
            return
        share = 1 / (global_step // self.every + 1)
        for name, layer in self.layers.items():
            left, right = combine([(1 - share, *self.average[name]), (share, *weight_change(layer))])
            limit = 8 * layer.lora_A[STUDENT].weight.shape[0]
            if left.shape[1] > limit:
                left, right, error = compress(left, right, limit)
                self.error = max(self.error, error)
            self.average[name] = left, right

    @torch.no_grad()
    def apply(self) -> None:
        """Make the average, cut to the adapter's rank, the student's weight change."""
        for name, layer in self.layers.items():
            self.error = max(self.error, set_weight_change(layer, *self.average[name]))

    def save(self, folder: str | Path) -> None:
        """Write the average beside a Trainer checkpoint."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        sides = (
            (f"{name}.{side}", value)
            for name, pair in self.average.items()
            for side, value in zip("lr", pair, strict=True)
        )
        save_file({name: value.contiguous() for name, value in sides}, str(Path(folder) / self.FILE))

    def load(self, folder: str | Path) -> None:
        """Go on from the average in a Trainer checkpoint."""
        saved = load_file(str(Path(folder) / self.FILE))
        for name, pair in self.average.items():
            self.average[name] = tuple(saved[f"{name}.{side}"].to(pair[0]) for side in "lr")


@torch.no_grad()
def merge_adapters(model: nn.Module, alpha: float) -> float:
    """In place: the student's weight change becomes `(1 - alpha) * student + alpha * previous`, cut to its rank.

    Returns:
        The largest relative error of a layer.
    """
    errors = [
        set_weight_change(
            layer, *combine([(1 - alpha, *weight_change(layer)), (alpha, *weight_change(layer, PREVIOUS))])
        )
        for layer in adapter_layers(model).values()
    ]
    return max(errors)
