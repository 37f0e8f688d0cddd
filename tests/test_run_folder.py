"""Going on with a stream that began on another machine."""

import json
from pathlib import Path

import pytest

from mulki_hf import load_stream
from mulki_hf.config.parser import parse
from mulki_hf.config.recipes import write_recipe
from mulki_hf.errors import ConfigurationError
from mulki_hf.hub.shareable import shareable
from mulki_hf.runs import resume
from mulki_hf.runs.resume import Earlier, find_earlier, start_results


@pytest.fixture
def elsewhere(stream_yaml, tmp_path, monkeypatch):
    """After its first task a stream was put on the Hub from a machine with other folders; returns the files there."""
    stream, config = parse(["--config", str(stream_yaml())])
    results = start_results(Earlier(), stream, config, load_stream(stream), None)
    results.zero_shot = [10.0, 20.0]
    results.add({"til": [90.0, 30.0]})
    text = json.dumps(results.config).replace(str(tmp_path), "/elsewhere/deep/down")
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
