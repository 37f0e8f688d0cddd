"""Joint training: all tasks at once, the usual upper bound."""

from .finetune import Finetune


class Joint(Finetune):
    """`L = L_task` over all tasks' images together, each among the classes of its own task; one stage, no order."""

    learns = "all"
    summary = (
        "Joint training, the usual upper bound of continual learning: the training images of all tasks are there at "
        "once, in one stage of as many steps as the tasks would have one after another, each task with the share that "
        "its images have. Each image competes among the classes of its own task."
    )
