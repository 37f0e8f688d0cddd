"""The folder of a run: the only place that makes, clears and fills it."""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from accelerate import Accelerator

from ..durable import TEMPORARY, copy_file, put, remove, sync, write_text
from ..errors import ConfigurationError
from ..hub.outbox import Outbox, recorded_pushes
from ..manifest import has_manifest, write_manifest
from ..report.checkpoint import picture_names
from ..report.classes import FOLDER as CLASSES
from ..results import StreamResults, task_folder
from .checkpoints import last_checkpoint, steps_of
from .lock import FolderLock


UNFINISHED, LOGS = "unfinished", "runs"
CACHE, WRITING, CLEARING = "cache", "writing", "clearing"
EVENTS = "events.out.tfevents*"
WORK = ("checkpoint-*", "_cache", "_weight_average", LOGS)
"""What we and Trainer write where a task is trained."""


class RunFolder:
    """Where a run writes.

        results.json, pictures          of the whole stream so far
        task1-NAME/, task2-NAME/, ...   a finished task's checkpoint each
        unfinished/                     what the task that is being learned needs; gone when the stream is finished
        runs/                           what `report_to` wrote
        classes/                        what an evaluation of it showed of single classes

    Args:
        path: the run's `output_dir`.
        accelerator ([`Accelerator`]): only the main process writes.
    """

    def __init__(self, path: str | Path, accelerator: Accelerator):
        # Whoever changes the working directory meanwhile, a callback or a tracker, moves no file.
        self.path = Path(os.path.abspath(path))
        self.accelerator = accelerator
        self.lock = FolderLock(self.path / UNFINISHED)

    @property
    def cache(self) -> Path:
        """Folder of what is computed once."""
        return self.path / UNFINISHED / CACHE

    def training(self, names: list[str], position: int) -> Path:
        """Where Trainer works while it learns a task."""
        return self.path / UNFINISHED / task_folder(self.path, names, position).name

    def task(self, names: list[str], position: int) -> Path:
        """A finished task's checkpoint."""
        return task_folder(self.path, names, position)

    def check_untaken(
        self, names: list[str], positions: Iterable[int], protocols: list[str], overwrite: bool = False
    ) -> None:
        """Refuse to write over what is no run's.

        Args:
            names: of the stream's tasks.
            positions: of those that are about to be written.
            protocols: by which pictures are about to be drawn.
            overwrite: what an earlier run's results name is about to be deleted.

        Raises:
            ConfigurationError: something else has the name of what is to be written; names it.
        """
        path, run = self.path, holds_run(self.path)
        own = set(named_folders(path)) if overwrite and run else set()
        tasks = [name for name in (self.task(names, position).name for position in positions) if name not in own]
        taken = [name for name in tasks if os.path.lexists(path / name) and not _holds_results(path / name)]
        # Of a run without results nothing says what it has drawn; when it began, none of it was there.
        drawn = (named_pictures(path) or {*picture_names(protocols)}) if run else set()
        taken += [name for name in picture_names(protocols) if name not in drawn and os.path.lexists(path / name)]
        if not run:
            taken += [Outbox.FILE] if _holds_pushes(path) else []
            taken += [f"{UNFINISHED}/{name}" for name in tasks if _in_use(path / UNFINISHED / name)]
        if os.path.lexists(path / UNFINISHED) and not (path / UNFINISHED).is_dir():
            taken.append(UNFINISHED)
        if taken:
            raise ConfigurationError(
                f"output_dir {str(path)!r} holds {', '.join(taken)}, which no run wrote and this one would write over: "
                "choose another output_dir, or move it"
            )

    def held(self, cleared: bool) -> int:
        """Bytes that what is to be written takes the place of.

        Args:
            cleared: the tasks' folders are deleted before.
        """
        folders = [UNFINISHED, *(named_folders(self.path) if cleared else ())]
        files = (file for name in folders for file in (self.path / name).rglob("*") if not file.is_symlink())
        return sum(file.stat().st_size for file in files if file.is_file())

    def take(self, results: bytes | None) -> None:
        """Make the folder, if it is not there, and be the only run that writes in it until `lock.release`.

        Args:
            results: see [`results_file`], as it was when this run looked; None: there was none.

        Raises:
            ConfigurationError: another run holds it, or has changed it since.
        """
        self.lock.take()
        if results_file(self.path) != results:
            raise ConfigurationError(
                f"output_dir {str(self.path)!r}: another run wrote there while this one was loading; look at what it "
                "left, then start again"
            )

    def clear_leftovers(self, names: list[str], finished: int, protocols: list[str]) -> None:
        """Delete what a run that was killed had begun to write or to delete, of a stream of the tasks `names`.

        Args:
            names: of the stream's tasks.
            finished: how many of them are.
            protocols: by which pictures are drawn.
        """
        remove(self.path / UNFINISHED / WRITING)
        for name in (StreamResults.FILE, Outbox.FILE, *picture_names(protocols)):
            remove(self.path / (name + TEMPORARY))
        for position in range(finished):
            if self.training(names, position).is_dir():
                self.keep_logs(names, position)

    def checkpoint(self, names: list[str], position: int, averaged: bool) -> str | None:
        """See [`last_checkpoint`]; what can't be gone on from behind it is deleted."""
        training = self.training(names, position)
        chosen = last_checkpoint(training, averaged)
        kept = -1 if chosen is None else list(steps_of(training).values()).index(Path(chosen))
        for place in [*steps_of(training).values()][kept + 1 :]:
            remove(place)
        return chosen

    def clear(self) -> None:
        """Delete what an earlier run left, and nothing else: without a run, nothing.

        A mark says that it was begun, see [`half_cleared`]; what says which files are the run's goes last.
        """
        remove(self.path / UNFINISHED / WRITING)
        if holds_run(self.path):
            folders, pictures = named_folders(self.path), named_pictures(self.path)
            (self.path / UNFINISHED).mkdir(exist_ok=True)
            write_text(self.path / UNFINISHED / CLEARING, "")
            self._clear(folders, pictures)
        remove(self.path / UNFINISHED / CLEARING)
        _remove_empty(self.path / UNFINISHED)

    def _clear(self, folders: list[str], pictures: set[str]) -> None:
        for folder in folders:
            remove(self.path / folder)
        self._finish(folders or [path.name for path in begun_tasks(self.path)])
        for file in class_files(self.path):
            file.unlink()
        _remove_empty(self.path / CLASSES)
        self._clear_logs(folders)
        # Without results nothing else was written.
        for name in (Outbox.FILE, *pictures, StreamResults.FILE) if folders or results_file(self.path) else ():
            (self.path / name).unlink(missing_ok=True)

    def _clear_logs(self, folders: list[str]) -> None:
        """Delete what trackers wrote, for the stream or for a task, and the folders that it leaves empty."""
        logs = self.path / LOGS
        own = [logs / folder for folder in folders]
        for file in [*logs.glob(EVENTS), *(file for folder in own for file in folder.rglob(EVENTS))]:
            file.unlink()
        for folder in own:
            for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
                _remove_empty(inner)
            _remove_empty(folder)
        _remove_empty(logs)

    def take_up(self, checkpoint: Path, results: StreamResults, source: str) -> None:
        """Put a checkpoint that came from `source` on the Hub in the place of the last finished task.

        First it is recorded, as what is not to be pushed as one's own.
        """
        folder, outbox = self.task(results.stage_names, results.finished - 1), Outbox(self.path)
        outbox.record_elsewhere(folder.name, source)
        if results.artefact is not None and (checkpoint / results.artefact.folder).is_dir():
            outbox.record_elsewhere(f"{folder.name}/{results.artefact.folder}", source)
        partial = self.path / UNFINISHED / WRITING / folder.name
        remove(partial)
        shutil.copytree(checkpoint, partial, ignore=shutil.ignore_patterns(".*"))
        if not has_manifest(partial):  # an older version pushed it
            write_manifest(partial)
        put(partial, folder)

    @contextmanager
    def writing(self, names: list[str], position: int) -> Iterator[Path]:
        """A task's folder, whole or not at all: filled under `unfinished` inside the block, in its place after it.

        Every rank enters; the main process alone writes.
        """
        final = self.task(names, position)
        # The same name, which the card knows.
        partial = self.path / UNFINISHED / WRITING / final.name
        if self.accelerator.is_main_process:
            remove(partial)
            partial.mkdir(parents=True)
        yield partial
        if self.accelerator.is_main_process:
            write_manifest(partial)
            put(partial, final)

    @contextmanager
    def replacing(self) -> Iterator[Path]:
        """An evaluation's files, filled under `unfinished` inside the block, after it in the place of an earlier one's.

        The main process alone enters.
        """
        new = self.path / UNFINISHED / WRITING
        remove(new)
        new.mkdir(parents=True)
        yield new
        earlier = {*class_files(self.path), *(self.path / name for name in named_pictures(self.path))}
        written = {file: self.path / file.relative_to(new) for file in new.rglob("*") if file.is_file()}
        # What says what there is goes last.
        for file, place in sorted(written.items(), key=lambda moved: moved[0].name == StreamResults.FILE):
            place.parent.mkdir(exist_ok=True)
            sync(file)
            os.replace(file, place)
        for place in earlier - {*written.values()}:
            place.unlink(missing_ok=True)
        _remove_empty(self.path / CLASSES)
        remove(new)

    def keep_logs(self, names: list[str], position: int) -> None:
        """Delete a finished task's training state but for what `report_to` wrote there."""
        training = self.training(names, position)
        if (training / LOGS).is_dir():
            # In one folder, whatever the task: that is what a run is to tensorboard.
            for file in (path for path in (training / LOGS).rglob("*") if path.is_file()):
                (self.path / LOGS).mkdir(exist_ok=True)
                copy_file(file, self.path / LOGS / file.name)
        remove(training)

    def drop(self, names: list[str], positions: Iterable[int], needed: Collection[str] = ()) -> list[str]:
        """Delete finished tasks' folders, but for those called as one of `needed`; returns what they were called."""
        folders = [self.task(names, position) for position in positions]
        dropped = [folder for folder in folders if folder.name not in needed and _holds_results(folder)]
        for folder in dropped:
            # Out of sight first, so that none is there by half.
            gone = self.path / UNFINISHED / WRITING / folder.name
            gone.parent.mkdir(parents=True, exist_ok=True)
            remove(gone)
            os.replace(folder, gone)
            remove(gone)
        # Its last part would keep the lock's folder from going with the lock.
        _remove_empty(self.path / UNFINISHED / WRITING)
        return [folder.name for folder in dropped]

    def finish(self, names: list[str]) -> None:
        """Delete what only an unfinished stream of the tasks `names` needs; the lock stays until it is released."""
        self._finish(self.task(names, position).name for position in range(len(names)))

    def _finish(self, folders: Iterable[str]) -> None:
        for name in (CACHE, WRITING, *folders):
            remove(self.path / UNFINISHED / name)


