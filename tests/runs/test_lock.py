"""One run in a folder at a time."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time

import filelock
import pytest

from mulki_hf.errors import ConfigurationError
from mulki_hf.runs import lock
from mulki_hf.runs.lock import HOLDER, FolderLock, check_free
from mulki_hf.train import main


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


class TestSharedDisk:
    """Machines that write to one disk, whose locks hold on each of them alone, or not at all."""

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(lock, "BEAT", 0.05)
        monkeypatch.setattr(lock, "WATCH", 1.0)

    @pytest.fixture
    def on(self, monkeypatch):
        """The rest of the test runs on another machine, to which locks of the one before are not known."""

        def on(host):
            monkeypatch.setattr(socket, "gethostname", lambda: host)
            monkeypatch.setattr(filelock.FileLock, "acquire", lambda self: None)

        return on

    def test_another_machine_is_refused_while_there_are_signs_of_life(self, tmp_path, on):
        on("node3")
        first = FolderLock(tmp_path / "out/unfinished")
        first.take()
        (first.folder / "lock").touch()
        on("node4")
        refusal = rf"a run is writing there .process {os.getpid()} on node3 since \d{{4}}-\d\d-\d\d \d\d:\d\d.; wait"
        for refused in (FolderLock(first.folder).take, lambda: check_free(first.folder)):
            with pytest.raises(ConfigurationError, match=refusal):
                refused()
        on("node3")
        first.release()
        on("node4")
        FolderLock(first.folder).take()

    def test_one_that_is_dead_is_taken_over(self, tmp_path, on, caplog):
        """After a while in which nothing came; nobody waits for the same one twice."""
        (tmp_path / "lock").touch()
        (tmp_path / HOLDER).write_text("process 1 on node3 since 2026-01-02 03:04")
        on("node4")
        began = time.monotonic()
        check_free(tmp_path)
        assert 1.0 <= time.monotonic() - began < 30
        assert "no sign of life of process 1 on node3 since 2026-01-02 03:04 for 1 seconds" in caplog.text
        second = FolderLock(tmp_path)
        caplog.clear()
        second.take()
        assert not caplog.text and "on node4 since" in (tmp_path / HOLDER).read_text()
        beat = (tmp_path / HOLDER).stat().st_mtime_ns
        time.sleep(0.5)
        assert (tmp_path / HOLDER).stat().st_mtime_ns > beat

    def test_a_whole_run(self, own_copy, on, capsys):
        """What another machine is writing to is left alone."""
        folder, options = own_copy
        on("node3")
        first = FolderLock(folder / "unfinished")
        first.take()
        on("node4")
        with pytest.raises(SystemExit, match="^error: output_dir .*copy': a run is writing there .*on node3 since"):
            main([*options, "--resume"])
        first.release()

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
    def test_a_file_system_without_locks(self, tmp_path, monkeypatch, caplog, number):
        """Said; a process of this machine is known by its number: one that is gone is taken over at once."""

        def acquire(self):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
        first = FolderLock(tmp_path / "out/unfinished")
        first.take()
        assert "on a file system without locks" in caplog.text
        for refused in (FolderLock(first.folder).take, lambda: check_free(first.folder)):
            (first.folder / "lock").touch()
            with pytest.raises(ConfigurationError, match=f"process {os.getpid()} on "):
                refused()
        # Who holds it died in a container, which counts from the same number when it starts again.
        os.utime(first.folder / HOLDER, (1.0, 1.0))
        check_free(first.folder)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait(timeout=30)
        (first.folder / HOLDER).write_text(f"process {gone.pid} on {socket.gethostname()} since 2026-01-02 03:04")
        second = FolderLock(first.folder)
        second.take()
        second.release()
        assert not second.folder.exists()

    def test_other_errors_of_a_disk_stay(self, tmp_path, monkeypatch):
        def acquire(self):
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
        with pytest.raises(OSError, match="Read-only"):
            FolderLock(tmp_path).take()

    def test_what_a_power_cut_leaves_is_nobody(self, tmp_path):
        (tmp_path / HOLDER).touch()
        lock = FolderLock(tmp_path)
        lock.take()
        lock.release()
        assert not tmp_path.exists()

    def test_one_that_was_taken_for_dead_ends_and_touches_nothing(self, tmp_path, monkeypatch, capsys):
        """A machine that was frozen wakes up."""
        left = []
        monkeypatch.setattr("mulki_hf.runs.lock.BEAT", 0.05)
        monkeypatch.setattr("mulki_hf.runs.lock.leave", left.append)
        first = FolderLock(tmp_path)
        first.take()
        (tmp_path / HOLDER).write_text("process 1 on node9 since 2026-01-02 03:04")
        until = time.monotonic() + 30
        while not left and time.monotonic() < until:
            time.sleep(0.02)
        first.release()
        assert left[0] == 1 and "a run is writing there (process 1 on node9" in capsys.readouterr().err
        assert "node9" in (tmp_path / HOLDER).read_text()
