"""Checkpoints on disk: the newest undamaged one is taken, and a finished task's must be whole."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mulki_hf.errors import ConfigurationError
from mulki_hf.runs.checkpoints import check_finished, fault_of, last_checkpoint


def make_checkpoint(folder, step: int):
    """As Trainer writes it, with a weight average."""
    path = folder / f"checkpoint-{step}"
    (path / "weight_average").mkdir(parents=True)
    save_file({"weight": torch.rand(8, 8)}, path / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.rand(64)}, path / name)
    np.save(path / "weight_average/weight.npy", np.ones((8, 8), np.float32))
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FILES = ["model.safetensors", "optimizer.pt", "rng_state.pth", "weight_average/weight.npy", "trainer_state.json"]


class TestLastCheckpoint:
    @pytest.mark.parametrize("file", FILES)
    def test_a_damaged_one_is_passed_over_and_named(self, tmp_path, caplog, file):
        whole, damaged = make_checkpoint(tmp_path, 10), make_checkpoint(tmp_path, 20)
        assert last_checkpoint(tmp_path) == str(damaged) and not caplog.text
        cut(damaged / file)
        assert last_checkpoint(tmp_path) == str(whole)
        assert f"{damaged / file} is damaged" in caplog.text and f"going on from {whole} instead" in caplog.text

    def test_none_left(self, tmp_path, caplog):
        cut(make_checkpoint(tmp_path, 10) / "model.safetensors")
        assert last_checkpoint(tmp_path) is None and "the task begins anew" in caplog.text
        assert last_checkpoint(tmp_path / "no-folder") is None

    def test_numbers_count_and_other_names_are_no_checkpoints(self, tmp_path):
        newest = make_checkpoint(tmp_path, 10)
        shutil.copytree(newest, tmp_path / "checkpoint-9")
        for name in ("checkpoint-best", "checkpoint-old", "checkpoint-11-copy"):
            shutil.copytree(newest, tmp_path / name)
        assert last_checkpoint(tmp_path) == str(newest)

    def test_one_without_the_optimizer_is_none_to_go_on_from(self, tmp_path, caplog):
        """As `save_only_model` leaves it: the moments would start at zero in the middle of the task."""
        (make_checkpoint(tmp_path, 10) / "optimizer.pt").unlink()
        assert last_checkpoint(tmp_path) is None and "holds no optimizer.pt (save_only_model?)" in caplog.text

    def test_a_whole_one_has_no_fault(self, tmp_path):
        assert fault_of(make_checkpoint(tmp_path, 10)) is None


class TestFinishedTask:
    @pytest.fixture
    def folder(self, tmp_path):
        for folder, kind in ((tmp_path / "task1-a", ""), (tmp_path / "task1-a/adapter", "adapter_")):
            folder.mkdir()
            (folder / f"{kind}config.json").write_text("{}")
            save_file({"weight": torch.rand(8, 8)}, folder / f"{kind}model.safetensors")
        return tmp_path / "task1-a"

    @pytest.mark.parametrize("artefact", [None, "adapter"])
    def test_what_the_next_task_starts_from_must_be_whole(self, folder, artefact):
        needed = folder / (artefact or "")
        weights, config = next(needed.glob("*model.safetensors")), next(needed.glob("*config.json"))
        check_finished(folder, artefact)
        cut(weights)
        with pytest.raises(ConfigurationError, match=f"{weights} is damaged .*put it back.*--resume_from_hub"):
            check_finished(folder, artefact)
        weights.unlink()
        with pytest.raises(ConfigurationError, match="holds no weights"):
            check_finished(folder, artefact)
        config.unlink()
        with pytest.raises(ConfigurationError, match=f"{config} is missing"):
            check_finished(folder, artefact)

    def test_of_adapters_the_model_is_not_needed(self, folder):
        (folder / "model.safetensors").unlink()
        check_finished(folder, "adapter")

    def test_a_missing_shard(self, folder):
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ConfigurationError, match="model-00002-of-00002.safetensors is missing"):
            check_finished(folder)

    def test_no_folder(self, tmp_path):
        with pytest.raises(ConfigurationError, match="task1-b is missing, but the next task starts from there"):
            check_finished(tmp_path / "task1-b")
