"""LwF (arXiv 1606.09282), as the ZSCL code base runs it: the previous model teaches on the task's own images."""

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from .base import Objective
from .batch import FeatureBatch
from .losses import mutual_distillation
from .ranges import check_strengths, check_temperature


LWF_TEXTS = {"current": "previous.text", "earlier": "previous.earlier"}
"""Which class names the images relate to, and where the previous teacher's features of them stand."""


@dataclass
class LwFArguments:
    """LwF's strength and texts."""

    _argument_group_name = "LwF"

    lwf_weight: float = field(
        default=1.0, metadata={"help": "Strength of the distillation from the previous teacher, both directions."}
    )
    lwf_temperature: float = field(default=2.0, metadata={"help": "Temperature T of that distillation."})
    lwf_texts: Literal["current", "earlier"] = field(
        default="current",
        metadata={
            "help": "Class names that the task's images relate to: the task's own (`current`, as the published row) or "
            "those of all earlier tasks (`earlier`, LwF's idea; then the first task is plain fine-tuning)."
        },
    )

    def __post_init__(self):
        check_strengths(self, "lwf_weight")
        check_temperature(self, "lwf_temperature")
        if self.lwf_texts not in LWF_TEXTS:
            raise ValueError(f"lwf_texts must be one of {', '.join(LWF_TEXTS)}, got {self.lwf_texts!r}")


class LwF(Objective):
    """`L = CE_ls + KD_T(a, b) + KD_T(a^T, b^T)`, `a = s v_P(x) U_P^T`, `b = s v_S(x) U_P^T`, on the task's images x.

    Label smoothing is 0.2 unless given.
    """

    arguments = LwFArguments
    label_smoothing = 0.2
    relates_images = True
    summary = (
        "Learning without Forgetting ([arXiv 1606.09282](https://arxiv.org/abs/1606.09282)) for CLIP, as the code base "
        "of ZSCL runs it: the student after the previous task (in the first task the original CLIP) teaches how the "
        "task's own images relate to class names.\n\n"
        "`L = CE + KD_T(a, b) + KD_T(aᵀ, bᵀ)`, `a = s v_P U_Pᵀ`, `b = s v_S U_Pᵀ`, T = 2. U_P are the features of the "
        "current task's class names (`lwf_texts: current`) or of all earlier tasks' (`earlier`)."
    )
    bibtex = """@inproceedings{li2016learning,
  title = {Learning without Forgetting},
  author = {Li, Zhizhong and Hoiem, Derek},
  booktitle = {European Conference on Computer Vision},
  year = {2016}
}"""

    def __init__(self, args: Any):
        super().__init__(args)
        self.needs = frozenset({"previous.image", LWF_TEXTS[args.lwf_texts]})

    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        texts = batch.previous.text if self.args.lwf_texts == "current" else batch.previous.earlier
        if not len(texts):
            return {}
        loss = mutual_distillation(
            batch.previous.image, texts, batch.image, batch.logit_scale, self.args.lwf_temperature
        )
        return {"distillation": self.args.lwf_weight * loss}
