"""`StreamConfig`: the model to start from, the tasks, the evaluation and the output folder's fate."""

import os
import signal
from dataclasses import dataclass, field
from typing import Annotated, Literal

from ..data.config import DataArguments
from ..errors import ConfigurationError
from ..evaluation.protocols import EvaluationArguments
from ..hub.shareable import PATH
from ..models.loading import ModelArguments


@dataclass
class RunArguments:
    """How one run goes; none of it changes what the stream is.

    Raises:
        ConfigurationError: two fields contradict each other.
    """

    resume: bool = field(
        default=False,
        metadata={
            "help": "Go on in output_dir at the first unfinished task, at its last checkpoint; also with tasks that "
            "were appended to those that the run began with."
        },
    )
    resume_from_hub: str | None = field(
        default=None,
        metadata={
            "help": "Go on after a task's checkpoint on the Hub (`org/mulki-task3`, or `org/mulki-task3@REVISION`), in "
            "an output_dir without a run. Without --config the recipe comes from there too."
        },
    )
    data_root: Annotated[str, PATH] | None = field(
        default=None,
        metadata={
            "help": "The folder in which lies what a recipe from the Hub (--resume_from_hub without --config) names by "
            "relative paths: data, lists of class names, a model. Default: it may name none."
        },
    )
    overwrite: bool = field(
        default=False, metadata={"help": "Delete the results and checkpoints of an earlier run in output_dir."}
    )
    fill_rows: bool = field(
        default=True,
        metadata={
            "help": "When tasks are appended to a stream (more tasks in the YAML, with --resume or --resume_from_hub), "
            "measure the accuracy on them after each earlier task, on the checkpoints; false leaves those cells empty."
        },
    )
    check_space: bool = field(
        default=True,
        metadata={
            "help": "Refuse to begin, or to go on, where what the run is still to write won't fit on the disk of "
            "output_dir, as far as that can be told; false says so and begins."
        },
    )
    keep_checkpoints: Literal["all", "last", "none"] = field(
        default="all",
        metadata={
            "help": "Which finished tasks' folders stay: all; the last, from which the stream can go on; or, once it "
            "is finished, none. One that is still to be pushed stays until it was."
        },
    )

    stop_on_usr1: bool = field(
        default=False,
        metadata={
            "help": "Stop on SIGUSR1 as on SIGTERM, with a checkpoint and status 138: what Slurm sends before the time "
            "is up (--signal=USR1@300)."
        },
    )

    def __post_init__(self):
        if self.stop_on_usr1 and not hasattr(signal, "SIGUSR1"):
            raise ConfigurationError("stop_on_usr1 must be False on this system, which has no such signal, got True")
        if self.resume and self.overwrite:
            raise ConfigurationError("resume and overwrite exclude each other, got both")
        if self.keep_checkpoints not in ("all", "last", "none"):
            raise ConfigurationError(f"keep_checkpoints must be one of all, last, none, got {self.keep_checkpoints!r}")
        if self.data_root is not None:
            if self.resume_from_hub is None:
                raise ConfigurationError("data_root is for a recipe from the Hub: give resume_from_hub too")
            self.data_root = os.path.abspath(os.path.expanduser(self.data_root))


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
