"""Train a CLIP on a stream of tasks: `accelerate launch -m mulki_hf.train --config quickstart`."""

import copy
import dataclasses
import gc
import logging
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import datasets
import transformers
from accelerate import Accelerator
from transformers import CLIPProcessor
from transformers.integrations import get_reporting_integration_callbacks

from . import __version__
from .command_line import parse
from .config import MulKIConfig, StreamConfig
from .errors import ConfigurationError
from .evaluation import StreamEvaluator
from .model_card import task_card
from .models import load_model, load_processor, save_checkpoint
from .plots import plot_accuracy_matrix, plot_curves
from .results import StreamResults
from .tasks import Task, load_reference, load_stream
from .text import tokenize_prompts
from .trainer import MulKITrainer, check_reference


LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "huggingface_hub", "safetensors")
UNFINISHED = "unfinished"
# What must not change between a run and its resumption, beside the methods' own fields.
CONSTANT_FIELDS = {f.name for f in dataclasses.fields(StreamConfig)} - {"resume", "overwrite", "dataset_num_proc"}
CONSTANT_FIELDS |= {"num_train_epochs", "max_steps", "seed", "data_seed", "per_device_train_batch_size"}
CONSTANT_FIELDS |= {"gradient_accumulation_steps", "dataloader_drop_last", "max_grad_norm", "label_smoothing_factor"}
CONSTANT_FIELDS |= {"optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "bf16", "fp16"}
CONSTANT_FIELDS |= {"learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"}


def main(argv: list[str] | None = None) -> None:
    """The command: input that a person can mend ends with one line on stderr and status 1."""
    try:
        run(*parse(argv))
    except ConfigurationError as error:
        sys.exit(f"error: {error}")


def run(stream: StreamConfig, config: MulKIConfig) -> StreamResults:
    """Learn the stream's tasks one after another, evaluating on all of them after each.

    Args:
        stream ([`StreamConfig`]): model, tasks and evaluation.
        config ([`MulKIConfig`]): how each task is trained; `output_dir` receives results, pictures and checkpoints.

    Returns:
        [`StreamResults`], as in `output_dir/results.json`.

    Raises:
        ConfigurationError: before any training, if something the user gave can't be used.
    """
    output = Path(config.output_dir)
    check_reference(config.method, stream.reference_dataset is not None)
    if config.resume_from_checkpoint is not None:
        raise ConfigurationError("resume_from_checkpoint: a stream goes on with --resume, which finds the checkpoint")
    accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=config.use_cpu)
    if config.disable_tqdm or not accelerator.is_main_process:
        datasets.disable_progress_bars()
        transformers.logging.disable_progress_bar()
    if not accelerator.is_main_process:
        logging.getLogger("mulki_hf").setLevel(logging.ERROR)
    check_trackers(config)
    previous_run = open_output(output, stream)
    processor = load_processor(stream.model_name_or_path, stream.model_revision)
    with config.main_process_first(desc="building datasets"):
        tasks = load_stream(stream)
        reference = load_reference(stream) if stream.reference_dataset is not None else None
    for task in tasks:
        check_task(task, processor, config)
    results = start_results(previous_run, stream, config, tasks)
    original = load_model(stream.model_name_or_path, stream.model_revision)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        prepare_output(output, stream)
    evaluate = StreamEvaluator(
        tasks,
        processor,
        accelerator,
        batch_size=config.per_device_eval_batch_size,
        num_workers=config.dataloader_num_workers,
        protocol=stream.protocol,
    )

    def publish() -> None:
        if accelerator.is_main_process:
            results.save(output)
            plot_accuracy_matrix(results, output / "accuracy_matrix.png")
            plot_curves(results, output / "curves.png")

    if not results.zero_shot:
        results.zero_shot = evaluate(original, 0, "zero-shot evaluation")
        publish()
    accelerator.print(
        f"{config.method} on {accelerator.num_processes} process(es), {accelerator.device.type}; "
        f"zero-shot {sum(results.zero_shot) / len(tasks):.1f} % on average over {len(tasks)} tasks"
    )

    for position in range(results.finished, len(tasks)):
        task = tasks[position]
        folder = task_folder(output, tasks, position)
        previous = load_model(task_folder(output, tasks, position - 1)) if position else None
        training = copy.copy(config)
        training.output_dir = str(output / UNFINISHED / folder.name)
        trainer = MulKITrainer(
            model=load_model(task_folder(output, tasks, position - 1)) if position else copy.deepcopy(original),
            args=training,
            task=task,
            processing_class=processor,
            original_model=original,
            previous_model=previous,
            reference_dataset=reference,
            random_resized_crop=stream.random_resized_crop,
        )
        trainer.train(resume_from_checkpoint=last_checkpoint(training.output_dir) if stream.resume else None)
        student = trainer.accelerator.unwrap_model(trainer.model)
        results.add(evaluate(student, position + 1, f"{task.name}: evaluation on every task"))
        prototypes = trainer.prototypes_of(student, "student")
        if accelerator.is_main_process:
            save_checkpoint(folder, student, processor, prototypes, task_card(results, tasks, position, stream, config))
        accelerator.wait_for_everyone()
        publish()
        if accelerator.is_main_process:
            keep_logs(Path(training.output_dir), output / "runs" / folder.name)
        accelerator.print(progress_line(results, position))
        del trainer, student, previous
        gc.collect()

    if accelerator.is_main_process:
        shutil.rmtree(output / UNFINISHED, ignore_errors=True)
    accelerator.print(f"\n{results.table()}\n\nResults, pictures and checkpoints: {output}")
    accelerator.end_training()
    return results


