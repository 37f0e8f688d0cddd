"""The command: what it can't use ends with one line and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.launch import refused

from mulki_hf.train import main


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": []}, "tasks must be a list of at least one task"),
        ({"tasks": {"a": 1}}, "tasks must be a list of at least one task.*got {'a': 1}"),
        ({"report_to": "swanlab"}, "report_to .*swanlab"),
        ({"elicit_weight": float("inf")}, "elicit_weight must be >= 0 and finite, got inf"),
        ({"dataloader_drop_last": True, "per_device_train_batch_size": 64}, "less than a batch of 64"),
        ({"tasks": [{"name": "a"}]}, r"tasks, entry 1 \('a'\): dataset is missing"),
        ({"tasks": [{"name": "a", "dataset": "x", "imag_column": "i"}]}, "did you mean 'image_column'"),
        ({"tasks": [{"name": "../a", "dataset": "x"}]}, "folder-safe"),
        ({"templates": ["a photo"]}, "stream: template 'a photo' has no {}"),
        ({"protocol": "all"}, "protocol must be one of til, cil, xtail, got 'all'"),
        ({"random_resized_crop": 1.5}, r"random_resized_crop must be in \(0, 1\], got 1.5"),
        ({"merge_alpha": 1}, r"merge_alpha must be in \[0, 1\), got 1"),
        ({"method": "snd"}, "'snd' needs reference images: set reference_dataset"),
        ({"reference_dataset": "embedded:reference"}, "'mulki' uses no data beyond the task's own"),
        ({"model_name_or_path": "no/such/folder"}, "model_name_or_path: can't load 'no/such/folder'"),
    ],
)
def test_a_stream_that_can_not_be_learned(stream_yaml, tmp_path, change, message):
    refused(stream_yaml(**change), tmp_path, message)


def test_output_is_a_file(stream_yaml, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit, match="is a file, not a folder"):
        main(["--config", str(stream_yaml(output_dir=str(tmp_path / "taken")))])


def test_bad_input_exits_with_one_line(stream_yaml):
    command = [sys.executable, "-m", "mulki_hf.train", "--config", str(stream_yaml(merge_alpha=2))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1] == "error: merge_alpha must be in [0, 1), got 2"
    assert "Traceback" not in run.stderr
    assert Path(command[-1]).is_file()
