"""What a whole stream will take, reckoned from what was timed of it."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..data.task import Task
from ..errors import TrainingError
from ..hub.reach import caches_alone
from ..objectives import Objective
from ..runs.ranks import on_main_process
from ..runs.room import gigabytes, read_by_role, table_rows
from .looking import Look
from .problems import Problem
from .timing import Paces, Timed, Timing


@dataclass(frozen=True)
class Estimate:
    """Seconds of a whole stream.

    Attributes:
        steps: of training, all tasks.
        evaluations: of the accuracy matrix, zero-shot included.
        tables: of what teachers say of images before the steps of each task.
    """

    steps: float
    evaluations: float
    tables: float

    @property
    def seconds(self) -> float:
        return self.steps + self.evaluations + self.tables


def teachers_of(position: int, objective: Objective) -> int:
    """Models that teach in the stage at `position`: in the first one both roles are one teacher."""
    roles = sum(map(bool, read_by_role(objective)))
    return roles if position else min(roles, 1)


def prompts_of_step(stage: Task, earlier: Sequence[Task], objective: Objective) -> int:
    """Class prompts that the student reads in a step: the stage's, and those of earlier tasks for who wants them.

    A frozen text tower reads none.
    """
    if objective.args.train_towers == "vision":
        return 0
    own = sum(len(part.class_names) * len(part.templates) for part in stage.parts)
    if not any(path.rpartition(".")[2] == "earlier" for path in objective.needs):
        return own
    others = sum(len(task.class_names) * len(task.templates) for task in earlier)
    return own + min(others, objective.per_step.get("earlier", 0) or others)


def stages_to_time(stages: Sequence[Task], tasks: Sequence[Task], objective: Objective) -> list[Timed]:
    """Of the stages with as many teachers those whose steps read fewest and most prompts, between which others lie."""
    every = [
        Timed(stage, tasks[:number], prompts_of_step(stage, tasks[:number], objective), teachers_of(number, objective))
        for number, stage in enumerate(stages)
    ]
    chosen: dict[tuple[int, int], Timed] = {}
    for teachers in dict.fromkeys(one.teachers for one in every):
        alike = [one for one in every if one.teachers == teachers]
        for choose in (min, max):
            one = choose(alike, key=lambda one: one.prompts)
            # Where all are alike, once.
            chosen.setdefault((teachers, one.prompts), one)
    return [*chosen.values()]


def measured(look: Look) -> tuple[Paces, Estimate] | None:
    """Take some steps of a stream without problems, and evaluate; None where that fails, which is a problem more."""
    assert look.processor is not None
    made = on_main_process(look.accelerator, tempfile.mkdtemp, share=True)
    folder = Path(str(made))
    timing = Timing(look.stream, look.config, look.accelerator, look.processor, look.reference, folder)
    timed = stages_to_time(look.stages, look.tasks, look.objective)
    look.say("timing a few steps and an evaluation")
    try:
        with caches_alone(look.unreached is not None):
            paces = timing.paces(timed, look.tasks)
    except torch.OutOfMemoryError:
        _, total = torch.cuda.mem_get_info()
        where, what = f"{look.accelerator.device}, {gigabytes(total)}", "a step or a batch of evaluation takes more"
        advice = "lower per_device_train_batch_size and raise gradient_accumulation_steps; bf16 takes less, too"
        look.problems.add(Problem("memory", where, what, advice))
        return None
    except TrainingError as error:
        look.problems.add(
            Problem("training", "first steps", str(error), "look at the model, the images, and bf16 or fp16")
        )
        return None
    finally:
        look.accelerator.wait_for_everyone()
        shutil.rmtree(folder, ignore_errors=True)
    return paces, estimated(look, paces)


def estimated(look: Look, paces: Paces) -> Estimate:
    """The time of the whole stream at these paces."""
    stages, tasks, config = look.stages, look.tasks, look.config
    training = sum(
        look.steps(stage)
        * paces.step(prompts_of_step(stage, tasks[:number], look.objective), teachers_of(number, look.objective))
        for number, stage in enumerate(stages)
    )
    prompts = sum(len(task.class_names) * len(task.evaluation_templates) for task in tasks)
    images = sum(len(task.evaluation) for task in tasks)
    # What a frozen tower says is kept from the first evaluation.
    of_text = 1 if config.train_towers == "vision" else len(stages) + 1
    of_images = 1 if config.train_towers == "text" else len(stages) + 1
    evaluations = of_text * prompts * paces.prompt + of_images * images * paces.image
    rows = 0
    for number, stage in enumerate(stages):
        roles = read_by_role(look.objective)
        # In the first task both teachers are one.
        for parts in roles if number else [roles[0] | roles[1]]:
            rows += table_rows(parts, len(stage.train), look.references, look.stream, config)
        # Prototypes under the model that was learned.
        rows += len(stage.train) * look.objective.needs_prototypes()
    return Estimate(training, evaluations, rows * paces.image)
