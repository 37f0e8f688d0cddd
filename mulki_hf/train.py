"""Train a CLIP on a stream of tasks: `accelerate launch -m mulki_hf.train --config quickstart`."""

import copy
import gc
import logging
import shutil
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import datasets
import transformers
from accelerate import Accelerator
from huggingface_hub import get_token
from transformers import CLIPProcessor
from transformers.integrations import get_reporting_integration_callbacks

from .cache import ArrayCache
from .command_line import parse
from .config import MulKIConfig, StreamConfig
from .errors import ConfigurationError
from .evaluation import StreamEvaluator
from .hub import Outbox, PushError
from .lora import add_lora, check_lora, merge, save_adapter
from .model_card import ADAPTER_FOLDER, draft_card, look_up_licences, save_card
from .models import load_model, load_processor, save_checkpoint
from .provenance import library_versions, provenance
from .results import StreamResults
from .run_folder import (
    UNFINISHED,
    describe_checkpoint,
    earlier_results,
    keep_logs,
    on_main_process,
    prepare_folder,
    save_results,
    start_results,
    task_folder,
)
from .tasks import Task, load_reference, load_stream
from .text import tokenize_prompts
from .trainer import MulKITrainer, check_reference, last_checkpoint


def main(argv: list[str] | None = None) -> None:
    """The command: what a person can mend, and pushes left pending, end with one line on stderr and status 1."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        run(*parse(argv), argv)
    except (ConfigurationError, PushError) as error:
        sys.exit(f"error: {error}")


def run(stream: StreamConfig, config: MulKIConfig, argv: list[str] | None = None) -> StreamResults:
    """Learn the stream's tasks one after another, evaluating on all of them after each.

    Args:
        stream ([`StreamConfig`]): model, tasks and evaluation.
        config ([`MulKIConfig`]): how each task is trained; `output_dir` receives results, pictures and checkpoints.
        argv (*optional*): options of the command, for the model cards.

    Returns:
        [`StreamResults`], as in `output_dir/results.json`.

    Raises:
        ConfigurationError: before any training, if something the user gave can't be used.
        PushError: after all of it, on the main process, if checkpoints did not reach the Hub.
    """
    output = Path(config.output_dir)
    check_reference(config.method, stream.reference_dataset is not None)
    if config.resume_from_checkpoint is not None:
        raise ConfigurationError("resume_from_checkpoint: a stream goes on with --resume, which finds the checkpoint")
    accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=config.use_cpu)
    main_process = accelerator.is_main_process
    if config.disable_tqdm or not main_process:
        datasets.disable_progress_bars()
        transformers.logging.disable_progress_bar()
    if not main_process:
        logging.getLogger("mulki_hf").setLevel(logging.ERROR)
    check_trackers(config)
    read_earlier = partial(earlier_results, output, stream, config.hub_token)
    earlier, source = on_main_process(accelerator, read_earlier, share=True)
    processor = load_processor(stream.model_name_or_path, stream.model_revision)
    with config.main_process_first(desc="building datasets"):
        tasks = load_stream(stream)
        reference = load_reference(stream) if stream.reference_dataset is not None else None
    for task in tasks:
        check_task(task, processor, config)
    results = start_results(earlier, source, stream, config, tasks, reference)
    results.provenance = provenance(accelerator, argv, [config.hub_token, get_token()])
    results.versions = library_versions()
    original = load_model(stream.model_name_or_path, stream.model_revision)
    if config.lora_r is not None:
        check_lora(original, config)
    accelerator.wait_for_everyone()
    outbox = None
    if config.push_to_hub:
        outbox = on_main_process(accelerator, lambda: open_outbox(output, stream, config, results))
    on_main_process(accelerator, lambda: prepare_folder(output, stream, results, source, outbox, config.hub_token))
    if main_process:
        look_up_licences(results, config.hub_token)
    if outbox is not None:
        send_earlier(output, results, outbox)
    image_cache = ArrayCache(
        output / UNFINISHED / "cache", accelerator, config.per_device_eval_batch_size, config.dataloader_num_workers
    )
    evaluate = StreamEvaluator(
        tasks,
        processor,
        accelerator,
        batch_size=config.per_device_eval_batch_size,
        num_workers=config.dataloader_num_workers,
        protocol=stream.protocol,
        trained_towers=config.train_towers,
        image_cache=image_cache if config.cache_images else None,
    )
    if not results.zero_shot:
        results.zero_shot = evaluate(original, 0, "zero-shot evaluation")
        if main_process:
            save_results(results, output)
    # Each task loads what it needs, when it needs it.
    del original
    load_original = partial(load_model, stream.model_name_or_path, stream.model_revision)
    accelerator.print(
        f"{config.method} on {accelerator.num_processes} process(es), {accelerator.device.type}; "
        f"zero-shot {sum(results.zero_shot) / len(tasks):.1f} % on average over {len(tasks)} tasks"
    )

    with outbox or nullcontext():
        for position in range(results.finished, len(tasks)):
            task = tasks[position]
            began = time.monotonic()
            training = task_arguments(config, output / UNFINISHED / f"task{position + 1}-{task.name}")
            folder = task_folder(output, results.names, position)
            before = task_folder(output, results.names, position - 1) if position else None
            load_previous = partial(load_model, before) if before else None
            if config.lora_r is None:
                student = (load_previous or load_original)()
            else:
                # Both teachers are the student's own backbone, with other adapters.
                student = add_lora(load_original(), config, before and before / ADAPTER_FOLDER)
            trainer = MulKITrainer(
                model=student,
                args=training,
                task=task,
                processing_class=processor,
                original_model=load_original if config.lora_r is None else None,
                previous_model=load_previous if config.lora_r is None else None,
                reference_dataset=reference,
                random_resized_crop=stream.random_resized_crop,
                cache_dir=output / UNFINISHED / "cache",
            )
            trainer.train(resume_from_checkpoint=last_checkpoint(training.output_dir) if stream.resume else None)
            student = trainer.accelerator.unwrap_model(trainer.model)
            if config.lora_r is not None:
                if main_process:
                    save_adapter(student, folder / ADAPTER_FOLDER, results.base.name, results.base.revision)
                student = merge(student)
            row = evaluate(student, position + 1, f"{task.name}: evaluation on every task")
            prototypes = trainer.prototypes_of(student)
            results.add(row, time.monotonic() - began)
            if config.lora_r is not None:
                results.tasks[position].lora_error = trainer.lora_error
            if main_process:
                save_checkpoint(folder, student, processor, prototypes)
                describe_checkpoint(folder, results, outbox and outbox.planned[folder.name].repo_id)
                if outbox is not None:
                    for push in outbox.planned_of(folder.name):
                        outbox.send_in_background(push)
                save_results(results, output)
                keep_logs(Path(training.output_dir), output / "runs" / folder.name)
            accelerator.wait_for_everyone()
            accelerator.print(progress_line(results, position))
            del trainer, student
            gc.collect()

        if main_process:
            shutil.rmtree(output / UNFINISHED, ignore_errors=True)
        accelerator.print(f"\n{results.table()}\n\nResults, pictures and checkpoints: {output}")
    accelerator.end_training()
    if outbox is not None:
        outbox.raise_for_pending()
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


def open_outbox(output: Path, stream: StreamConfig, config: MulKIConfig, results: StreamResults) -> Outbox:
    """What sends the tasks still to be learned to the Hub, after checking that it can."""
    outbox = Outbox(output, config.hub_token, config.hub_retries, config.hub_timeout)
    if stream.overwrite:
        outbox.pushes.clear()
    recorded = {push.folder for push in outbox.pushes}
    folders = []
    for position in range(len(results.tasks)):
        folder = task_folder(output, results.names, position)
        # Also what was learned before --push_to_hub was given; not what came from the Hub itself.
        if position >= results.finished or (folder.is_dir() and folder.name not in recorded):
            folders.append(folder.name)
    if config.lora_r is not None:
        folders += [f"{folder}/{ADAPTER_FOLDER}" for folder in folders]
    outbox.prepare(
        config.hub_model_id,
        folders,
        config.hub_private_repo,
        config.hub_revision,
        config.hub_collection,
        card=draft_card(results),
    )
    return outbox


def send_earlier(output: Path, results: StreamResults, outbox: Outbox) -> None:
    """Send what an earlier run left pending, and the tasks that it learned without `--push_to_hub`."""
    for push in outbox.pending:
        outbox.send_in_background(push)
    for position in range(results.finished):
        folder = task_folder(output, results.names, position)
        for push in outbox.planned_of(folder.name):
            save_card(StreamResults.load(folder), folder, outbox.planned[folder.name].repo_id)
            outbox.send_in_background(push)


# A task


def task_arguments(config: MulKIConfig, folder: Path) -> MulKIConfig:
    """The Trainer's arguments for one task: it works in `folder` and leaves the Hub to the stream."""
    arguments = copy.copy(config)
    arguments.output_dir = str(folder)
    arguments.push_to_hub = False
    return arguments


def progress_line(results: StreamResults, position: int) -> str:
    """One line about the task just finished."""
    row, zero_shot = results.accuracy[position], results.zero_shot
    line = f"task {position + 1}/{len(row)} {results.names[position]}: {row[position]:.1f} % "
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
