"""One run in a folder at a time."""

import os
import signal
import subprocess
import sys

import pytest

from mulki_hf.errors import ConfigurationError
from mulki_hf.runs.lock import FolderLock, check_free


HOLD_AND_FORK = """
import os, sys, time
from pathlib import Path
from mulki_hf.runs.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.take()
if not os.fork():
    print(os.getpid(), flush=True)
    os.close(1)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_is_over(tmp_path):
    first, second = FolderLock(tmp_path / "out/unfinished"), FolderLock(tmp_path / "out/unfinished")
    check_free(first.folder)
    first.take()
    refusal = f"output_dir .*out'.* a run is writing there .process {os.getpid()} on .*wait for its end or stop it"
    for refused in (second.take, lambda: check_free(second.folder)):
        with pytest.raises(ConfigurationError, match=refusal):
            refused()
    second.release()  # it has nothing to give back
    with pytest.raises(ConfigurationError):
        check_free(first.folder)
    first.release()
    assert not first.folder.exists()
    second.take()


def test_the_lock_dies_with_its_process_though_a_worker_lives(tmp_path):
    command = [sys.executable, "-c", HOLD_AND_FORK, str(tmp_path)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    worker = int(holder.stdout.readline())
    try:
        with pytest.raises(ConfigurationError, match=f"process {holder.pid} "):
            check_free(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=10)
        os.kill(worker, 0)  # alive
        check_free(tmp_path)
        FolderLock(tmp_path).take()
    finally:
        os.kill(worker, signal.SIGKILL)
        holder.stdout.close()
