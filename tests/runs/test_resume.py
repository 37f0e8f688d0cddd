"""Going on with a stream: in its own folder, or with one that began on another machine."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.interrupt import interrupted
from support.results import as_an_older_version
from support.tiny import save_tiny, stream_writer

from mulki_hf import load_stream
from mulki_hf.config.parser import parse
from mulki_hf.config.recipes import write_recipe
from mulki_hf.errors import ConfigurationError
from mulki_hf.hub.shareable import shareable
from mulki_hf.runs import resume
from mulki_hf.runs.resume import Earlier, find_earlier, start_results
from mulki_hf.train import main


CONNECTED = {"average_every": 1, "merge_alpha": 0.2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tasks_files):
    """The folder of a run that nothing interrupted, whose stage 4 matters."""
    folder = tmp_path_factory.mktemp("whole")
    save_tiny(folder / "tiny-clip")
    main(["--config", str(stream_writer(folder, str(folder), str(tasks_files))(**CONNECTED))])
    return folder / "out"


class TestResume:
    # Four steps; the crash after the last one is a crash during the evaluation that follows.
    @pytest.mark.parametrize("step", [1, 3, 4])
    def test_resumed_equals_uninterrupted(self, stream_yaml, whole, tmp_path, step):
        config = stream_yaml(**CONNECTED)
        interrupted(config, step)
        first_task = tmp_path / "out/task1-colours/model.safetensors"
        written = first_task.stat().st_mtime_ns
        main(["--config", str(config), "--resume"])
        assert first_task.stat().st_mtime_ns == written
        runs = (whole, tmp_path / "out")
        expected, resumed = (load_file(run / "task2-shapes/model.safetensors") for run in runs)
        for name in expected:
            torch.testing.assert_close(expected[name], resumed[name], rtol=0, atol=1e-6)
        results = [json.loads((run / "results.json").read_text()) for run in runs]
        assert results[0]["accuracy"] == results[1]["accuracy"]

    @pytest.mark.parametrize("lora", [{}, {"lora_r": 2}], ids=["full", "LoRA"])
    def test_a_run_that_an_older_version_began(self, stream_yaml, tmp_path, lora):
        """Its results know neither of settings that came later nor of what cards say."""
        config = stream_yaml(**CONNECTED, **lora)
        main(["--config", str(config), "--output_dir", str(tmp_path / "whole")])
        interrupted(config, 3)
        as_an_older_version(tmp_path / "out")
        main(["--config", str(config), "--resume"])
        for name in ("model.safetensors", "prototypes.safetensors", "recipe.yaml"):
            runs = [(tmp_path / run / "task2-shapes" / name).read_bytes() for run in ("whole", "out")]
            assert runs[0].replace(b"/whole", b"/out") == runs[1]
        results = json.loads((tmp_path / "out/results.json").read_text())
        assert results["config"]["snd_gate"] == "sample" and results["about"]["towers"] == "both towers"
        with pytest.raises(SystemExit, match="resume: snd_gate was 'sample' and is now 'batch'"):
            as_an_older_version(tmp_path / "out")
            main(["--config", str(config), "--resume", "--snd_gate", "batch"])

    def test_half_written_checkpoint_is_passed_over(self, stream_yaml, tmp_path):
        config = stream_yaml(average_every=1)
        interrupted(config, 3)
        broken = tmp_path / "out/unfinished/task2-shapes/checkpoint-3"
        shutil.copytree(broken.with_name("checkpoint-2"), broken)
        (broken / "trainer_state.json").unlink()
        (broken / "model.safetensors").write_bytes(b"cut off")
        main(["--config", str(config), "--resume"])
        assert len(json.loads((tmp_path / "out/results.json").read_text())["accuracy"]) == 2

    def test_resume_of_a_finished_run_changes_nothing(self, own_copy):
        folder, options = own_copy
        before = (folder / "results.json").read_text()
        main([*options, "--resume"])
        assert (folder / "results.json").read_text() == before

    def test_resume_refuses_another_configuration(self, own_copy):
        with pytest.raises(SystemExit, match="learning_rate was 0.001 and is now 0.5"):
            main([*own_copy[1], "--resume", "--learning_rate", "0.5"])


@pytest.fixture
def elsewhere(stream_yaml, tasks_files, tmp_path, monkeypatch):
    """After its first task a stream was put on the Hub from a machine with other folders; returns the files there."""
    stream, config = parse(["--config", str(stream_yaml())])
    results = start_results(Earlier(), stream, config, load_stream(stream), None)
    results.zero_shot = [10.0, 20.0]
    results.add({"til": [90.0, 30.0]})
    text = json.dumps(results.config)
    for folder in (tmp_path, tasks_files):
        text = text.replace(str(folder), "/elsewhere/deep/down")
    results.config = shareable(json.loads(text))
    folder = tmp_path / "on-the-hub"
    folder.mkdir()
    results.save(folder)
    write_recipe(results.config, folder / "recipe.yaml")
    monkeypatch.setattr(resume, "pinned", lambda source, token: f"{source}@abc")
    monkeypatch.setattr(resume, "fetch_file", lambda source, name, token: folder / name)
    return folder


def resumed(stream_yaml, *options):
    stream, config = parse(["--config", str(stream_yaml()), "--resume_from_hub", "org/mulki-task1", *options])
    earlier = find_earlier(Path(config.output_dir), stream, None)
    assert earlier.source == "org/mulki-task1@abc"
    return start_results(earlier, stream, config, load_stream(stream), None), config


def test_own_recipe_with_own_folders_goes_on(elsewhere, stream_yaml):
    results, config = resumed(stream_yaml)
    assert (results.finished, results.zero_shot) == (1, [10.0, 20.0])
    # From here on it is this machine's configuration.
    assert results.config["output_dir"] == config.output_dir


def test_a_licence_can_still_be_given(elsewhere, stream_yaml):
    assert resumed(stream_yaml)[0].base.license is None
    assert resumed(stream_yaml, "--license", "mit")[0].base.license == "mit"


def test_another_configuration_is_refused(elsewhere, stream_yaml):
    with pytest.raises(ConfigurationError, match="resume_from_hub: seed was 42 and is now 7"):
        resumed(stream_yaml, "--seed", "7")


def test_the_recipe_alone_can_not_find_a_local_model(elsewhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "on-the-hub")
    stream, config = parse(["--config", str(elsewhere / "recipe.yaml"), "--resume_from_hub", "org/mulki-task1"])
    with pytest.raises(ConfigurationError, match="started from 'tiny-clip', a folder on another machine; give it with"):
        find_earlier(tmp_path / "out", stream, None)


def test_results_of_other_tasks_are_refused(elsewhere, stream_yaml):
    content = json.loads((elsewhere / "results.json").read_text())
    content["tasks"][1]["name"] = "../../shapes"
    (elsewhere / "results.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="the results are of the tasks"):
        resumed(stream_yaml)
