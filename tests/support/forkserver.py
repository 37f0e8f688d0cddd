"""Commands in processes of their own, without the seconds that imports take: a server did them once, and forks.

What a command's environment decides as a library is imported is decided anew, as far as `connected` knows. What else
an interpreter begins with (hash seed, switches, the modules that it has) is the server's; for these see
[`support.launch.run`].
"""

import gc
import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any


PRELOAD = (
    "support.killing", "support.hub", "mulki_hf.stream", "mulki_hf.publish", "mulki_hf.preparing.looking",
    "mulki_hf.measuring",
    "transformers.models.clip.modeling_clip", "transformers.models.clip.image_processing_pil_clip",
    "datasets.packaged_modules.parquet.parquet", "matplotlib.backends.backend_agg", "scipy.io",
)  # fmt: skip
"""What commands import on their way."""


def server() -> Any:
    """The `multiprocessing` context of a server that has everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *PRELOAD])
    before = os.environ.get("PYTHONPATH")
    # The server does not hear of this process's path before it imports.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return context


def start(words: list, out: Path, err: Path, env: dict[str, str] | None = None, cwd: Any = None) -> BaseProcess:
    """`python *words`, which begin with `-m` and a module, or `-c` and a script; its output goes to these files."""
    context = server()
    given = {**os.environ} if env is None else env
    args = ([*map(str, words)], str(out), str(err), given, str(cwd or Path.cwd()))
    process = context.Process(target=_become, args=args)
    process.start()
    return process


def forked(*words, env=None, cwd=None, status: int = 0) -> CompletedProcess:
    """`python *words` to its end, which has to be with `status`; words as for [`start`]."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start([*words], out, err, env, cwd)
        process.join(timeout=240)
        ended = process.exitcode
        process.kill()
        done = CompletedProcess([*words], ended, out.read_text(), err.read_text())
    assert ended == status, f"{ended}: {done.stdout + done.stderr}"
    return done


def _become(words: list[str], out: str, err: str, env: dict[str, str], cwd: str) -> None:
    gc.freeze()
    multiprocessing.set_start_method("fork", force=True)  # as in any process; this one's workers would have a server
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    # What was started behind a shell's `&` would pass on that it ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from support.hub import connected

    switch, named, *rest = words
    with connected(env, cwd):
        sys.path.insert(0, cwd)
        if switch == "-c":
            sys.argv = ["-c", *rest]
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(named, "<string>", "exec"), main.__dict__)
        else:
            sys.argv = [named, *rest]
            importlib.invalidate_caches()
            sys.modules.pop(named, None)
            runpy.run_module(named, run_name="__main__", alter_sys=True)