def results_file(path: Path) -> bytes | None:
    """`results.json` of a run's folder as it stands; None if there is none."""
    file = path / StreamResults.FILE
    return file.read_bytes() if file.is_file() else None


def finished_tasks(path: Path) -> list[Path]:
    """The folders of finished tasks, by the results in each."""
    return sorted(file.parent for file in path.glob(f"task*-*/{StreamResults.FILE}"))


def begun_tasks(path: Path) -> list[Path]:
    """The folders in which tasks are trained, by what is written there."""
    return sorted({work.parent for name in WORK for work in (path / UNFINISHED).glob(f"task*-*/{name}")})


def holds_run(path: Path) -> bool:
    """Whether a folder holds a run, finished or not; one that was stopped while it loaded left nothing."""
    began = (path / UNFINISHED / CACHE).is_dir() or bool(begun_tasks(path))
    return began or (path / StreamResults.FILE).exists() or bool(finished_tasks(path))


def all_taken_up(path: Path, folders: Collection[str]) -> bool:
    """Whether `folders` came from the Hub, by the run's record of pushes."""
    return {*folders} <= {push.folder for push in recorded_pushes(path) if push.taken_up}


def half_cleared(path: Path) -> bool:
    """Whether a run that was to be overwritten is there in parts: who did that was killed."""
    return (path / UNFINISHED / CLEARING).is_file()


