"""Processes that decode images, and end before the run: it says why, what to do, and how it goes on."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
from transformers import TrainerCallback

from mulki_hf import MulKITrainer
from mulki_hf.data import checked
from mulki_hf.errors import TrainingError
from mulki_hf.runs.faults import data_fault, data_faults
from mulki_hf.train import main


class Kills(TrainerCallback):
    """As the OOM killer does, after the first step of the second task."""

    def on_step_end(self, args, state, control, **kwargs):
        if "task2" in args.output_dir and state.global_step == 1:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)


@pytest.mark.long
def test_a_loaders_worker_in_training(stream_yaml, tmp_path, monkeypatch):
    """The run goes on from where it stands, and ends as one that nobody disturbed."""
    monkeypatch.chdir(tmp_path)
    options = {"method": "finetune", "dataloader_num_workers": 1, "save_steps": 1, "max_steps": 9, "output_dir": "out"}
    config = stream_yaml(**options)
    init = MulKITrainer.__init__

    def made(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.add_callback(Kills())

    with monkeypatch.context() as patch:
        patch.setattr(MulKITrainer, "__init__", made)
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(config)])
    (line,) = str(ended.value).splitlines()
    assert line.startswith("error: a process that decodes images was killed, as the system does where memory runs out")
    assert "--dataloader_num_workers" in line and "1 of 2 tasks is finished in out, task 2 " in line
    main(["--config", str(config), "--resume"])
    main(["--config", str(stream_yaml(**options | {"dataloader_num_workers": 0, "output_dir": "whole"}))])
    ends = [(tmp_path / run / "task2-shapes/model.safetensors").read_bytes() for run in ("out", "whole")]
    assert ends[0] == ends[1]


@pytest.mark.long
def test_one_that_checks_images(stream_yaml, tmp_path, monkeypatch):
    """Of `datasets`, before anything is written."""

    def killed(image):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(checked, "_check", killed)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    config = stream_yaml(dataset_num_proc=2)
    with pytest.raises(SystemExit, match="^error: a process that decodes images was killed.*--dataset_num_proc.*start"):
        main(["--config", str(config)])
    assert not (tmp_path / "out").exists()


SHARED = """
import subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=72k", "tmpfs", "/dev/shm"], check=True)
from mulki_hf.train import main
main(["--config", sys.argv[1]])
"""


@pytest.mark.long
def test_too_little_shared_memory(stream_yaml, tmp_path):
    """Of a container: in a mount namespace of its own a process has another /dev/shm."""
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*apart, "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    config = stream_yaml(dataloader_num_workers=1)
    command = [*apart, sys.executable, "-c", SHARED, str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 1, ended.stderr
    line = next(line for line in ended.stderr.splitlines() if line.startswith("error: "))
    assert line.startswith("error: shared memory ran out") and "--shm-size" in line


class TestWords:
    @pytest.mark.parametrize(
        ("error", "said"),
        [
            ("DataLoader worker (pid 7) is killed by signal: Killed. ", "was killed, as the system does where memory"),
            ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "was killed, as the system does where memory"),
            ("One of the subprocesses has abruptly died during map operation.", "was killed, as the system does"),
            ("DataLoader worker (pid 7) is killed by signal: Segmentation fault. ", "ended with 'Segmentation fault'"),
            (
                "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers "
                "are out of shared memory. Please try to raise your shared memory limit.",
                "shared memory ran out",
            ),
            ("unable to write to file </torch_12_34>: No space left on device (28)", "shared memory ran out"),
            ("unable to open shared memory object </torch_1> in read-write mode", "shared memory ran out"),
        ],
    )
    def test_each_is_told(self, error, said, tmp_path):
        with pytest.raises(TrainingError, match=f"{said}.*; nothing is finished"), data_faults(tmp_path):
            try:
                raise RuntimeError(error)
            except RuntimeError as cause:
                raise ValueError("no batch") from cause

    def test_others_stay(self, tmp_path):
        for error in (RuntimeError("worker"), OSError("is killed by signal: Killed"), TrainingError("a loss")):
            assert data_fault(error) is None
            with pytest.raises(type(error), match=str(error)), data_faults(tmp_path):
                raise error
