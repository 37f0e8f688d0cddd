"""The stream's metrics as an `evaluate.Metric`.

`evaluate.load` takes this file's path and needs no network:

    import evaluate
    from mulki_hf import continual_metric

    metric = evaluate.load(continual_metric.__file__, keep_in_memory=True)
    metric.compute(accuracy=[[80.0, 30.0], [70.0, 90.0]], zero_shot=[50.0, 40.0])
"""

import datasets
import evaluate

from mulki_hf.metrics import continual_metrics


_CITATION = """\
@article{zheng2023zscl,
  title = {Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language Models},
  author = {Zheng, Zangwei and Ma, Mingyuan and Wang, Kai and Qin, Ziheng and Yue, Xiangyu and You, Yang},
  journal = {arXiv preprint arXiv:2303.06628},
  year = {2023}
}
@inproceedings{yu2024select,
  title = {Select and Distill: Selective Dual-Teacher Knowledge Transfer for Continual Learning on Vision-Language
           Models},
  author = {Yu, Yu-Chu and Huang, Chi-Pin and Chen, Jr-Jen and Chang, Kai-Po and Lai, Yung-Hsuan and Yang, Fu-En and
            Wang, Yu-Chiang Frank},
  booktitle = {European Conference on Computer Vision},
  year = {2024}
}
"""


class ContinualLearning(evaluate.Metric):
    """`mulki_hf.metrics.continual_metrics` behind `compute(accuracy=..., zero_shot=None)`; see there for the keys."""

    def _info(self):
        return evaluate.MetricInfo(
            description=(
                "Transfer, Avg, Last, BWT, Forgetting and Degradation of a stream of tasks, in percent, and the "
                "forgetting and degradation of Select-and-Distill, under names of their own."
            ),
            citation=_CITATION,
            inputs_description=(
                "accuracy: T rows of T percentages (row: after task i, column: on task j), or one row if all tasks "
                "were learned at once; "
                "zero_shot: T percentages measured before training, optional."
            ),
            features=datasets.Features({"accuracy": datasets.Sequence(datasets.Value("float64"))}),
        )

    def _compute(self, accuracy, zero_shot=None):
        return continual_metrics(accuracy, zero_shot)
