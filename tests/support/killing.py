"""Runs in processes of their own that are killed and go on, and what they leave."""

import gc
import json
import multiprocessing
import os
import re
import signal
import socket
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a run imports on its way; the server, from which each run is forked, has this module.
from PIL import Image
from support.forkserver import server
from support.hub import connected
from support.moments import OUT, Moments, Phase
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import mulki_hf.adaptation.lora
import mulki_hf.publish
import mulki_hf.stream
from mulki_hf.report import checkpoint
from mulki_hf.train import main


# Loading a model compiles a thousand regular expressions once; so does each fork without it.
get_checkpoint_conversion_mapping("clip")

HANGS = 300
"""Seconds after which a process that should have ended hangs."""


def one_pixel(results: Any, folder: Path) -> None:
    """Instead of pictures, which take a third of a run."""
    for name in checkpoint.picture_names(results.protocols):
        Image.new("RGB", (1, 1)).save(folder / name)


def _run(place: str, argv: list[str], log: str, env: dict[str, str], hub: bool, arm: Phase | Moments | None) -> None:
    gc.freeze()
    multiprocessing.set_start_method("fork", force=True)  # as in any process; this one's workers would have a server
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

    def killed(self, arm: Phase | Moments, *more: str, rank: int = 0) -> bool:
        """Start it, a rank with what kills it; any other has to end by itself then. False: it came to its end."""
        statuses, printed = self._go([*self.options, *more], arm, rank)
        assert statuses[rank] in (0, -signal.SIGKILL), printed
        assert len({status == 0 for status in statuses}) == 1, printed
        return statuses[rank] != 0

    def finishes(self, *more: str, arm: Phase | Moments | None = None) -> str:
        """Start it; it has to come to its end. Returns what it printed."""
        statuses, printed = self._go([*self.options, *more], arm)
        assert set(statuses) == {0}, printed
        return printed

    def refused(self, *more: str) -> str:
        """Start it; it has to end with a line that says why, which is returned."""
        statuses, printed = self._go([*self.options, *more], None)
        assert set(statuses) == {1}, printed
        return printed

    def _go(self, argv: list[str], arm: Phase | Moments | None, armed: int = 0) -> tuple[list[int], str]:
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
            started.append(server().Process(target=_run, args=args))
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
