"""The folder of a run: the only place that makes, clears and fills it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator

from ..hub.outbox import Outbox
from ..report.checkpoint import PICTURES
from ..results import StreamResults, task_folder


UNFINISHED, LOGS = "unfinished", "runs"


class RunFolder:
    """Where a run writes.

        results.json, pictures          of the whole stream so far
        task1-NAME/, task2-NAME/, ...   a finished task's checkpoint each
        unfinished/                     what the task that is being learned needs; gone when the stream is finished
        runs/                           what `report_to` wrote

    Args:
        path: the run's `output_dir`.
        accelerator ([`Accelerator`]): only the main process writes.
    """

    def __init__(self, path: str | Path, accelerator: Accelerator):
        self.path = Path(path)
        self.accelerator = accelerator

    @property
    def cache(self) -> Path:
        """Folder of what is computed once."""
        return self.path / UNFINISHED / "cache"

    def training(self, names: list[str], position: int) -> Path:
        """Where Trainer works while it learns a task."""
        return self.path / UNFINISHED / task_folder(self.path, names, position).name

    def task(self, names: list[str], position: int) -> Path:
        """A finished task's checkpoint."""
        return task_folder(self.path, names, position)

    def make(self) -> None:
        """The folder, if it is not there."""
        self.path.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Delete what an earlier run left, and nothing else."""
        markers = ("config.json", "adapter/adapter_config.json")
        found = {
            self.path / path.relative_to(self.path).parts[0]
            for marker in markers
            for path in self.path.glob(f"task*-*/{marker}")
        }
        for folder in [*found, self.path / UNFINISHED, self.path / LOGS]:
            shutil.rmtree(folder, ignore_errors=True)
        for name in (StreamResults.FILE, Outbox.FILE, *PICTURES):
            (self.path / name).unlink(missing_ok=True)

    def take_up(self, checkpoint: Path, results: StreamResults, source: str) -> None:
        """Put a checkpoint that came from `source` on the Hub in the place of the last finished task.

        First it is recorded, as what is not to be pushed as one's own.
        """
        folder, outbox = self.task(results.names, results.finished - 1), Outbox(self.path)
        outbox.record_elsewhere(folder.name, source)
        if results.artefact is not None and (checkpoint / results.artefact.folder).is_dir():
            outbox.record_elsewhere(f"{folder.name}/{results.artefact.folder}", source)
        shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)

    @contextmanager
    def writing(self, names: list[str], position: int) -> Iterator[Path]:
        """A task's folder, whole or not at all: filled under `unfinished` inside the block, in its place after it.

        Every rank enters; the main process alone writes.
        """
        final = self.task(names, position)
        # The same name, which the card knows.
        partial = self.path / UNFINISHED / "writing" / final.name
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        yield partial
        if self.accelerator.is_main_process:
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)

    def keep_logs(self, names: list[str], position: int) -> None:
        """Delete a finished task's training state but for what `report_to` wrote there."""
        training = self.training(names, position)
        if (training / LOGS).is_dir():
            logs = self.path / LOGS / self.task(names, position).name
            shutil.copytree(training / LOGS, logs, dirs_exist_ok=True)
        shutil.rmtree(training, ignore_errors=True)

    def finish(self) -> None:
        """Delete what only an unfinished stream needs."""
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)