def named_folders(path: Path) -> list[str]:
    """Names of the task folders that a run's results name; where they are missing, the results in those folders.

    Raises:
        ConfigurationError: they can't be read.
    """
    found: set[str] = set()
    for results in _recorded(path):
        found |= {task_folder(path, results.stage_names, position).name for position in range(len(results.learned))}
    return sorted(found)


def named_pictures(path: Path) -> set[str]:
    """Names of the pictures that a run drew, by the same results; raises as [`named_folders`]."""
    return {name for results in _recorded(path) for name in picture_names(results.protocols)}


def class_files(path: Path) -> list[Path]:
    """What `mulki_hf.evaluate` wrote of single tasks' classes."""
    return sorted(file for kind in ("per_class", "confusion") for file in (path / CLASSES).glob(f"{kind}_*_*.*"))


def standing(path: Path) -> str:
    """How far the run in a folder has come, and how it goes on, in half a sentence."""
    if not (path / StreamResults.FILE).exists():
        return f"nothing is finished in {path}; " + ("go on with --resume" if holds_run(path) else "start again")
    results = StreamResults.load(path)
    done, names = results.finished, results.stage_names
    if not names:
        return f"the evaluation in {path} is finished"
    line = f"{done} of {len(names)} tasks {'is' if done == 1 else 'are'} finished in {path}"
    if done < len(names):
        # Looked at more closely when it is gone on from.
        steps = steps_of(path / UNFINISHED / task_folder(path, names, done).name).values()
        name = next((place.name for place in reversed(steps) if has_manifest(place)), "")
        step = f"is at step {name.rpartition('-')[2]} ({name})" if name else "begins anew"
        line += f", task {done + 1} {step}"
    return f"{line}; go on with --resume"


def _recorded(path: Path) -> list[StreamResults]:
    sources = [path] if (path / StreamResults.FILE).exists() else finished_tasks(path)
    return [StreamResults.load(source) for source in sources]


def _holds_results(folder: Path) -> bool:
    return (folder / StreamResults.FILE).is_file()


def _holds_pushes(folder: Path) -> bool:
    """Whether there is a record of pushes, but for what `take_up` leaves when it is stopped."""
    if not os.path.lexists(folder / Outbox.FILE):
        return False
    try:
        pushes = Outbox(folder).pushes
    except ConfigurationError:  # somebody's file of that name
        return True
    return not pushes or any(push.commit is None or push.tag is not None for push in pushes)


def _in_use(path: Path) -> bool:
    """Whether something is there that is more than an empty folder."""
    return os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it is not there, or holds something
        folder.rmdir()
