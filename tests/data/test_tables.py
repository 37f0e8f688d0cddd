"""Rows on disk by sample: the same values, again when something changes, and not otherwise."""

import errno
import os
import pickle
import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.tiny import COLOURS, tiny_model, tiny_processor
from torch import nn

from mulki_hf import ConfigurationError
from mulki_hf.adaptation.teacher import weights_fingerprint
from mulki_hf.data.tables import Table, WithTables


class Numbers:
    """Samples `{"x": [n, n]}`."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"x": torch.tensor([float(index)] * 2)}

    def __getitems__(self, indices):
        return [self[index] for index in indices]


class TestTable:
    def fill(self, cache, depends_on=("a",), count=10, factor=2.0):
        calls = []

        def compute(batch):
            calls.append(len(batch["x"]))
            return factor * batch["x"]

        return cache.table("numbers", list(depends_on), Numbers(count), compute, "test", "cache_x: no"), calls

    def test_rows_are_the_samples_in_order(self, cache):
        table, calls = self.fill(cache)
        assert torch.equal(table[list(range(10))], 2 * torch.arange(10.0).repeat(2, 1).T)
        assert torch.equal(table[[7, 0]], torch.tensor([[14.0, 14.0], [0.0, 0.0]]))
        assert calls == [4, 4, 2]
        assert isinstance(table.rows, np.memmap)

    def test_is_computed_once(self, cache):
        self.fill(cache)
        again, calls = self.fill(cache)
        assert calls == [] and len(again.rows) == 10

    def test_another_dependence_takes_its_place(self, cache):
        self.fill(cache)
        table, calls = self.fill(cache, depends_on=("b",), factor=3.0)
        assert calls and table[[1]].tolist() == [[3.0, 3.0]]
        assert [path.name for path in cache.folder.iterdir()] == [table.path.name]

    def test_an_interrupted_one_is_computed_anew(self, cache):
        def fail(batch):
            if batch["x"][0, 0] >= 4:
                raise KeyboardInterrupt
            return batch["x"]

        with pytest.raises(KeyboardInterrupt):
            cache.table("numbers", ["a"], Numbers(10), fail, "test")
        assert len(self.fill(cache)[1]) == 3

    def test_what_a_crash_left_goes(self, cache):
        """Of this rank; another one may be another machine's, in the middle of writing."""
        cache.folder.mkdir()
        for key, rank in (("a", 0), ("b", 1)):
            (cache.folder / f"numbers-{key * 16}.{rank}.partial").touch()
        (cache.folder / f"numbers-old-{'c' * 16}.npy").touch()
        table, _ = self.fill(cache)
        names = {table.path.name, f"numbers-{'b' * 16}.1.partial", f"numbers-old-{'c' * 16}.npy"}
        assert {path.name for path in cache.folder.iterdir()} == names

    @pytest.mark.parametrize("allocates", [True, False], ids=["reserved", "compared"])
    def test_a_full_disk_is_an_error_before_anything_is_written(self, cache, monkeypatch, allocates):
        """Through a mapped file it would be a signal that ends the process."""
        usage = shutil.disk_usage("/")
        if allocates:
            full = OSError(errno.ENOSPC, "No space left on device")
            monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=full), raising=False)
        else:
            monkeypatch.delattr(os, "posix_fallocate", raising=False)
            monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=79))
        message = (
            "no room in '.*cache' for the table 'numbers' of 10 samples, .* another output_dir, or set cache_x: no"
        )
        with pytest.raises(ConfigurationError, match=message):
            self.fill(cache)
        assert not list(cache.folder.iterdir())
        monkeypatch.undo()
        table, _ = self.fill(cache)
        assert len(table.rows) == 10

    def test_its_place_on_disk_is_taken_at_once(self, cache, monkeypatch):
        """Before the first row is written; macOS alone has nothing to take it with, and is asked all the same."""
        allocate, asked, size = getattr(os, "posix_fallocate", None), [], 8 * 100_000 * 4

        def noted(descriptor, *extent):
            written = np.load(next(cache.folder.glob("*.partial")), mmap_mode="r")
            asked.append((*extent, bool(written.any())))
            if allocate is not None:
                allocate(descriptor, *extent)
                assert os.fstat(descriptor).st_blocks * 512 >= size

        monkeypatch.setattr(os, "posix_fallocate", noted, raising=False)
        cache.table("wide", ["a"], Numbers(8), lambda batch: torch.ones(len(batch["x"]), 100_000), "test")
        assert asked == [(0, size + 128, False)]  # with the header

    def test_training_after_it_draws_the_same(self, cache):
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        self.fill(cache)
        assert torch.equal(torch.rand(3), expected)

    @pytest.mark.long
    def test_workers_get_the_file_not_the_array(self, cache):
        table, _ = self.fill(cache, count=100_000)
        assert table.rows.nbytes > 500_000
        copied = pickle.dumps(table)
        assert len(copied) < 1000
        assert torch.equal(pickle.loads(copied)[[99_999]], table[[99_999]])

    def test_samples_get_their_rows(self, cache):
        table, _ = self.fill(cache)
        samples = WithTables(Numbers(10), {"double": table})
        assert [sample["double"].tolist() for sample in samples.__getitems__([3, 1])] == [[6.0, 6.0], [2.0, 2.0]]
        assert samples[9]["double"].tolist() == [18.0, 18.0] and len(samples) == 10


