"""Streams that go on from a checkpoint on the Hub."""

import json
import shutil

import pytest
from huggingface_hub import HfApi
from safetensors.torch import load_file
from support.hub import connected

from mulki_hf import push
from mulki_hf.manifest import write_manifest
from mulki_hf.train import main


@pytest.fixture
def here(published):
    """The process knows the hub, and works where the stream's files lie."""
    with connected(published.env, published.place):
        yield


def test_a_recipe_of_the_hub_says_only_what_is_learned(published, tmp_path):
    """It can neither choose folders, nor delete, nor publish."""
    shutil.copytree(published.out / "task1-colours", tmp_path / "out/task1-colours")
    with (tmp_path / "out/task1-colours/recipe.yaml").open("a") as recipe:
        recipe.write("output_dir: precious\noverwrite: true\npush_to_hub: true\n")
    write_manifest(tmp_path / "out/task1-colours")
    with connected(published.env | {"HF_HOME": str(tmp_path / "home")}, published.place):
        push.main([str(tmp_path / "out"), "--hub_model_id", "org/evil"])
        with pytest.raises(SystemExit, match="org/evil-task1: unknown key 'output_dir'"):
            main(["--resume_from_hub", "org/evil-task1", "--output_dir", str(tmp_path / "new")])


def test_a_recipe_of_the_hub_reads_no_files_unasked(here, tmp_path):
    with pytest.raises(SystemExit, match="'org/mulki-task1': in its recipe .* would be read from this machine"):
        main(["--resume_from_hub", "org/mulki-task1", "--output_dir", str(tmp_path / "new")])


@pytest.mark.parametrize(
    "recipe",
    [["--config", "stream.yaml"], ["--use_cpu", "true", "--data_root", "."]],
    ids=["own recipe", "recipe of the hub"],
)
def test_equals_the_uninterrupted_run(published, tmp_path, capsys, recipe):
    """Which was another process."""
    out = tmp_path / "out"
    with connected(published.env | {"HF_HOME": str(tmp_path / "home")}, published.place):
        main([*recipe, "--resume_from_hub", "org/mulki-task1@v1", "--output_dir", str(out)])
    assert "task 1/2" not in capsys.readouterr().out
    whole, resumed = (json.loads((folder / "results.json").read_text()) for folder in (published.out, out))
    for part in ("zero_shot", "accuracy", "metrics"):
        assert whole[part] == resumed[part]
    for name in ("model", "prototypes"):
        files = [folder / f"task2-shapes/{name}.safetensors" for folder in (published.out, out)]
        assert files[0].read_bytes() == files[1].read_bytes()
    # The checkpoint that it started from is there, and not pushed as its own.
    assert load_file(out / "task1-colours/model.safetensors")
    (record,) = json.loads((out / "pushes.json").read_text())
    assert (record["folder"], record["repo_id"]) == ("task1-colours", "org/mulki-task1")


