"""WiSE-FT (arXiv 2109.01903): plain fine-tuning, then an interpolation of weights after every task."""

from dataclasses import dataclass, field
from typing import Literal

from .finetune import Finetune


WISE_FT_ANCHORS = ("start", "original")


@dataclass
class WiSEFTArguments:
    """WiSE-FT's share and anchor."""

    _argument_group_name = "WiSE-FT"

    wise_ft_alpha: float = field(
        default=0.8, metadata={"help": "Share of the fine-tuned weights in what a task leaves, in [0, 1]."}
    )
    wise_ft_anchor: Literal["start", "original"] = field(
        default="start",
        metadata={
            "help": "The other weights: those at the task's start (as the published row) or the original model's (the "
            "paper's own use)."
        },
    )

    def __post_init__(self):
        if not 0 <= self.wise_ft_alpha <= 1:
            raise ValueError(f"wise_ft_alpha must be in [0, 1], got {self.wise_ft_alpha}")
        if self.wise_ft_anchor not in WISE_FT_ANCHORS:
            raise ValueError(f"wise_ft_anchor must be one of {', '.join(WISE_FT_ANCHORS)}, got {self.wise_ft_anchor!r}")


class WiSEFT(Finetune):
    """`L = CE_ls`; after every task `theta = alpha * fine-tuned + (1 - alpha) * anchor`.

    Label smoothing is 0.2 unless given.
    """

    arguments = WiSEFTArguments
    label_smoothing = 0.2
    summary = (
        "WiSE-FT ([arXiv 2109.01903](https://arxiv.org/abs/2109.01903)), task after task: plain fine-tuning, then the "
        "weights become `α θ + (1 − α) θ_anchor`, of the weights at the task's start (`wise_ft_anchor: start`, as the "
        "code base of ZSCL runs it) or of the original CLIP (`original`)."
    )
    bibtex = """@inproceedings{wortsman2022robust,
  title = {Robust Fine-Tuning of Zero-Shot Models},
  author = {Wortsman, Mitchell and Ilharco, Gabriel and Kim, Jong Wook and Li, Mike and Kornblith, Simon and
            Roelofs, Rebecca and Lopes, Raphael Gontijo and Hajishirzi, Hannaneh and Farhadi, Ali and
            Namkoong, Hongseok and Schmidt, Ludwig},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2022}
}"""

    @property
    def merge(self) -> tuple[str, float] | None:
        share = 1 - self.args.wise_ft_alpha
        return (self.args.wise_ft_anchor, share) if share > 0 else None
