"""The command: what it can't use ends with one line and leaves nothing behind; so does whoever stops it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from support.forkserver import forked
from support.launch import refused

from mulki_hf import MulKITrainer, StreamResults
from mulki_hf.runs.lock import HOLDER
from mulki_hf.train import main


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": []}, "tasks must be a list of at least one task"),
        ({"tasks": {"a": 1}}, "tasks: a must be a mapping of fields, got 1"),
        ({"tasks": {"a": {}}}, "tasks is a mapping, which changes tasks of the recipes that it extends, and names 'a'"),
        ({"report_to": "swanlab"}, "report_to .*swanlab"),
        ({"elicit_weight": float("inf")}, "elicit_weight must be >= 0 and finite, got inf"),
        ({"dataloader_drop_last": True, "per_device_train_batch_size": 64}, "less than a batch of 64"),
        ({"tasks": [{"name": "a"}]}, r"tasks, entry 1 \('a'\): dataset is missing"),
        ({"tasks": [{"name": "a", "dataset": "x", "imag_column": "i"}]}, "did you mean 'image_column'"),
        ({"tasks": [{"name": "../a", "dataset": "x"}]}, "folder-safe"),
        ({"templates": ["a photo"]}, "stream: template 'a photo' has no {}"),
        ({"protocols": ["til", "all"]}, "protocols must be of til, cil, xtail, got 'all'"),
        ({"random_resized_crop": 1.5}, r"random_resized_crop must be in \(0, 1\], got 1.5"),
        ({"merge_alpha": 1}, r"merge_alpha must be in \[0, 1\), got 1"),
        ({"method": "snd"}, "'snd' needs reference images: set reference_dataset"),
        ({"reference_dataset": "embedded:reference"}, "'mulki' reads no reference images: remove reference_dataset"),
        (
            {"method": "zero_shot", "push_to_hub": True, "hub_model_id": "org/x"},
            "push_to_hub: method 'zero_shot' trains",
        ),
        ({"method": "snd", "reference_dataset": "x", "reference_text_column": "t"}, "remove reference_text_column"),
        ({"reference_texts": "texts.txt"}, "'mulki' reads no reference texts: remove reference_texts"),
        ({"method": "zscl", "reference_texts": "t.txt"}, "'zscl' needs reference images: set reference_dataset"),
        ({"method": "zscl", "reference_dataset": "embedded:reference"}, "'zscl' needs reference texts: set"),
        ({"reference_text_column": "text"}, "reference_text_column 'text' is a column of reference_dataset or"),
        ({"reference_text_dataset": "x"}, "reference_text_dataset 'x': .* reference_text_column its column of texts"),
        ({"reference_text_dataset": "", "reference_text_column": "t"}, "reference_text_dataset '': must name"),
        ({"reference_texts": "t.txt", "reference_text_dataset": "x"}, "reference_text_dataset exclude each other"),
        ({"reference_text_dataset": "x", "reference_text_column": "t"}, "remove reference_text_dataset, or choose"),
        ({"reference_samples": 9}, "reference_samples draws rows of reference_dataset, which is not given"),
        ({"method": "snd", "reference_dataset": "x", "reference_samples": 0}, "reference_samples must be >= 1, got 0"),
        ({"reference_seed": -1}, r"reference_seed must be in \[0, 2\*\*32\), got -1"),
        ({"reference_streaming": True}, "reference_streaming can't be given: rows are read by their number"),
        ({"text_learning_rate": -1}, "text_learning_rate must be >= 0 and finite, got -1"),
        ({"seed": -1}, r"seed must be in \[0, 2\*\*32\), got -1"),
        ({"output_dir": 5}, "output_dir must be a string, got 5"),
        ({"tasks": [{"name": "a", "dataset": "a\0b"}]}, r"task 'a': dataset must be one line .*'\\x00'"),
        ({"tasks": [{"name": "é" * 126, "dataset": "x"}]}, "task name must take at most 200 bytes, .*got 252"),
        ({"report_to": "pigeon"}, "report_to must be of .*got 'pigeon'"),
        ({"save_strategy": "best", "metric_for_best_model": "f1"}, "metric_for_best_model must be one of loss"),
        ({"model_name_or_path": "no/such/folder"}, "model_name_or_path: can't load 'no/such/folder'"),
    ],
)
def test_a_stream_that_can_not_be_learned(stream_yaml, tmp_path, change, message):
    refused(stream_yaml(**change), tmp_path, message)


def test_output_is_a_file(stream_yaml, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit, match="is a file, not a folder"):
        main(["--config", str(stream_yaml(output_dir=str(tmp_path / "taken")))])


def test_a_stream_of_tasks_from_the_command_line(stream_yaml, tmp_path, tasks_files):
    files = f"{{train: {tasks_files}/shapes-train.parquet, test: {tasks_files}/shapes-test.parquet}}"
    task = f'{{name: a, dataset: parquet, data_files: {files}, templates: ["a {{}}."]}}'
    main(["--config", str(stream_yaml(max_steps=1)), "--tasks", task])
    assert (tmp_path / "out/task1-a/model.safetensors").is_file()
    main(["--config", str(stream_yaml(max_steps=1)), "--tasks", task, "--resume"])


def test_bad_input_exits_with_one_line(stream_yaml):
    config = stream_yaml(merge_alpha=2)
    run = forked("-m", "mulki_hf.train", "--config", config, status=1)
    assert run.stderr.strip().splitlines()[-1] == "error: merge_alpha must be in [0, 1), got 2"
    assert "Traceback" not in run.stderr
    assert config.is_file()


ACCELERATE = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no"]


@contextmanager
def training(config, *launcher):
    """A process that trains until it is stopped, and has saved a checkpoint; with the id of who writes."""
    command = [sys.executable, *launcher, "-m", "mulki_hf.train", "--config", str(config)]
    unfinished = config.parent / "out/unfinished"
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # What runs behind a shell's `&` would pass on that it ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_for(lambda: list(unfinished.glob("task1-*/checkpoint-*/trainer_state.json")) or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        writer = int((unfinished / HOLDER).read_text().split()[1])
        yield process, writer
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def wait_for(condition, seconds: float = 120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    # Whose parent is gone may wait for somebody to ask for its status.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


class TestStopped:
    """One line says what is safe and how to go on."""

    ENDLESS: ClassVar = {"max_steps": 10**6, "save_steps": 5, "save_total_limit": 2, "dataloader_num_workers": 1}

    def resumes(self, config, capsys, monkeypatch) -> bool:
        """Whether the stream goes on in its folder, inside the first task."""
        went_on = []

        def train(self, resume_from_checkpoint=None):
            went_on.append(resume_from_checkpoint)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(SystemExit, match="130"):
            patch.setattr(MulKITrainer, "train", train)
            main(["--config", str(config), "--resume"])
        return "checkpoint-" in went_on[0]

    @pytest.mark.long
    def test_by_ctrl_c_while_another_wants_to_write(self, stream_yaml, tmp_path, capsys, monkeypatch):
        config = stream_yaml(**self.ENDLESS)
        with training(config) as (process, writer):
            assert writer == process.pid
            for option in ("--resume", "--overwrite"):
                with pytest.raises(SystemExit, match=f"a run is writing there .process {writer} on"):
                    main(["--config", str(config), option])
            process.send_signal(signal.SIGINT)
            _, printed = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in printed
        line = printed.strip().splitlines()[-1]
        assert line.startswith(f"stopped: 0 of 2 tasks are finished in {tmp_path / 'out'}, task 1 is at step ")
        assert line.endswith("; go on with --resume")
        assert self.resumes(config, capsys, monkeypatch)

    @pytest.mark.long
    def test_with_its_launcher(self, stream_yaml, tmp_path, capsys, monkeypatch):
        """`accelerate launch` ends on SIGTERM without passing it on."""
        config = stream_yaml(**self.ENDLESS)
        with training(config, *ACCELERATE) as (launcher, writer):
            assert writer != launcher.pid
            launcher.terminate()
            launcher.wait(timeout=10)
            wait_for(lambda: gone(writer), seconds=20)
        assert self.resumes(config, capsys, monkeypatch)

    def test_before_anything_is_written(self, stream_yaml, tmp_path, capsys, monkeypatch):
        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr("mulki_hf.stream.load_stream", interrupt)
        with pytest.raises(SystemExit, match="130"):
            main(["--config", str(stream_yaml())])
        assert capsys.readouterr().err.splitlines()[-1] == "stopped: nothing was written yet; start again"
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("where", ["evaluate", "save"])
    def test_outside_training(self, stream_yaml, tmp_path, capsys, monkeypatch, where):
        """In the zero-shot evaluation, and while its results are written."""

        def terminate(*args, **kwargs):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

        monkeypatch.setattr(f"mulki_hf.stream.Stream.{where}", terminate)
        if where == "save":
            monkeypatch.setattr("mulki_hf.stream.Stream.evaluate", lambda *args: {"til": [[1.0, 2.0]]})
        with pytest.raises(SystemExit, match="143"):
            main(["--config", str(stream_yaml())])
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"stopped: nothing is finished in {tmp_path}/out; ")

    def test_a_clean_up_that_fails_hides_nothing(self, own_copy, capsys, monkeypatch):
        folder, options = own_copy
        results = StreamResults.load(folder)
        results.accuracy, results.metrics = results.accuracy[:1], {}
        results.save(folder)

        def terminate(*args, **kwargs):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                raise TimeoutError

        monkeypatch.setattr("mulki_hf.stream.Stream.evaluate", terminate)
        with pytest.raises(SystemExit, match="143"):
            main([*options, "--resume"])
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"stopped: 1 of 2 tasks is finished in {folder}, ")

    def test_a_rank_that_is_not_the_main_one_is_silent(self, stream_yaml, capsys, monkeypatch):
        monkeypatch.setattr("mulki_hf.train.run", lambda *args: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5))
        monkeypatch.setenv("RANK", "1")
        with pytest.raises(SystemExit, match="143"):
            main(["--config", str(stream_yaml())])
        assert "stopped" not in capsys.readouterr().err

    def test_a_half_written_task_stays_unfinished(self, stream_yaml, tmp_path, capsys, monkeypatch):
        def interrupt(*args):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(SystemExit, match="130"):
            patch.setattr("mulki_hf.stream.write_recipe", interrupt)
            main(["--config", str(stream_yaml())])
        assert (tmp_path / "out/unfinished/writing/task1-colours/model.safetensors").is_file()
        assert not (tmp_path / "out/task1-colours").exists()
        assert "0 of 2 tasks are finished" in capsys.readouterr().err
        main(["--config", str(stream_yaml()), "--resume"])
        assert not (tmp_path / "out/unfinished").exists()
