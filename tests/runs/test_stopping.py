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
def test_a_signal_unwinds(number, status):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stop, stoppable():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert stop.value.status == status
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_the_process_at_once(second):
    child = os.fork()
    if child == 0:
        try:
            with stoppable():
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(5)
                finally:
                    os.kill(os.getpid(), second)
                    time.sleep(5)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == second


def test_one_that_comes_where_nothing_can_be_raised_comes_again():
    """Python prints what a finaliser raises, and goes on."""

    class Finalised:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    with pytest.raises(Stopped), stoppable():
        thing = Finalised()
        del thing
        time.sleep(5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_forked_process_ends_by_the_signal_without_a_word(number, capfd):
    with stoppable():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            except BaseException:
                os.write(2, b"raised")
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == number
    assert capfd.readouterr().err == ""


def test_a_clean_up_that_fails_is_still_the_stop():
    with pytest.raises(Stopped) as stop, stoppable():
        try:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            except KeyboardInterrupt as interrupted:
                interrupted.add_note("safe")
                raise
        finally:
            raise ConnectionResetError("the workers are gone")
    assert stop.value.status == 143 and stop.value.__notes__ == ["safe"]
    with pytest.raises(ConnectionResetError), stoppable():
        raise ConnectionResetError("without a signal")


def test_workers_that_end_by_the_signal_too_do_not_disturb():
    """PyTorch's data loaders raise for each that ends, wherever the process is."""

    def raising(*_):
        raise RuntimeError("a worker is gone")

    before = signal.signal(signal.SIGCHLD, raising)
    try:
        with pytest.raises(Stopped), stoppable():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            finally:
                os.kill(os.getpid(), signal.SIGCHLD)
                cleaned = True
        assert cleaned and signal.getsignal(signal.SIGCHLD) == raising
    finally:
        signal.signal(signal.SIGCHLD, before)


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


def test_who_leaves_takes_the_workers_along():
    """One that finds nobody reading any more would print a traceback behind the line that says what is safe."""
    script = """
import multiprocessing, os, sys, time
from mulki_hf.runs.stopping import leave

def complain(parent):
    while os.getppid() == parent:
        time.sleep(0.01)
    sys.stderr.write("nobody reads")

multiprocessing.get_context("fork").Process(target=complain, args=(os.getpid(),), daemon=True).start()
leave(130)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    # The pipe is at its end when the last process that holds it is.
    assert (done.returncode, done.stderr) == (130, "")
