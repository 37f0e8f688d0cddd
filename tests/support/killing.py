"""Runs in processes of their own that kill themselves: at a phase by name, or before a thing that they do."""

import gc
import importlib
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import wraps
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch

# What a run imports on its way; the server, from which each run is forked, has it all before.
from PIL import Image
from support.hub import connected
from torch import serialization
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

import mulki_hf.adaptation.lora
import mulki_hf.publish
import mulki_hf.stream
from mulki_hf.report import checkpoint
from mulki_hf.train import main


OUT, HANGS = "out", 300
"""A run's folder in its place; seconds after which a process that should have ended hangs."""


class Arm(Protocol):
    """What a process does to itself before it runs the command."""

    def arm(self) -> None: ...


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
        folder = os.path.abspath(OUT)

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


def one_pixel(results: Any, folder: Path) -> None:
    """Instead of pictures, which take a third of a run."""
    for name in checkpoint.picture_names(results.protocols):
        Image.new("RGB", (1, 1)).save(folder / name)


def _run(place: str, argv: list[str], log: str, env: dict[str, str], hub: bool, arm: Arm | None) -> None:
    gc.freeze()
    os.chdir(place)
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
    if not hub:
        os.environ.update(env)
    mulki_hf.stream.draw = checkpoint.draw = one_pixel
    os.fsync = lambda descriptor: None  # only a power cut asks for it
    with connected(env, place) if hub else nullcontext():
        if arm is not None:
            arm.arm()
        main(argv)


@dataclass
class Victim:
    """A run in `place/out`.

    Args:
        place: its working directory.
        options: of the command, without `--resume`.
        ranks: of gloo.
        hub: the environment of a process that knows a hub.
    """

    place: Path
    options: list[str]
    ranks: int = 1
    hub: dict[str, str] | None = None
    tries: int = 0

    @property
    def out(self) -> Path:
        return self.place / OUT

    def killed(self, arm: Arm, *more: str, rank: int = 0) -> bool:
        """Start it, a rank with what kills it; any other has to end by itself then. False: it came to its end."""
        statuses, printed = self._go([*self.options, *more], arm, rank)
        assert statuses[rank] in (0, -signal.SIGKILL), printed
        assert len({status == 0 for status in statuses}) == 1, printed
        return statuses[rank] != 0

    def finishes(self, *more: str, arm: Arm | None = None) -> str:
        """Start it; it has to come to its end. Returns what it printed."""
        statuses, printed = self._go([*self.options, *more], arm)
        assert set(statuses) == {0}, printed
        return printed

    def refused(self, *more: str) -> str:
        """Start it; it has to end with a line that says why, which is returned."""
        statuses, printed = self._go([*self.options, *more], None)
        assert set(statuses) == {1}, printed
        return printed

    def _go(self, argv: list[str], arm: Arm | None, armed: int = 0) -> tuple[list[int], str]:
        self.tries += 1
        self.place.mkdir(exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        shared = {"WORLD_SIZE": str(self.ranks), "LOCAL_WORLD_SIZE": str(self.ranks), "ACCELERATE_USE_CPU": "true"}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        started, logs = [], []
        for rank in range(self.ranks):
            env = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if self.ranks > 1 else self.hub or {}
            logs.append(self.place / f"try{self.tries}-rank{rank}.txt")
            own = arm if rank == armed else None
            args = (str(self.place), argv, str(logs[-1]), env, self.hub is not None, own)
            started.append(_server().Process(target=_run, args=args))
            started[-1].start()
        try:
            for process in started:
                process.join(HANGS)
            statuses = [process.exitcode for process in started]
        finally:
            for process in started:
                process.kill()
        printed = "\n".join(log.read_text() for log in logs if log.exists())
        assert None not in statuses, f"hangs: {printed}"
        return statuses, printed


def _server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    before = os.environ.get("PYTHONPATH")
    # The server does not hear of this process's path before it imports.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return context


def contents(out: Path) -> dict[str, Any]:
    """What a run left: by file its bytes, or what of it does not tell when and how fast it came about."""
    return {str(path.relative_to(out)): _content(path) for path in sorted(out.rglob("*")) if path.is_file()}


def _content(path: Path) -> Any:
    if path.name == "results.json":
        results = json.loads(path.read_text())
        own = {name: results[name] for name in ("zero_shot", "accuracy", "metrics")}
        return own | {"others": results["others"], "facts": [task["facts"] for task in results["tasks"]]}
    if path.name == "README.md":
        # Further down stands by which commands; how long it took makes columns wider.
        return re.sub(r"(\d+ (h|min|s)\b)+|[ -]+", "", path.read_text().partition("- wall time")[0])
    return path.read_bytes()


def differences(out: Path, expected: dict[str, Any]) -> list[str]:
    """What a run did not leave, what it left beside that, and what of it is another."""
    found = contents(out)
    others = [name for name in expected if name in found and found[name] != expected[name]]
    return [f"missing {name}" for name in sorted(expected.keys() - found)] + [
        *(f"left over {name}" for name in sorted(found.keys() - expected)),
        *(f"another {name}" for name in others),
    ]