# Before training


def check_trackers(config: MulKIConfig) -> None:
    """Refuse a `report_to` whose package is missing, which the Trainer would find out after the first evaluation."""
    for callback in get_reporting_integration_callbacks(config.report_to):
        try:
            callback()
        except (RuntimeError, ImportError) as error:
            raise ConfigurationError(f"report_to {config.report_to}: {error}") from error


def check_task(task: Task, processor: CLIPProcessor, config: MulKIConfig) -> None:
    """Refuse a task whose prompts are too long, or that is too small for a single step."""
    try:
        tokenize_prompts(processor.tokenizer, task.class_names, task.templates)
    except ConfigurationError as error:
        raise ConfigurationError(f"task {task.name!r}: {error}") from error
    batch = config.train_batch_size * config.world_size
    if config.dataloader_drop_last and len(task.train) < batch:
        raise ConfigurationError(
            f"task {task.name!r}: {len(task.train)} training images are less than a batch of {batch}, and "
            "dataloader_drop_last drops the rest"
        )


# The output folder


def open_output(output: Path, stream: StreamConfig) -> StreamResults | None:
    """The results to resume from, if any; refuses a folder in use unless told to resume or overwrite."""
    if output.exists() and not output.is_dir():
        raise ConfigurationError(f"output_dir {str(output)!r} is a file, not a folder")
    holds_run = (output / StreamResults.FILE).exists() or (output / UNFINISHED).exists()
    if stream.resume:
        if not holds_run:
            raise ConfigurationError(f"resume: output_dir {str(output)!r} holds no run to go on with")
        return StreamResults.load(output) if (output / StreamResults.FILE).exists() else None
    if holds_run and not stream.overwrite:
        raise ConfigurationError(
            f"output_dir {str(output)!r} holds the results of a run: choose another, go on with --resume, "
            "or delete them with --overwrite"
        )
    return None


def prepare_output(output: Path, stream: StreamConfig) -> None:
    """Make the folder, without what an earlier run left in it when told to overwrite."""
    output.mkdir(parents=True, exist_ok=True)
    if stream.overwrite:
        folders = [path.parent for path in output.glob("task*-*/config.json")]
        for folder in [*folders, output / UNFINISHED, output / "runs"]:
            shutil.rmtree(folder, ignore_errors=True)
        for name in (StreamResults.FILE, "accuracy_matrix.png", "curves.png"):
            (output / name).unlink(missing_ok=True)


def start_results(
    previous_run: StreamResults | None, stream: StreamConfig, config: MulKIConfig, tasks: list[Task]
) -> StreamResults:
    """New results, or the previous run's after checking that it was configured the same."""
    settings = dataclasses.asdict(stream) | config.to_dict()
    names = [task.name for task in tasks]
    if previous_run is not None:
        kept = {f.name for cls in MulKIConfig.__bases__[:-1] for f in dataclasses.fields(cls)} | CONSTANT_FIELDS
        for name in sorted(kept):
            if previous_run.config.get(name) != settings[name]:
                raise ConfigurationError(
                    f"resume: {name} was {previous_run.config.get(name)!r} and is now {settings[name]!r}; "
                    "a stream can only go on as it began"
                )
        return previous_run
    versions = {"python": platform.python_version(), "mulki-hf": __version__}
    versions |= {library: version(library) for library in LIBRARIES}
    return StreamResults(config.method, stream.protocol, names, config=settings, versions=versions)


def task_folder(output: Path, tasks: list[Task], position: int) -> Path:
    """Folder of a task's checkpoint, `task3-greek` for position 2."""
    return output / f"task{position + 1}-{tasks[position].name}"


def last_checkpoint(folder: str) -> str | None:
    """The newest complete Trainer checkpoint; one whose writing was interrupted has no trainer state yet."""
    complete = sorted(
        (int(path.parent.name.rpartition("-")[2]), str(path.parent))
        for path in Path(folder).glob("checkpoint-*/trainer_state.json")
    )
    return complete[-1][1] if complete else None


def keep_logs(training_dir: Path, logs: Path) -> None:
    """Delete a finished task's training state but for what `report_to` wrote there."""
    if (training_dir / "runs").is_dir():
        shutil.copytree(training_dir / "runs", logs, dirs_exist_ok=True)
    shutil.rmtree(training_dir, ignore_errors=True)


def progress_line(results: StreamResults, position: int) -> str:
    """One line about the task just finished."""
    row, zero_shot = results.accuracy[position], results.zero_shot
    line = f"task {position + 1}/{len(row)} {results.tasks[position]}: {row[position]:.1f} % "
    line += f"(zero-shot {zero_shot[position]:.1f} %)"
    if position:
        line += f"; earlier tasks {sum(row[:position]) / position:.1f} %"
    rest = len(row) - position - 1
    if rest:
        ahead = sum(row[position + 1 :]) / rest
        line += f"; not yet learned {ahead:.1f} % (zero-shot {sum(zero_shot[position + 1 :]) / rest:.1f} %)"
    return line


if __name__ == "__main__":
    main()
