"""How commands are started: as users do, in subprocesses, and on several ranks."""

import subprocess
import sys
from pathlib import Path


def run(*words, env=None, cwd=None, status: int = 0) -> subprocess.CompletedProcess:
    """A command that has to end with `status`."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=240, env=env, cwd=cwd)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def python(script: str, *words, **kwargs) -> subprocess.CompletedProcess:
    """A script in an interpreter of its own."""
    return run(sys.executable, "-c", script, *words, **kwargs)


def train(*options, **kwargs) -> subprocess.CompletedProcess:
    """`mulki_hf.train` with the recipe `stream.yaml` of the working directory."""
    return run(sys.executable, "-m", "mulki_hf.train", "--config", "stream.yaml", *options, **kwargs)


def push(*options, **kwargs) -> subprocess.CompletedProcess:
    """`mulki_hf.push`."""
    return run(sys.executable, "-m", "mulki_hf.push", *options, **kwargs)


def launch(config: Path, output: Path, *options, processes: int = 1) -> str:
    """`mulki_hf.train` through accelerate; returns what it printed."""
    # accelerate's --cpu starts a single process unless MPI does the launching; --multi_gpu is torchrun, which with
    # use_cpu gives gloo ranks.
    ranks = ["--multi_gpu"] if processes > 1 else ["--cpu"]
    words = [sys.executable, "-m", "accelerate.commands.launch", *ranks, "--num_processes", processes]
    words += ["--num_machines", 1, "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", 0]
    printed = run(*words, "-m", "mulki_hf.train", "--config", config, "--output_dir", output, *options).stdout
    assert f"on {processes} process(es)" in printed
    return printed
