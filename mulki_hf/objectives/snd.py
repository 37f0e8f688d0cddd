"""Select-and-Distill (arXiv 2403.09296): two teachers, chosen per reference image by how far they disagree."""

import math
from dataclasses import dataclass, field

from torch import Tensor

from .base import FeatureBatch, Objective, TeacherFeatures, discrepancy_gate


@dataclass
class SnDArguments:
    """Select-and-Distill's strengths; defaults as in the official code."""

    _argument_group_name = "Select-and-Distill"

    snd_previous_weight: float = field(
        default=9.0, metadata={"help": "Strength of the distillation from the previous teacher."}
    )
    snd_original_weight: float = field(
        default=0.5, metadata={"help": "Strength of the distillation from the original teacher."}
    )
    reference_per_sample: int = field(
        default=2,
        metadata={"help": "Reference images trained on beside each task image (paper: batches of 64 to 32)."},
    )

    def __post_init__(self):
        for name in ("snd_previous_weight", "snd_original_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be >= 0 and finite, got {getattr(self, name)}")
        if self.reference_per_sample < 1:
            raise ValueError(f"reference_per_sample must be >= 1, got {self.reference_per_sample}")


class SelectAndDistill(Objective):
    """`L = L_task + 9 * mean(g * ||v_S - v_P||^2) + 0.5 * mean((1 - g) * ||v_S - v_O||^2)` on reference images.

    `g` is [`discrepancy_gate`]. Trains the vision tower; needs an unlabelled reference set.
    """

    teachers = frozenset({"original", "previous"})
    teacher_inputs = frozenset({"reference"})
    towers = "vision"
    arguments = SnDArguments
    summary = (
        "Select-and-Distill ([arXiv 2403.09296](https://arxiv.org/abs/2403.09296)), with the equations of its official "
        "code: two frozen teachers, the original CLIP and the student after the previous task, chosen for each "
        "unlabelled reference image by how far their features disagree.\n\n"
        "`L = L_task + 9 mean(g ‖v_S − v_P‖²) + 0.5 mean((1 − g) ‖v_S − v_O‖²)`, `g = sigmoid(6 (‖v_O − v_P‖ − 0.2))` "
        "with the default strengths 9 and 0.5."
    )
    bibtex = """@inproceedings{yu2024select,
  title = {Select and Distill: Selective Dual-Teacher Knowledge Transfer for Continual Learning on Vision-Language
           Models},
  author = {Yu, Yu-Chu and Huang, Chi-Pin and Chen, Jr-Jen and Chang, Kai-Po and Lai, Yung-Hsuan and Yang, Fu-En and
            Wang, Yu-Chiang Frank},
  booktitle = {European Conference on Computer Vision},
  year = {2024}
}"""

    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        previous, original = select_and_distill(batch.reference, batch.original, batch.previous)
        return {
            "previous": self.args.snd_previous_weight * previous,
            "original": self.args.snd_original_weight * original,
        }


def select_and_distill(student: Tensor, original: TeacherFeatures, previous: TeacherFeatures) -> tuple[Tensor, Tensor]:
    """Gated squared feature distances to the previous and to the original teacher, each a mean over `(R, d)`."""
    gate = discrepancy_gate(original.reference, previous.reference)
    to_previous = (student - previous.reference).square().sum(dim=-1)
    to_original = (student - original.reference).square().sum(dim=-1)
    return (gate * to_previous).mean(), ((1 - gate) * to_original).mean()
