"""Signals that stop a run."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mulki_hf.runs import stopping
from mulki_hf.runs.stopping import Stopped, stoppable


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_unwinds_and_a_second_one_would_end_at_once(number, status):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stop, stoppable():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert stop.value.status == status
    assert signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("launched", [True, False])
def test_a_launcher_that_is_gone_stops_what_it_launched_alone(monkeypatch, launched):
    """A run that was started from a shell goes on when the shell ends."""
    parents = iter([7, 7])
    monkeypatch.setattr(stopping, "WAIT", 0.01)
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1))
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if launched:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    stopped = False
    try:
        with stoppable():
            time.sleep(0.5)
    except Stopped as stop:
        stopped = stop.status == 143
    assert stopped == launched


def test_who_leaves_does_not_wait_for_uploads():
    """The library's threads would make the interpreter wait, as those of `huggingface_hub` do."""
    script = """
import time
from concurrent.futures import ThreadPoolExecutor
from mulki_hf.runs.stopping import leave
ThreadPoolExecutor().submit(time.sleep, 60)
print("said", flush=False)
leave(130)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (130, "said\n")