def test_a_table_of_texts(cache):
    """What images can do reference texts can: a row for each caption."""
    model, processor = tiny_model().eval(), tiny_processor()
    captions = Dataset.from_dict({"text": [f"a {name} thing" for name in COLOURS] + ["frame"]})
    tokens = captions.map(
        lambda batch: dict(processor.tokenizer(batch["text"], padding="longest")), batched=True, remove_columns="text"
    ).with_format("torch", columns=["input_ids"])
    depends_on = [weights_fingerprint(model), captions._fingerprint]
    table = cache.table(
        "captions", depends_on, tokens, lambda batch: model.get_text_features(**batch).pooler_output, "captions"
    )
    with torch.no_grad():
        expected = model.get_text_features(input_ids=tokens["input_ids"][:]).pooler_output
    torch.testing.assert_close(table[list(range(5))], expected, rtol=0, atol=1e-6)


def test_table_reads_only_what_is_asked(tmp_path):
    np.save(tmp_path / "table.npy", np.arange(6).reshape(3, 2))
    table = Table(tmp_path / "table.npy")
    row = table[[1]]
    row += 1
    assert table.rows[1].tolist() == [2, 3] and isinstance(row, torch.Tensor) and not isinstance(row, nn.Parameter)


class TestDamage:
    @staticmethod
    def changed(path, kind: str) -> None:
        content = path.read_bytes()
        path.write_bytes(content[:-40] if kind == "cut" else content[:-60] + bytes([content[-60] ^ 1]) + content[-59:])

    @pytest.mark.parametrize("kind", ["cut", "flipped"])
    def test_a_damaged_table_is_computed_again(self, cache, caplog, kind):
        def fill():
            return cache.table("numbers", ["a"], Numbers(10), lambda batch: 2 * batch["x"], "test")

        path = fill().path
        whole = path.read_bytes()
        self.changed(path, kind)
        assert torch.equal(fill()[[7]], torch.tensor([[14.0, 14.0]]))
        assert f"{path} is damaged: it is computed again" in caplog.text and path.read_bytes() == whole

    def test_one_that_did_not_change_is_read_once(self, cache, monkeypatch):
        def fill(computed):
            return cache.table("numbers", ["a"], Numbers(10), computed, "test")

        fill(lambda batch: batch["x"])
        assert fill(None).intact
        monkeypatch.setattr("pathlib.Path.open", None)
        assert fill(None).intact
