"""Checkpoints on disk: the newest undamaged one is taken, and a finished task's must be whole."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mulki_hf.errors import ConfigurationError
from mulki_hf.manifest import MANIFEST, write_manifest
from mulki_hf.runs.checkpoints import check_finished, chosen_checkpoint, fault_of, last_checkpoint


def make_checkpoint(folder, step: int):
    """As Trainer writes it, with a weight average."""
    path = folder / f"checkpoint-{step}"
    (path / "weight_average").mkdir(parents=True)
    save_file({"weight": torch.rand(8, 8)}, path / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.rand(64)}, path / name)
    np.save(path / "weight_average/weight.npy", np.ones((8, 8), np.float32))
    (path / "weight_average/names.json").write_text('["weight"]')
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    write_manifest(path)
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

    @pytest.mark.parametrize("file", FILES)
    def test_so_is_one_with_another_byte(self, tmp_path, caplog, file):
        whole, damaged = make_checkpoint(tmp_path, 10), make_checkpoint(tmp_path, 20)
        content = bytearray((damaged / file).read_bytes())
        content[-1] ^= 1
        (damaged / file).write_bytes(content)
        assert last_checkpoint(tmp_path) == str(whole)
        assert f"{damaged / file} is damaged (its SHA-256 is not that of manifest.json)" in caplog.text

    def test_so_is_one_that_was_not_finished(self, tmp_path, caplog):
        whole, begun = make_checkpoint(tmp_path, 10), make_checkpoint(tmp_path, 20)
        (begun / MANIFEST).unlink()
        assert last_checkpoint(tmp_path) == str(whole) and f"{begun} was not finished" in caplog.text

    @pytest.mark.parametrize("file", FILES)
    def test_without_a_manifest_what_can_not_be_read_shows(self, tmp_path, file):
        """As Trainer itself writes them, and older versions did; they are taken when they are named."""
        path = make_checkpoint(tmp_path, 10)
        (path / MANIFEST).unlink()
        assert chosen_checkpoint(str(path), str(tmp_path), averaged=True) == str(path)
        cut(path / file)
        with pytest.raises(ConfigurationError, match=f"{path / file} is damaged.*choose another"):
            chosen_checkpoint(str(path), str(tmp_path), averaged=True)

    @pytest.mark.parametrize("file", FILES)
    def test_so_is_an_empty_file(self, tmp_path, caplog, file):
        whole, damaged = make_checkpoint(tmp_path, 10), make_checkpoint(tmp_path, 20)
        (damaged / file).write_bytes(b"")
        assert last_checkpoint(tmp_path) == str(whole) and f"{damaged / file} is damaged" in caplog.text

    @pytest.mark.parametrize("content", ["[]", "7", "{}", '{"global_step": "x"}', '{"no_field_of_it": 1}'])
    def test_so_is_a_state_that_is_none(self, tmp_path, content):
        path = make_checkpoint(tmp_path, 10)
        (path / "trainer_state.json").write_text(content)
        (path / MANIFEST).unlink()
        assert f"{path / 'trainer_state.json'} is damaged" in fault_of(path)

    @pytest.mark.parametrize("name", ["model", "adapter_model"])
    def test_one_without_weights_is_passed_over(self, tmp_path, caplog, name):
        """An adapter would go on from its beginning."""
        for step in (10, 20):
            weights = make_checkpoint(tmp_path, step) / "model.safetensors"
            weights.rename(weights.with_name(f"{name}.safetensors"))
            write_manifest(weights.parent)
        (tmp_path / f"checkpoint-20/{name}.safetensors").unlink()
        write_manifest(tmp_path / "checkpoint-20")
        assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
        assert "checkpoint-20 holds no weights" in caplog.text

    def test_weights_in_parts_must_be_all_there(self, tmp_path):
        path = make_checkpoint(tmp_path, 10)
        (path / MANIFEST).unlink()
        parts = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
        shutil.copyfile(path / "model.safetensors", path / parts[1])
        (path / "model.safetensors").rename(path / parts[0])
        index = path / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"a": parts[0], "b": parts[1]}}))
        assert fault_of(path) is None
        (path / parts[1]).unlink()
        assert fault_of(path) == f"{path / parts[1]} is missing"
        index.write_text("[]")
        assert "index.json is damaged" in fault_of(path)

    def test_the_previous_adapter_is_not_what_is_trained(self, tmp_path):
        path = make_checkpoint(tmp_path, 10)
        (path / "previous").mkdir()
        (path / "model.safetensors").rename(path / "previous/adapter_model.safetensors")
        write_manifest(path)
        assert fault_of(path) == f"{path} holds no weights"

    def test_one_whose_average_lacks_a_file_is_passed_over(self, tmp_path, caplog):
        whole, damaged = make_checkpoint(tmp_path, 10), make_checkpoint(tmp_path, 20)
        (damaged / "weight_average/weight.npy").unlink()
        assert last_checkpoint(tmp_path) == str(whole)
        assert f"{damaged / 'weight_average/weight.npy'} is missing" in caplog.text

    def test_one_without_an_average_counts_where_none_is_kept(self, tmp_path, caplog):
        whole, without = make_checkpoint(tmp_path, 10), make_checkpoint(tmp_path, 20)
        shutil.rmtree(without / "weight_average")
        write_manifest(without)
        assert last_checkpoint(tmp_path) == str(without)
        assert last_checkpoint(tmp_path, averaged=True) == str(whole)
        assert f"{without} holds no weight_average" in caplog.text
        assert chosen_checkpoint(True, str(tmp_path), averaged=True) == str(whole)
        with pytest.raises(ConfigurationError, match="checkpoint-20 holds no weight_average: choose another"):
            chosen_checkpoint(str(without), str(tmp_path), averaged=True)

    def test_an_average_of_an_older_version_has_no_list(self, tmp_path):
        path = make_checkpoint(tmp_path, 10)
        (path / "weight_average/names.json").unlink()
        (path / MANIFEST).unlink()
        assert fault_of(path, averaged=True) is None

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

    def test_an_index_that_is_none(self, folder):
        (folder / "model.safetensors.index.json").write_text("[]")
        with pytest.raises(ConfigurationError, match="index.json is damaged .it names no files"):
            check_finished(folder)

    def test_no_folder(self, tmp_path):
        with pytest.raises(ConfigurationError, match="task1-b is missing, but the next task starts from there"):
            check_finished(tmp_path / "task1-b")
