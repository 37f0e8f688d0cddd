"""What a task's training leaves, by whichever processes it is done."""

import numpy as np
from support.tiny import SHAPES, tiny_model, tiny_processor, tiny_task
from support.training import short_run, trainer_of

from mulki_hf import Task
from mulki_hf.adaptation import adaptation_of
from mulki_hf.data.union import union


# SGD without momentum: the change of the weights is the sum of the steps' gradients.
SGD = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_grad_norm": 1e9, "max_steps": -1}
SGD |= {"num_train_epochs": 1, "views_per_sample": 0.5}


def images_of(task: Task, count: int) -> Task:
    """The task with its first `count` training images."""
    train = task.train.select(range(count))
    return Task(task.name, task.class_names, task.templates, train=train, evaluation=task.evaluation)


def learned(output, images: int, crop: float | None = None, **settings) -> dict[str, np.ndarray]:
    """The weights after a second task of `images` images, and the `accuracy` that it ended with.

    With adapters after a first task: what they teach beside needs a folder.
    """
    args = short_run(output, **SGD | settings)
    shapes, task = tiny_task("shapes", list(SHAPES), per_class=2), images_of(tiny_task(), images)
    given = {"earlier_tasks": [shapes], "random_resized_crop": crop}
    if args.method == "joint":
        task, given = union([images_of(shapes, 3), images_of(task, images - 3)]), given | {"earlier_tasks": []}
    if args.lora_r or args.peft_config:
        student = adaptation_of(args).start(lambda: tiny_model(seed=1), args, None)
    else:
        student, given = tiny_model(seed=1), given | {"original_model": tiny_model(), "previous_model": tiny_model(1)}
    trainer = trainer_of(student, args, tiny_processor(), task, **given)
    trainer.train()
    accuracy = trainer.evaluate()["eval_accuracy"]
    model = trainer.adaptation.finish()
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()} | {
        "accuracy": np.array(accuracy)
    }
