"""ZSCL (arXiv 2303.06628): the original CLIP teaches on reference images and texts, and holds the weights."""

from dataclasses import dataclass, field

from torch import Tensor

from .base import Objective
from .batch import FeatureBatch
from .losses import mutual_distillation
from .ranges import check_strengths, check_temperature


@dataclass
class ZSCLArguments:
    """ZSCL's strengths, with the official script's defaults."""

    _argument_group_name = "ZSCL"

    zscl_weight: float = field(
        default=1.0, metadata={"help": "Strength of the distillation on reference images and texts, both directions."}
    )
    zscl_temperature: float = field(default=2.0, metadata={"help": "Temperature T of that distillation."})
    zscl_anchor: float = field(
        default=1.0, metadata={"help": "Strength of the squared distance to the weights at the task's start; 0: none."}
    )
    zscl_average_every: int = field(
        default=100, metadata={"help": "Optimizer steps between two samples of the weight average; 0: no average."}
    )
    zscl_texts: int = field(
        default=0, metadata={"help": "Reference texts that a step draws; 0: all of them, as in the official code."}
    )

    def __post_init__(self):
        check_strengths(self, "zscl_weight", "zscl_anchor")
        check_temperature(self, "zscl_temperature")
        for name in ("zscl_average_every", "zscl_texts"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")


class ZSCL(Objective):
    """`L = CE_ls + KD_T(a, b) + KD_T(a^T, b^T) + ||theta - theta_start||^2`, and a running average of the weights.

    `a = s v_O(r) U_O(Q)^T`, `b = s v_S(r) U_O(Q)^T` on reference images r and texts Q, which the original teacher reads
    once. Both towers are trained; label smoothing is 0.2 unless given.
    """

    needs = frozenset({"reference", "original.reference", "original.texts"})
    arguments = ZSCLArguments
    label_smoothing = 0.2
    relates_images = True
    reference_per_sample = 1
    disconnected_by = "switch it off (--zscl_average_every 0 --zscl_anchor 0)"
    summary = (
        "ZSCL ([arXiv 2303.06628](https://arxiv.org/abs/2303.06628)): the original CLIP teaches how unlabelled "
        "reference images relate to reference texts, the weights are held where the task began, and averaged over the "
        "task.\n\n"
        "`L = CE + KD_T(a, b) + KD_T(aᵀ, bᵀ) + ‖θ − θ_start‖²`, `a = s v_O U_Oᵀ`, `b = s v_S U_Oᵀ`, T = 2, with the "
        "default strengths of one, as the official code computes it."
    )
    bibtex = """@inproceedings{zheng2023preventing,
  title = {Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language Models},
  author = {Zheng, Zangwei and Ma, Mingyuan and Wang, Kai and Qin, Ziheng and Yue, Xiangyu and You, Yang},
  booktitle = {International Conference on Computer Vision},
  year = {2023}
}"""

    @property
    def per_step(self) -> dict[str, int]:
        return {"texts": self.args.zscl_texts}

    @property
    def average_every(self) -> int:
        return self.args.zscl_average_every

    @property
    def anchor(self) -> float:
        return self.args.zscl_anchor

    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        loss = mutual_distillation(
            batch.original.reference,
            batch.original.texts,
            batch.reference,
            batch.logit_scale,
            self.args.zscl_temperature,
        )
        return {"distillation": self.args.zscl_weight * loss}
