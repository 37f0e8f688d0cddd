"""Runs that are killed while they talk to the Hub: nothing is lost there, and nothing is there twice."""

import json

import pytest
from support.hub import hub_environment, tiny_hub
from support.killing import Phase, Victim, contents, differences


OUTBOX = "mulki_hf.hub.outbox.Outbox"
PUSH = ["--push_to_hub", "--hub_model_id", "org/mulki"]
PUSHING = {
    "the repositories are made": Phase(f"{OUTBOX}.prepare", "after"),
    "before a push is recorded": Phase(f"{OUTBOX}.send_in_background", nth=2),
    "the record, torn": Phase("pathlib.Path.write_text", "torn", nth=2, of="*pushes.json.tmp"),
    "before the commit": Phase("huggingface_hub.HfApi.create_commit", nth=2),
    "after the commit, before the tag": Phase("huggingface_hub.HfApi.create_tag", nth=2),
    "after the tag, before the record": Phase("huggingface_hub.HfApi.create_tag", "after", nth=2),
    "at the end, waiting for the last": Phase(f"{OUTBOX}.wait"),
}
CHECKPOINT = "*/unfinished/writing/task1-colours"
FETCHING = {
    "half of the files are here": Phase("huggingface_hub.file_download._chmod_and_move", nth=7),
    "before they are put in their place": Phase("mulki_hf.runs.folder.RunFolder.take_up"),
    "half of them are copied": Phase("shutil.copyfile", nth=5),
    "before the rename": Phase("os.replace", of=CHECKPOINT),
    "after the rename": Phase("os.replace", "after", of=CHECKPOINT),
    "in the task that follows": Phase("torch.optim.AdamW.step", nth=2),
}


def ours(out) -> dict:
    """What a run left, but for what tells of the hub where it was."""
    found = contents(out)
    pushes = [(push["folder"], push["repo_id"], push["tag"]) for push in json.loads(found.pop("pushes.json"))]
    return {name: content for name, content in found.items() if not name.endswith("README.md")} | {"pushes": pushes}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with tiny_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def pushed(hub, recipe, tmp_path_factory):
    """What a run leaves that nobody touches; its repositories are `org/mulki-task1` and `-task2`."""
    place = tmp_path_factory.mktemp("pushed")
    victim = Victim(place, [*recipe("lora"), *PUSH], hub=hub_environment(hub, place / "home"))
    victim.finishes()
    return ours(victim.out)


@pytest.mark.long
@pytest.mark.parametrize("phase", PUSHING)
def test_while_it_pushes(pushed, recipe, tmp_path, phase):
    with tiny_hub() as hub:
        options = [*recipe("lora"), *PUSH]
        victim = Victim(tmp_path / "run", options, hub=hub_environment(hub, tmp_path / "home"))
        assert victim.killed(PUSHING[phase])
        victim.finishes("--resume")
        assert ours(victim.out) == pushed
        for number, folder in ((1, "task1-colours"), (2, "task2-shapes")):
            for repo, place in (
                (f"org/mulki-task{number}", folder),
                (f"org/mulki-task{number}-lora", f"{folder}/adapter"),
            ):
                repository, there = hub.repositories[repo], hub.files(repo)
                assert repository.made() == [f"Model after {place}"]
                assert repository.tags == {"v1": repository.branches["main"]}
                for name, content in there.items():
                    assert name == ".gitattributes" or content == (victim.out / place / name).read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("phase", FETCHING)
def test_while_it_goes_on_from_the_hub(hub, pushed, recipe, tmp_path, phase):
    options = [*recipe("lora"), "--resume_from_hub", "org/mulki-task1"]
    victim = Victim(tmp_path / "run", options, hub=hub_environment(hub, tmp_path / "home"))
    assert victim.killed(FETCHING[phase])
    victim.finishes("--resume")
    found = ours(victim.out)
    assert {folder: tag for folder, _, tag in found.pop("pushes")} == {
        "task1-colours": None,
        "task1-colours/adapter": None,
    }
    for name, content in found.items():
        assert content == pushed[name] or name.startswith("task1-colours/")
    assert found.keys() == pushed.keys() - {"pushes"}


CLEARING = {
    "before anything goes": Phase("mulki_hf.runs.folder.RunFolder.clear"),
    "the first task's folder is half gone": Phase("shutil.rmtree", "torn", of="*/task1-colours"),
    "the folders are gone": Phase("pathlib.Path.unlink", of="*/results.json"),
    "the results are gone": Phase("pathlib.Path.unlink", "after", of="*/results.json"),
    "in the first task": Phase("torch.optim.AdamW.step", nth=2),
}


@pytest.mark.long
@pytest.mark.parametrize("again", ["--overwrite", "--resume"])
@pytest.mark.parametrize("phase", CLEARING)
def test_while_it_overwrites(whole, recipe, tmp_path, phase, again):
    """Of the run before nothing comes back."""
    before = Victim(tmp_path / "run", [*recipe("mulki"), "--max_steps", "1"])
    before.finishes()
    victim = Victim(tmp_path / "run", recipe("mulki"), tries=1)
    assert victim.killed(CLEARING[phase], "--overwrite")
    victim.finishes(again)
    assert differences(victim.out, whole("mulki")[0]) == []
