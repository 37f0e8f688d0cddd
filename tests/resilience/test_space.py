"""Is there room for what a run is still to write? Asked before training, and answered with numbers."""

import pytest
from support.interrupt import interrupted
from support.mounts import SmallDisk, small_disk
from support.tiny import tiny_model
from transformers import TrainerCallback

from mulki_hf import MulKITrainer
from mulki_hf.errors import ConfigurationError
from mulki_hf.runs.folder import RunFolder
from mulki_hf.runs.room import CHECKPOINTS, FEATURES, TASKS, check_room
from mulki_hf.train import main


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "256M") as disk:
        yield disk


@pytest.fixture
def estimates(monkeypatch):
    """What was reckoned, by what it is; of every run that begins."""
    seen = []
    monkeypatch.setattr("mulki_hf.stream.check_room", lambda *args: seen.append(args) or check_room(*args))
    return seen


def peak_of(disk: SmallDisk, monkeypatch) -> list[int]:
    """Collects how much of a disk is taken, whenever a run may have taken more."""
    taken, put, save = [], RunFolder.keep_logs, MulKITrainer._save_checkpoint

    def look():
        taken.append(disk.size - disk.free)

    class Looks(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            look()

        on_save = on_step_begin

    init = MulKITrainer.__init__

    def made(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.add_callback(Looks())

    def kept(*args):
        look()
        put(*args)

    def saved(self, *args):
        rotated = "mulki_hf.runs.checkpoints.rotate_checkpoints"
        with pytest.MonkeyPatch.context() as patch:
            from mulki_hf.runs.checkpoints import rotate_checkpoints

            patch.setattr(rotated, lambda *args: look() or rotate_checkpoints(*args))
            save(self, *args)

    monkeypatch.setattr(MulKITrainer, "__init__", made)
    monkeypatch.setattr(MulKITrainer, "_save_checkpoint", saved)
    monkeypatch.setattr(RunFolder, "keep_logs", kept)
    return taken


class TestEstimate:
    @pytest.mark.parametrize(
        "settings",
        [
            {"method": "finetune"},
            pytest.param({"method": "mulki", "average_on_disk": False}, marks=pytest.mark.long),
            pytest.param({"method": "finetune", "save_total_limit": 1, "save_steps": 1}, marks=pytest.mark.long),
            pytest.param({"method": "finetune", "optim": "sgd", "keep_checkpoints": "last"}, marks=pytest.mark.long),
            pytest.param({"method": "finetune", "train_towers": "text"}, marks=pytest.mark.long),
        ],
        ids=str,
    )
    def test_it_is_what_a_run_takes(self, disk, tiny_folder, stream_yaml, monkeypatch, estimates, settings):
        """But for what is small: results, cards, tokenizers, images' tables."""
        tiny_model(hidden_size=256, intermediate_size=512, num_attention_heads=4).save_pretrained(tiny_folder)
        taken = peak_of(disk, monkeypatch)
        main(["--config", str(stream_yaml(output_dir=str(disk.path / "out"), **settings))])
        ((_, sizes, there, _),) = estimates
        assert there == 0 and 0.9 * max(taken) < sum(sizes.values()) < 1.02 * max(taken)


class TestRefusal:
    SIZES = {TASKS: 6_000_000_000, CHECKPOINTS: 3_000_000_000, FEATURES: 500_000_000}

    @pytest.fixture
    def free(self, monkeypatch):
        """Sets how many bytes are free."""
        return lambda size: monkeypatch.setattr("mulki_hf.runs.room.free_space", lambda folder: size)

    def test_numbers_and_what_to_do(self, free, tmp_path):
        free(4_000_000_000)
        with pytest.raises(ConfigurationError) as refused:
            check_room(tmp_path, self.SIZES, 1_000_000_000, refuse=True)
        assert str(refused.value) == (
            f"output_dir {str(tmp_path)!r}: the run is still to write about 8.5 GB (checkpoints of the tasks 6.0 GB, "
            "Trainer's checkpoints 3.0 GB, teachers' features 0.5 GB, of which 1.0 GB are there), and 4.0 GB are free "
            "on its disk: free as much, choose another output_dir, or write less (`--keep_checkpoints last`, "
            "`--save_total_limit 1`, `--cache_teachers false`); `--check_space false` begins all the same"
        )

    @pytest.mark.parametrize(("size", "refuse"), [(9_600_000_000, True), (5_000_000_000, False)])
    def test_it_is_said_where_it_might_fit(self, free, tmp_path, caplog, size, refuse):
        free(size)
        check_room(tmp_path, self.SIZES, 0, refuse)
        assert "the run is still to write about 9.5 GB" in caplog.text and "goes on with --resume" in caplog.text

    def test_nothing_is_said_where_there_is_enough(self, free, tmp_path, caplog):
        free(11_000_000_000)
        check_room(tmp_path, self.SIZES, 0, refuse=True)
        free(0)
        check_room(tmp_path, {}, 0, refuse=True)
        assert not caplog.text

    def test_before_training(self, disk, stream_yaml):
        """Nothing was written; with more room, or told so, it begins. What a run left is not asked for again."""
        config = stream_yaml(output_dir=str(disk.path / "out"), method="finetune")
        disk.leave(1_000_000)
        with pytest.raises(SystemExit, match="^error: output_dir .*is still to write about 1.6 MB .* 1.0 MB are free"):
            main(["--config", str(config)])
        assert not (disk.path / "out").exists()
        with pytest.raises(SystemExit, match="^error: can't write"):
            main(["--config", str(config), "--check_space", "false"])
        disk.empty()
        interrupted(config, 3, "--resume")
        disk.leave(900_000)
        main(["--config", str(config), "--resume", "--save_total_limit", "1"])
        assert (disk.path / "out/task2-shapes").is_dir()

    def test_overwriting_counts_what_is_deleted(self, disk, stream_yaml, estimates):
        config = stream_yaml(output_dir=str(disk.path / "out"), method="finetune")
        main(["--config", str(config)])
        disk.leave(1_600_000)
        with pytest.raises(SystemExit, match="is still to write"):
            main(["--config", str(config), "--output_dir", str(disk.path / "other")])
        main(["--config", str(config), "--overwrite"])
        assert estimates[-1][2] > 400_000