def test_adapters_equal_the_uninterrupted_run(published_lora, tmp_path):
    with connected(published_lora.env, published_lora.place):
        options = ["--resume_from_hub", "org/mulki-task1", "--output_dir", str(tmp_path / "out")]
        main(["--config", "stream.yaml", *options])
    files = [out / "task2-shapes/model.safetensors" for out in (published_lora.out, tmp_path / "out")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_absolute_paths_of_another_machine(published, tmp_path):
    """The recipe on the Hub knows file names only; a recipe with this machine's folders goes on with it."""
    content = (published.place / "stream.yaml").read_text().replace("./", f"{published.place}/")
    (tmp_path / "stream.yaml").write_text(content)
    message = "resume_from_hub: model_name_or_path was './tiny-clip' and is now"
    with connected(published.env, tmp_path), pytest.raises(SystemExit, match=message):
        main(["--config", "stream.yaml", "--resume_from_hub", "org/mulki-task1", "--output_dir", "out"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume_from_hub", "org/mulki-task2"], "2 of the stream's 2 tasks are learned there"),
        (["--resume_from_hub", "org/nothing"], r"resume_from_hub 'org/nothing': .*Repository ?Not ?Found"),
        (["--resume_from_hub", "org/mulki-task1@v9"], r"Revision ?Not ?Found"),
        (
            ["--resume_from_hub", "org/mulki-task1", "--learning_rate", "1"],
            "learning_rate was 0.001 and is now 1.0",
        ),
    ],
)
def test_refusals(here, tmp_path, options, message):
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        main(["--config", "stream.yaml", *options, "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_what_was_taken_up_is_never_pushed_as_ones_own(published, tmp_path, monkeypatch):
    """Not even by a run that goes on after a crash: it is recorded before it is put in its place."""
    out, taken_up = tmp_path / "out", ("task1-colours", "org/mulki-task1")

    def crash(*args, **kwargs):
        raise KeyboardInterrupt

    def pushes():
        return [(push["folder"], push["repo_id"]) for push in json.loads((out / "pushes.json").read_text())]

    with connected(published.env | {"HF_HOME": str(tmp_path / "home")}, published.place):
        options = ["--config", "stream.yaml", "--output_dir", str(out)]
        publish = ["--push_to_hub", "--hub_model_id", "ann/own"]
        with monkeypatch.context() as patch, pytest.raises(SystemExit, match="130"):
            patch.setattr("mulki_hf.runs.folder.shutil.copytree", crash)
            main([*options, *publish, "--resume_from_hub", "org/mulki-task1"])
        assert pushes() == [taken_up]
        # Once more, over what the crash left; then over a whole run.
        for again in ([], ["--overwrite"]):
            main([*options, *publish, "--resume_from_hub", "org/mulki-task1", *again])
            assert pushes() == [taken_up, ("task2-shapes", "ann/own-task2")]
        main([*options, *publish, "--resume"])
        assert "ann/own-task1" not in published.hub.repositories


@pytest.mark.parametrize("moment", ["fetching", "copying", "recording"])
def test_the_same_command_with_resume_after_a_crash(published, tmp_path, monkeypatch, moment):
    """Whatever is there of what comes from the Hub; once it is recorded, the Hub is not asked for it again."""
    places = {
        "fetching": "mulki_hf.stream.fetch_checkpoint",
        "copying": "mulki_hf.runs.folder.put",
        "recording": "mulki_hf.stream.Stream.save",
    }

    def crash(*args, **kwargs):
        raise KeyboardInterrupt

    options = ["--config", "stream.yaml", "--output_dir", str(tmp_path / "out"), "--resume_from_hub", "org/mulki-task1"]
    with connected(published.env | {"HF_HOME": str(tmp_path / "home")}, published.place):
        with monkeypatch.context() as patch, pytest.raises(SystemExit, match="130"):
            patch.setattr(places[moment], crash)
            main(options)
        main([*options, "--resume"])
        with monkeypatch.context() as patch:
            patch.setattr(places["fetching"], pytest.fail)
            main([*options, "--resume"])
    for file in ("task1-colours/model.safetensors", "task2-shapes/model.safetensors"):
        assert (tmp_path / "out" / file).read_bytes() == (published.out / file).read_bytes()
    assert (tmp_path / "out/task1-colours/manifest.json").is_file()


def test_what_comes_damaged_is_refused(published, tmp_path):
    """By the manifest that came with it."""
    shutil.copytree(published.out / "task1-colours", tmp_path / "out/task1-colours")
    with (tmp_path / "out/task1-colours/preprocessor_config.json").open("a") as file:
        file.write("\n")
    options = ["--config", "stream.yaml", "--output_dir", str(tmp_path / "new"), "--resume_from_hub", "org/torn-task1"]
    with connected(published.env | {"HF_HOME": str(tmp_path / "home")}, published.place):
        with pytest.raises(SystemExit, match="1 of 1 pushes pending"):
            push.main([str(tmp_path / "out"), "--hub_model_id", "org/torn"])
        HfApi().upload_folder(repo_id="org/torn-task1", folder_path=tmp_path / "out/task1-colours")
        with pytest.raises(SystemExit, match="resume_from_hub 'org/torn-task1@.*preprocessor_config.json is damaged"):
            main(options)
    assert not (tmp_path / "new/task1-colours").exists()
