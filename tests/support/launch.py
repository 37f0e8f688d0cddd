"""How commands are started: in processes of their own, as users do or forked, and on several ranks."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.forkserver import forked, start

from mulki_hf.train import main


ACCELERATE = Path(__file__).parents[2] / "recipes/accelerate"
"""Configurations for `accelerate launch`."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(*words, env=None, cwd=None, status: int = 0) -> subprocess.CompletedProcess:
    """A command that has to end with `status`, as users start it: for what only a new interpreter shows."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=240, env=env, cwd=cwd)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def python(script: str, *words, **kwargs) -> subprocess.CompletedProcess:
    """A script in an interpreter of its own."""
    return run(sys.executable, "-c", script, *words, **kwargs)


def train(*options, **kwargs) -> subprocess.CompletedProcess:
    """`mulki_hf.train` with the recipe `stream.yaml` of the working directory, [`forked`]."""
    return forked("-m", "mulki_hf.train", "--config", "stream.yaml", *options, **kwargs)


def push(*options, **kwargs) -> subprocess.CompletedProcess:
    """`mulki_hf.push`, [`forked`]."""
    return forked("-m", "mulki_hf.push", *options, **kwargs)


def launch(config: Path, output: Path, *options, processes: int = 1, env=None, cwd=None) -> str:
    """`mulki_hf.train` through accelerate; returns what it printed."""
    file = ACCELERATE / ("cpu_ranks.yaml" if processes > 1 else "one_gpu.yaml")
    words = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", file, "--num_processes", processes]
    words += ["--main_process_port", 0, "-m", "mulki_hf.train", "--config", config, "--output_dir", output, *options]
    printed = run(*words, env=env, cwd=cwd).stdout
    assert f"on {processes} process(es)" in printed
    return printed


def two_ranks(config: Path, output: Path, *options, env=None, cwd=None, status: int = 0) -> str:
    """`mulki_hf.train` on two gloo ranks, which both have to end with `status`; what the main process printed."""
    command = ["-m", "mulki_hf.train", "--config", config, "--output_dir", output, *options]
    printed = ranks(command, output, env, cwd, status)[0]
    assert status or "on 2 process(es)" in printed
    return printed


def ranks(command: list, output: Path, env=None, cwd=None, status: int = 0) -> list[str]:
    """A Python command on two gloo ranks, as torchrun would start it, but forked.

    Both have to end with `status`; what they printed goes beside `output`.
    """
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    logs = [output.with_name(f"{output.name}-rank{rank}.txt") for rank in range(2)]
    started = []
    for rank, log in enumerate(logs):
        own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"}
        log.unlink(missing_ok=True)
        started.append(start(command, log, log, {**(env or os.environ)} | own, cwd))
    try:
        for rank in started:
            rank.join(timeout=300)
        stopped = [rank.exitcode for rank in started]
    finally:
        for rank in started:
            rank.kill()
    printed = [log.read_text() for log in logs]
    assert stopped == [status, status], "\n".join(printed)
    return printed


def told(config: Path, *options: str) -> str:
    """The one line that the command ends with."""
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), *options])
    (line,) = str(ended.value).splitlines()
    assert line.startswith("error: ")
    return line


def refused(config: Path, tmp_path: Path, message: str) -> None:
    """The command ends with an error like `message` before it makes its output folder."""
    with pytest.raises(SystemExit, match=f"(?s)error: .*{message}"):
        main(["--config", str(config)])
    assert not (tmp_path / "out").exists()
