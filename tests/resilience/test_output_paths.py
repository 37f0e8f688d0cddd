"""Where a run may write: whatever a file system takes, and nothing else, which is refused before training."""

import os

import pytest
from support.interrupt import interrupted

from mulki_hf import MulKITrainer, StreamResults
from mulki_hf.train import main


PATHS = {
    "spaces": "my runs/the first one",
    "quotes": 'it\'s "mine"',
    "umlauts": "Läufe/größer",
    "emoji": "📎 runs/🐧",
    "dash": "-out",
    "wildcards": "out[1]*?",
    "percent": "100% {name}%s",
    "long-name": "x" * 255,
    "long-path": "/".join(["y" * 200] * 14),
    "dots": "a/../b/./out",
    "trailing": "out///",
}


@pytest.mark.parametrize(
    "name",
    ["umlauts", "wildcards", *(pytest.param(name, marks=pytest.mark.long) for name in PATHS if name[0] not in "uw")],
)
def test_a_run_and_its_resumption(stream_yaml, tmp_path, monkeypatch, capsys, name):
    """Relative to the working directory; stopped in its second task, it goes on, and is then written over."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()  # that `..` can lead out of
    config, given = stream_yaml(output_dir=None, method="finetune"), PATHS[name]
    option = f"--output_dir={given}"
    # A file of its own would hide what the path means; these are given as people do.
    interrupted(config, 3, option)
    assert StreamResults.load(given).finished == 1
    main(["--config", str(config), option, "--resume"])
    out = tmp_path / given
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["task1-colours", "task2-shapes"]
    assert StreamResults.load(given).finished == 2
    assert "Results, pictures and checkpoints: " in capsys.readouterr().out
    card = (out / "task2-shapes/README.md").read_text(encoding="utf-8")
    assert str(tmp_path) not in card
    with pytest.raises(SystemExit, match="holds the results of a run"):
        main(["--config", str(config), option])


def test_links(stream_yaml, tmp_path, monkeypatch):
    """To a folder, and from a folder beside it; what a link leads to is written and cleared, the link stays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("elsewhere/deep")
    config = stream_yaml(method="finetune", output_dir="link/out", save_strategy="no")
    main(["--config", str(config)])
    main(["--config", str(config), "--overwrite"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere/deep/out/task2-shapes/model.safetensors").is_file()
    # The folder itself is a link.
    main(["--config", str(config), "--output_dir", "link"])
    assert (tmp_path / "elsewhere/deep/task2-shapes/model.safetensors").is_file()
    assert (tmp_path / "elsewhere/deep/out/task2-shapes").is_dir()


def test_a_working_directory_that_changes(stream_yaml, tmp_path, monkeypatch):
    """As a callback or a tracker may do it: everything lands where the run began."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    train = MulKITrainer.train

    def moved(self, *args, **kwargs):
        os.chdir(tmp_path / "there")
        return train(self, *args, **kwargs)

    monkeypatch.setattr(MulKITrainer, "train", moved)
    main(["--config", str(stream_yaml(method="finetune", output_dir="out"))])
    assert not [*(tmp_path / "there").iterdir()]
    assert sorted(path.name for path in (tmp_path / "here/out").iterdir() if path.is_dir()) == [
        "task1-colours", "task2-shapes",
    ]  # fmt: skip


class TestRefused:
    """Before anything is loaded."""

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("x" * 256, "at most 255 bytes, got 256"),
            ("/".join(["y" * 200] * 20), "at most 3496 bytes as a whole path"),
            ("null\0byte", "output_dir must be one line of characters that can be seen"),
            ("two\nlines", "output_dir must be one line of characters that can be seen"),
            (os.fsdecode(b"caf\xe9"), "output_dir must be one line of characters that can be seen"),
            ("  ", "output_dir must name a folder"),
            ("dangling/out", "dangling' is a link that leads nowhere"),
            ("loop/out", "loop' is a link that leads nowhere"),
            ("file/out", "file' is a file, not a folder"),
        ],
    )
    def test_what_cannot_be(self, stream_yaml, tmp_path, monkeypatch, given, said):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "dangling").symlink_to("nowhere")
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "file").write_text("")
        before = {*tmp_path.rglob("*")}
        config = stream_yaml(output_dir=None)
        with pytest.raises(SystemExit, match=f"^error: .*{said}"):
            main(["--config", str(config), f"--output_dir={given}"])
        assert {*tmp_path.rglob("*")} - before <= {config}

    def test_a_read_only_disk(self, stream_yaml, tmp_path):
        from support.mounts import small_disk

        with small_disk(tmp_path / "disk", "4M") as disk:
            disk.lock(disk.path)
            with pytest.raises(SystemExit, match="^error: output_dir .*can't be written: choose another"):
                main(["--config", str(stream_yaml(output_dir=str(disk.path / "out")))])
            disk.unlock(disk.path)
