"""`StreamConfig`: the model to start from, the tasks, the evaluation and the output folder's fate."""

from dataclasses import dataclass, field

from ..data.config import DataArguments
from ..errors import ConfigurationError
from ..evaluation.protocols import EvaluationArguments
from ..models.loading import ModelArguments


@dataclass
class RunArguments:
    """How one run goes; none of it changes what the stream is.

    Raises:
        ConfigurationError: two fields contradict each other.
    """

    resume: bool = field(
        default=False, metadata={"help": "Go on in output_dir at the first unfinished task, at its last checkpoint."}
    )
    resume_from_hub: str | None = field(
        default=None,
        metadata={
            "help": "Go on after a task's checkpoint on the Hub (`org/mulki-task3`, or `org/mulki-task3@REVISION`), in "
            "an output_dir without a run. Without --config the recipe comes from there too."
        },
    )
    overwrite: bool = field(
        default=False, metadata={"help": "Delete the results and checkpoints of an earlier run in output_dir."}
    )

    def __post_init__(self):
        if self.resume and self.overwrite:
            raise ConfigurationError("resume and overwrite exclude each other, got both")


@dataclass
class StreamConfig(RunArguments, EvaluationArguments, DataArguments, ModelArguments):
    """What is learned: the model to start from, the tasks in order, the evaluation and the output folder's fate.

    Raises:
        ConfigurationError: a field is missing, out of range or contradicts another.
    """

    _argument_group_name = "Stream"

    def __post_init__(self):
        for arguments in (ModelArguments, DataArguments, EvaluationArguments, RunArguments):
            arguments.__post_init__(self)
