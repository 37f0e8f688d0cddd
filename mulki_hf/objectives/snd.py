"""Select-and-Distill (arXiv 2403.09296): two teachers, chosen per reference image by how far they disagree."""

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from .base import Objective
from .batch import FeatureBatch, TeacherFeatures
from .losses import discrepancy_gate
from .ranges import check_strengths


GATES = ("sample", "batch")


@dataclass
class SnDArguments:
    """Select-and-Distill's strengths, with the official code's defaults, and its gate, by default the paper's."""

    _argument_group_name = "Select-and-Distill"

    snd_previous_weight: float = field(
        default=9.0, metadata={"help": "Strength of the distillation from the previous teacher."}
    )
    snd_original_weight: float = field(
        default=0.5, metadata={"help": "Strength of the distillation from the original teacher."}
    )
    snd_gate: Literal["sample", "batch"] = field(
        default="sample",
        metadata={
            "help": "How the two teachers are chosen: for each reference image (`sample`, the paper), or in one "
            "mixture for the whole batch (`batch`, what the official code computes)."
        },
    )

    def __post_init__(self):
        check_strengths(self, "snd_previous_weight", "snd_original_weight")
        if self.snd_gate not in GATES:
            raise ValueError(f"snd_gate must be one of {', '.join(GATES)}, got {self.snd_gate!r}")


class SelectAndDistill(Objective):
    """`L = L_task + 9 * mean(g * ||v_S - v_P||^2) + 0.5 * mean((1 - g) * ||v_S - v_O||^2)` on reference images.

    `g` is [`discrepancy_gate`]. Trains the vision tower; needs an unlabelled reference set. This is the paper's rule, a
    teacher for each image; with `snd_gate: batch` it is [`select_and_distill`]'s other one, the official code's.
    """

    needs = frozenset({"reference", "original.reference", "previous.reference"})
    towers = "vision"
    arguments = SnDArguments
    summary = (
        "Select-and-Distill ([arXiv 2403.09296](https://arxiv.org/abs/2403.09296)): two frozen teachers, the original "
        "CLIP and the student after the previous task, chosen for each unlabelled reference image by how far their "
        "features disagree.\n\n"
        "`L = L_task + 9 mean(g ‖v_S − v_P‖²) + 0.5 mean((1 − g) ‖v_S − v_O‖²)`, `g = sigmoid(6 (‖v_O − v_P‖ − 0.2))` "
        "with the default strengths 9 and 0.5. That is the paper's rule (`snd_gate: sample`). The official code's "
        "product broadcasts over the batch, so that it computes `9 mean(g) mean(‖v_S − v_P‖²)` and "
        "`0.5 mean(1 − g) mean(‖v_S − v_O‖²)`, one mixture for all images: `snd_gate: batch`."
    )
    bibtex = """@inproceedings{yu2024select,
  title = {Select and Distill: Selective Dual-Teacher Knowledge Transfer for Continual Learning on Vision-Language
           Models},
  author = {Yu, Yu-Chu and Huang, Chi-Pin and Chen, Jr-Jen and Chang, Kai-Po and Lai, Yung-Hsuan and Yang, Fu-En and
            Wang, Yu-Chiang Frank},
  booktitle = {European Conference on Computer Vision},
  year = {2024}
}"""

    def __init__(self, args: Any):
        super().__init__(args)
        self.relates_images = args.snd_gate == "batch"

    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        previous, original = select_and_distill(batch.reference, batch.original, batch.previous, self.args.snd_gate)
        return {
            "previous": self.args.snd_previous_weight * previous,
            "original": self.args.snd_original_weight * original,
        }


def select_and_distill(
    student: Tensor, original: TeacherFeatures, previous: TeacherFeatures, gate: str = "sample"
) -> tuple[Tensor, Tensor]:
    """Gated squared feature distances to the previous and to the original teacher, two scalars.

    Args:
        student (`(R, d)`): the student's features of the reference images.
        original, previous: the teachers', `reference` of `(R, d)`.
        gate: `sample`, `mean(g * distance)`, chooses a teacher for each image, as the paper says. `batch`,
            `mean(g) * mean(distance)`, mixes them alike for the whole batch, as the official code computes it: there
            `g` of `(R, 1)` times distances of `(R,)` broadcasts to `(R, R)`.
    """
    share = discrepancy_gate(original.reference, previous.reference)
    if gate == "batch":
        share = share.mean()
    to_previous = (student - previous.reference).square().sum(dim=-1)
    to_original = (student - original.reference).square().sum(dim=-1)
    return (share * to_previous).mean(), ((1 - share) * to_original).mean()
