"""LoRA through PEFT: the student is an adapter on the original model, and so is the previous teacher.

One backbone serves all three: with adapters off it is the original teacher, with the previous task's adapter the
previous one. What stage 4 does to weights it does here to the weight change `B A`, never to `A` and `B` apart: the mean
of two products is not the product of two means.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import CLIPModel

from .averaging import WeightAverage
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
        if self.lora_r is None:
            for own in fields(LoraArguments):
                if getattr(self, own.name) != own.default:
                    raise ValueError(f"{own.name} needs lora_r, got {getattr(self, own.name)!r} without it")
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


def add_lora(model: CLIPModel, args, previous: Path | None = None) -> nn.Module:
    """`model` as a `PeftModel` whose adapter is the student; in place, without a copy of the weights.

    Args:
        model ([`CLIPModel`]): the original model.
        args ([`MulKIConfig`]): the `lora_*` fields.
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
    for config in adapted.peft_config.values():
        # Where the model was loaded from. By the name in a task's adapter peft would look for it on the Hub whenever
        # Trainer saves a checkpoint.
        config.base_model_name_or_path, config.revision = model.name_or_path, None
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


def save_adapter(model: nn.Module, folder: Path, base_name: str, base_revision: str | None = None) -> None:
    """Write the student's adapter alone, as `PeftModel.from_pretrained` reads it.

    Args:
        model ([`peft.PeftModel`]): from now on it says, too, that it belongs to `base_name`.
        folder: where to.
        base_name, base_revision: the model that the adapter belongs to.
    """
    model.peft_config[STUDENT].base_model_name_or_path = base_name
    model.peft_config[STUDENT].revision = base_revision
    # No layer of it is an embedding; to find that out, peft would look for the base model's configuration on the Hub.
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
        scaling = [layer.scaling[PREVIOUS] for layer in adapter_layers(self.student, PREVIOUS).values()] if own else []
        return f"{weights_fingerprint(self._source, state)} {scaling}"

    def release(self) -> None:
        """Nothing to do: it takes no memory of its own."""


# Stage 4 on the weight change


class AdapterAverage(WeightAverage):
    """Uniform running average of the student's weight change, layer by layer as the full matrix `B A`.

    The mean of products of rank r has a higher rank. As a full matrix it is exact; only the result is cut, once, by
    [`connect_adapters`].

    Args:
        model ([`peft.PeftModel`]): the student.
        every, folder: see [`WeightAverage`].
    """

    def values(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, layer.get_delta_weight(STUDENT)) for name, layer in adapter_layers(self.model).items())

    def apply(self) -> None:
        """Make the average, cut to the adapter's rank, the student's weight change."""
        connect_adapters(self.model, self.average, 0.0, "original")


@torch.no_grad()
def connect_adapters(model: nn.Module, average: Mapping[str, Tensor], alpha: float, teacher: str) -> float:
    """In place: the student's weight change becomes `(1 - alpha) * average + alpha * teacher's`, cut to its rank.

    Args:
        model ([`peft.PeftModel`]): the student.
        average: weight changes by layer; of a layer that is not in it, the student's own.
        alpha (`float`): share of the teacher.
        teacher: `previous`, or `original`, whose weight change is zero.

    Returns:
        The largest relative error, in the Frobenius norm, of a layer's cut.
    """
    errors = []
    for name, layer in adapter_layers(model).items():
        a, b = layer.lora_A[STUDENT].weight, layer.lora_B[STUDENT].weight
        change = average[name].to(b.device) if name in average else layer.get_delta_weight(STUDENT)
        change = (1 - alpha) * change
        if teacher == "previous" and alpha > 0:
            change += alpha * layer.get_delta_weight(PREVIOUS)
        left, right, error = low_rank(change / layer.scaling[STUDENT], len(a))
        a.copy_(right)
        b.copy_(left)
        errors.append(error)
    return max(errors)


def low_rank(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best approximation of a matrix `(n, m)` of that rank, by SVD.

    Returns:
        Factors `(n, rank)` and `(rank, m)`, with the singular values shared between them, and the relative error in the
        Frobenius norm.
    """
    u, sigma, v = torch.linalg.svd(matrix.float(), full_matrices=False)
    kept = min(rank, len(sigma))
    root = sigma[:kept].sqrt()
    left, right = u.new_zeros(len(matrix), rank), v.new_zeros(rank, matrix.shape[1])
    left[:, :kept], right[:kept] = u[:, :kept] * root, root[:, None] * v[:kept]
    total = float(sigma.norm())
    return left, right, float(sigma[kept:].norm()) / total if total > 0 else 0.0


def adapter_layers(model: nn.Module, adapter: str = STUDENT) -> dict[str, nn.Module]:
    """The layers that carry an adapter, by name."""
    return {name: module for name, module in model.named_modules() if adapter in getattr(module, "lora_A", {})}


def check_adapted(model: nn.Module, connects: bool) -> None:
    """Refuse a `PeftModel` that can't be student and teachers at once, or be averaged and merged.

    Args:
        model ([`peft.PeftModel`]): with the adapter to train.
        connects (`bool`): whether stage 4 is on.

    Raises:
        ConfigurationError: what stands in the way, and what to do.
    """
    if STUDENT not in model.peft_config:
        raise ConfigurationError(f"the adapter to train must be called {STUDENT!r}, got {', '.join(model.peft_config)}")
    config = model.peft_config[STUDENT]
    if str(getattr(config.peft_type, "value", config.peft_type)) != "LORA":
        raise ConfigurationError(f"the adapter must be LoRA, got {config.peft_type}")
    # With adapters off the model has to be teacher O.
    inits = (True, False, "gaussian", "orthogonal", "eva")
    wanted = {"bias": ("none",), "modules_to_save": (None, []), "init_lora_weights": inits}
    for name, allowed in wanted.items():
        if getattr(config, name) not in allowed:
            raise ConfigurationError(
                f"the adapter's {name} must be {' or '.join(map(repr, allowed))}, got {getattr(config, name)!r}: the "
                "model itself has to stay the original teacher"
            )
    if connects:
        # What stage 4 would leave out.
        for name in ("lora_bias", "trainable_token_indices", "target_parameters"):
            if getattr(config, name, None):
                raise ConfigurationError(
                    f"stage 4 averages and merges weight changes `B A` alone: {name} must be off, got "
                    f"{getattr(config, name)!r}, or stage 4 (--no_connecting)"
                )
        layers = adapter_layers(model)
        odd = [name for name, layer in layers.items() if not isinstance(layer.get_base_layer(), nn.Linear)]
        odd += [name for name, layer in layers.items() if layer.use_dora[STUDENT]]
        odd += [name for name, module in model.named_modules() if STUDENT in getattr(module, "lora_embedding_A", {})]
        if odd or not layers:
            raise ConfigurationError(
                f"stage 4 averages and merges LoRA of linear layers, without DoRA; {odd[0] if odd else 'there is none'}"
                ": choose other target_modules or switch it off (--no_connecting)"
            )
        if PREVIOUS in model.peft_config and set(adapter_layers(model, PREVIOUS)) != set(layers):
            raise ConfigurationError(f"the adapters {STUDENT!r} and {PREVIOUS!r} must be on the same layers")
