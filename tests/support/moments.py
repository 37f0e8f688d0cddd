"""When and how a process kills itself: at a phase by name, or before one of the things that it does."""

import importlib
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import wraps
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import serialization
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook


OUT = "out"
"""The run's folder, in the working directory."""


@dataclass(frozen=True)
class Phase:
    """The process is gone at a call of what `target` names.

    Args:
        target: a function or method by its dotted name, as its caller finds it.
        when: `before` the call; `after` it; `torn`: when half is done of what it does to the file or folder `of`.
        nth: which of the calls, counted from 1.
        of: calls count if this pattern fits a path among their arguments; there is one.
    """

    target: str
    when: str = "before"
    nth: int = 1
    of: str | None = None

    def arm(self) -> None:
        owner, name = _found(self.target)
        call, left = getattr(owner, name), [self.nth]

        @wraps(call)
        def killed(*args, **kwargs):
            paths = [str(arg) for arg in (*args, *kwargs.values()) if isinstance(arg, str | os.PathLike)]
            path = next((path for path in paths if self.of and fnmatch(path, self.of)), None)
            counts = self.of is None or path is not None
            left[0] -= counts
            if counts and left[0] == 0:
                if self.when == "after" or (self.when == "torn" and not os.path.isdir(path)):
                    call(*args, **kwargs)
                if self.when == "torn":
                    tear(Path(path))
                kill()
            return call(*args, **kwargs)

        setattr(owner, name, killed)


def _found(target: str) -> tuple[Any, str]:
    """The module or class, and the name in it."""
    parts = target.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:-1]:
            owner = getattr(owner, part)
        return owner, parts[-1]
    raise LookupError(target)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def tear(path: Path) -> None:
    """A file of which half was written, or a folder of whose files half are deleted."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        for file in files[: (len(files) + 1) // 2]:
            file.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)


@dataclass
class Moments:
    """Everything that a process does to files of its run, and every step and forward, in order.

    Args:
        last: the process is gone before it does the thing of this number; None: it lives.
        lost: what is gone with it: of the file that it wrote last the half that was in a `buffer`; all that is only in
            `memory`, not yet on the disk, with a power cut: then every file that was not synced is empty.
        record: where to write a line for each thing; outside the run's folder.
    """

    last: int | None = None
    lost: str = ""
    record: str | None = None
    count: int = 0
    written: str | None = None
    unsynced: set[str] = field(default_factory=set)

    def arm(self) -> None:
        folder = os.path.realpath(OUT)

        def changes(event: str, *paths: str) -> None:
            paths = tuple(os.path.abspath(path) for path in paths)
            if any(path == folder or path.startswith(folder + os.sep) for path in paths):
                self.tick(event, *(os.path.relpath(path, folder) for path in paths))
                self.changed(event, *paths)

        def audit(event: str, args: tuple) -> None:
            if event not in _CHANGES or isinstance(args[0], int) or (event == "open" and not _writes(*args)):
                return
            paths = [_path(args[0], args[-1] if event in _IN_FOLDER else -1)]
            if event != "os.mkdir" or not os.path.isdir(paths[0]):
                changes(event, *paths, *([_path(args[1], -1)] if event == "os.rename" else []))

        sys.addaudithook(audit)
        # What these write, Python does not see.
        for owner, name, at in ((safetensors.torch, "serialize_file", 1), (serialization, "_open_zipfile_writer", 0)):
            setattr(owner, name, _told(getattr(owner, name), lambda args, at=at: changes("open", str(args[at]))))
        os.fsync = _told(os.fsync, lambda args: changes("fsync", os.readlink(f"/proc/self/fd/{args[0]}")))
        register_optimizer_step_pre_hook(lambda *_: self.tick("step"))
        register_module_forward_pre_hook(
            lambda module, inputs: self.tick("forward") if type(module).__name__ in _TOWERS else None
        )

    def tick(self, *what: str) -> None:
        if self.count == self.last:
            self.last = None  # what follows is no thing of the run's
            if self.lost == "buffer" and self.written and os.path.isfile(self.written):
                tear(Path(self.written))
            for path in sorted(self.unsynced) if self.lost == "memory" else ():
                os.truncate(path, 0)
            kill()
        self.count, self.written = self.count + 1, None
        if self.record is not None:
            with open(self.record, "a") as file:
                print(*what, file=file)

    def changed(self, event: str, path: str, place: str | None = None) -> None:
        if event == "open":
            self.written = path
            self.unsynced.add(path)
        elif place is not None:
            moved = {file for file in self.unsynced if os.path.commonpath((file, path)) == path}
            self.unsynced -= moved | {place}
            self.unsynced |= {place + file[len(path) :] for file in moved}
        else:  # it is on the disk, or gone
            self.unsynced.discard(path)


_CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}
_IN_FOLDER = {"os.remove", "os.rmdir", "os.mkdir"}
"""Whose last argument is the open folder that a relative path is in."""
_TOWERS = {"CLIPVisionModel", "CLIPTextModel"}


def _writes(path: Any, mode: str | None, flags: int) -> bool:
    return any(letter in mode for letter in "wax+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))


def _path(path: Any, folder: int) -> str:
    place = os.getcwd() if folder in (-1, None) else os.readlink(f"/proc/self/fd/{folder}")
    return os.path.join(place, os.fsdecode(path))


def _told(call: Callable, tell: Callable[[tuple], None]) -> Callable:
    @wraps(call)
    def told(*args, **kwargs):
        tell(args)
        return call(*args, **kwargs)

    return told


def drawn(rng: random.Random, lines: Sequence[str], count: int, lost: str | None = None) -> Iterator[Moments]:
    """Moments at which to kill a run `count` times in a row, given what it does when nobody touches it.

    Each of the folders that something is done to is as likely as any other. A run that goes on does all that was still
    to be done, and more: it comes to each of the moments.
    """
    done = 0
    for _ in range(count):
        places: dict[str, list[int]] = {}
        for number, line in enumerate(lines[done:], start=done):
            event, *paths = line.split()
            places.setdefault(os.path.dirname(paths[-1]) if paths else event, []).append(number)
        moment = rng.choice(places[rng.choice(sorted(places))])
        yield Moments(moment - done, rng.choice(("", "", "buffer")) if lost is None else lost)
        done = moment
