"""LoRA through PEFT: what stage 4 does to weights it does here to the weight change `B A`.

Never to `A` and `B` apart: the mean of two products is not the product of two means. That the adapter ends in the plain
model's weights is what every tuner has in common: see `adapters.py`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers import CLIPModel

from ..errors import ConfigurationError
from ..markdown import code
from ..objectives import Objective
from ..records import ArtefactRecord
from .adapters import FOLDER, PREVIOUS, STUDENT, Adapters, add_adapter, check_unadapted, import_peft, is_peft_model
from .base import Load
from .towers import TOWER_WORDS, TOWERS


TARGETS = {
    "attention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "mlp": ("fc1", "fc2"),
    # SigLIP's projection of texts is the text tower's head.
    "all": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "visual_projection", "text_projection", "head"),
}
BIBTEX = """@inproceedings{hu2022lora,
  title = {{LoRA}: Low-Rank Adaptation of Large Language Models},
  author = {Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and Li, Yuanzhi and Wang, Shean and
            Wang, Lu and Chen, Weizhu},
  booktitle = {International Conference on Learning Representations},
  year = {2022}
}"""


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
        if self.lora_towers not in (None, *TOWERS):
            raise ValueError(f"lora_towers must be one of {', '.join(TOWERS)}, got {self.lora_towers!r}")


class Lora(Adapters):
    """Adapters `B A` on linear layers, which can be averaged, merged and anchored by the weight change that they make.

    The mean of products of rank r has a higher rank. As full matrices it is exact; only the result is cut, once, by
    [`connect_adapters`].
    """

    name = "LoRA"
    switch = "lora_r"
    arguments = LoraArguments

    def __init__(self, model: Any, args: Any, original: Any = None, previous: Any = None):
        super().__init__(model, args, original, previous)
        self.error: float | None = None

    @classmethod
    def settle(cls, args: Any) -> None:
        if cls.asked_for(args):
            # One field says which towers are trained, with adapters or without.
            args.train_towers = args.lora_towers = args.lora_towers or args.train_towers
            args.lora_alpha = args.lora_alpha or 2.0 * args.lora_r

    @classmethod
    def takes(cls, model: Any) -> bool:
        if not is_peft_model(model) or STUDENT not in model.peft_config:
            return False
        kind = model.peft_config[STUDENT].peft_type
        return str(getattr(kind, "value", kind)) == "LORA"

    @classmethod
    def start(cls, load: Load, args: Any, before: Path | None) -> "Lora":
        return cls(add_lora(load(), args, before and before / FOLDER), args)

    @classmethod
    def check(cls, model: CLIPModel, args: Any, objective: Objective) -> None:
        check_lora(model, args)

    @classmethod
    def artefact(cls, args: Any) -> ArtefactRecord:
        return ArtefactRecord(
            folder=FOLDER,
            suffix="lora",
            kind="A LoRA adapter",
            trained=f"LoRA adapters of rank {args.lora_r}",
            details=f"Rank {args.lora_r}, alpha {args.lora_alpha:g}, on {TOWER_WORDS[args.train_towers]} "
            f"(`lora_targets`: {code(args.lora_targets)}).",
            tag="lora",
            bibtex=BIBTEX,
        )

    @classmethod
    def check_config(cls, config: Any) -> None:
        super().check_config(config)
        # With adapters off the model has to be teacher O.
        inits = (True, False, "gaussian", "orthogonal", "eva")
        if config.init_lora_weights not in inits:
            raise ConfigurationError(
                f"the adapter's init_lora_weights must be {' or '.join(map(repr, inits))}, got "
                f"{config.init_lora_weights!r}: the model itself has to stay the original teacher"
            )

    def facts(self) -> dict[str, Any]:
        rank = self.student.peft_config[STUDENT].r
        return {} if self.error is None else {"lora_error": self.error, "lora_rank": rank}

    @classmethod
    def note(cls, args: Any, facts: dict[str, Any]) -> str:
        if "lora_error" not in facts:
            return ""
        # Older files know the rank from the arguments alone.
        return (
            "Averaging and merging (stage 4) act on the weight change `B A`; the result was cut back to rank "
            f"{facts.get('lora_rank', args.lora_r)} by SVD, with a\nrelative error of "
            f"{100 * facts['lora_error']:.1f} % in the layer where it is largest."
        )

    def can_connect(self, objective: Objective) -> None:
        if not (objective.average_every or objective.merge or objective.anchor):
            return
        # What stage 4 would leave out.
        config = self.student.peft_config[STUDENT]
        for name in ("lora_bias", "trainable_token_indices", "target_parameters"):
            if getattr(config, name, None):
                raise ConfigurationError(
                    f"stage 4 averages and merges weight changes `B A` alone: {name} must be off, got "
                    f"{getattr(config, name)!r}; or {objective.disconnected_by}"
                )
        layers = adapter_layers(self.student)
        odd = [name for name, layer in layers.items() if not isinstance(layer.get_base_layer(), nn.Linear)]
        odd += [name for name, layer in layers.items() if layer.use_dora[STUDENT]]
        modules = self.student.named_modules()
        odd += [name for name, module in modules if STUDENT in getattr(module, "lora_embedding_A", {})]
        if odd or not layers:
            raise ConfigurationError(
                f"stage 4 averages and merges LoRA of linear layers, without DoRA; {odd[0] if odd else 'there is none'}"
                f": choose other target_modules, or {objective.disconnected_by}"
            )
        if not self.first and set(adapter_layers(self.student, PREVIOUS)) != set(layers):
            raise ConfigurationError(f"the adapters {STUDENT!r} and {PREVIOUS!r} must be on the same layers")

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        return weight_changes(self.student)

    def connect(self, average: Mapping[str, Tensor] | None, teacher: str | None, alpha: float) -> None:
        if teacher == "previous" and self.first:
            alpha = 0.0
        if average is not None or alpha > 0:
            self.error = connect_adapters(self.student, average or {}, alpha, teacher or "original")


def add_lora(model: CLIPModel, args: Any, previous: Path | None = None) -> Any:
    """`model` as a `PeftModel` whose adapter is the student; in place, without a copy of the weights.

    Args:
        model ([`CLIPModel`]): the original model.
        args ([`MulKIConfig`]): the `lora_*` fields.
        previous (*optional*): folder of the previous task's adapter: where the student starts, and teacher P.

    Raises:
        ConfigurationError: peft is missing, the targets match nothing, or the model has adapters already.
    """
    targets = check_lora(model, args)
    config = import_peft("lora_r").LoraConfig(
        r=args.lora_r, lora_alpha=args.lora_alpha, lora_dropout=args.lora_dropout, target_modules=targets
    )
    return add_adapter(model, config, args.seed, previous)


def check_lora(model: nn.Module, args: Any) -> list[str]:
    """The layers that [`add_lora`] would give an adapter; raises what it would raise."""
    import_peft("lora_r")
    check_unadapted(model, "lora_r")
    return target_layers(model, args.lora_targets, args.train_towers)


def target_layers(model: CLIPModel, targets: str, towers: str) -> list[str]:
    """Names of the linear layers that get an adapter.

    Raises:
        ConfigurationError: there is none; the message lists what could match.
    """
    layers = [
        name
        for name, module in model.named_modules()
        # Of a layer inside of nn.MultiheadAttention, as SigLIP's pooling of images has one, only the weights are read.
        if isinstance(module, nn.Linear)
        and not isinstance(module, NonDynamicallyQuantizableLinear)
        and name.startswith(TOWERS[towers])
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


# Stage 4 on the weight change


def weight_changes(model: nn.Module, adapter: str = STUDENT) -> Iterator[tuple[str, Tensor]]:
    """The adapter's weight change, layer by layer, as the full matrix."""
    return ((name, layer.get_delta_weight(adapter)) for name, layer in adapter_layers(model, adapter).items())


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
