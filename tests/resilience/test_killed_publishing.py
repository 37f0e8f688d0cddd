"""Runs that are killed while they talk to the Hub: nothing is lost there, and nothing is there twice."""

import json

import pytest
from support.hub import hub_environment, tiny_hub
from support.killing import Victim, contents
from support.moments import Phase


pytestmark = pytest.mark.long

OUTBOX, REPLACE = "mulki_hf.hub.outbox.Outbox", "os.replace"
PUSH = ["--push_to_hub", "--hub_model_id", "org/mulki"]
PUSHING = {
    "the repositories are made": Phase(f"{OUTBOX}.prepare", "after"),
    "before a push is recorded": Phase(f"{OUTBOX}.send_in_background"),
    "the record, torn": Phase("pathlib.Path.write_text", "torn", of="*out/pushes.json.tmp"),
    "before the commit": Phase("huggingface_hub.HfApi.create_commit"),
    "after the commit, before the tag": Phase("huggingface_hub.HfApi.create_tag"),
    "after the tag, before the record": Phase("huggingface_hub.HfApi.create_tag", "after"),
    "in the end, when it waits for the last": Phase(f"{OUTBOX}.wait"),
}
CHECKPOINT = "*unfinished/writing/task1-colours"
FETCHING = {
    "half of the files are here": Phase("huggingface_hub.file_download._chmod_and_move", nth=7),
    "before they are put in their place": Phase("mulki_hf.runs.folder.RunFolder.take_up"),
    "they are recorded": Phase("shutil.copytree", of="*"),
    "half of them are copied": Phase("shutil.copyfile", nth=5),
    "before the rename": Phase(REPLACE, of=CHECKPOINT),
    "after the rename": Phase(REPLACE, "after", of=CHECKPOINT),
    "before the results": Phase("mulki_hf.stream.Stream.save"),
    "in the task that follows": Phase("torch.optim.AdamW.step", nth=2),
}


def left(out) -> dict:
    """What a run left, but for what tells of the hub where it was."""
    found = contents(out)
    pushes = [(push["folder"], push["repo_id"], push["tag"]) for push in json.loads(found.pop("pushes.json"))]
    return {name: content for name, content in found.items() if not name.endswith("README.md")} | {"pushes": pushes}


@pytest.fixture(scope="module")
def hub():
    with tiny_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def pushed(hub, recipe, tmp_path_factory):
    """What a run leaves that nobody touches; its repositories are `org/mulki-task1`, `-task1-lora` and so on."""
    place = tmp_path_factory.mktemp("pushed")
    victim = Victim(place, [*recipe("lora", 2), *PUSH], hub=hub_environment(hub, place / "home"))
    victim.finishes()
    return left(victim.out)


def test_while_it_pushes(pushed, recipe, tmp_path):
    """At each of the phases, one after another."""
    with tiny_hub() as hub:
        victim = Victim(
            tmp_path / "run",
            [*recipe("lora", 2), *PUSH],
            hub=hub_environment(hub, tmp_path / "home"),
        )
        more = []
        for phase, killed in PUSHING.items():
            assert victim.killed(killed, *more), f"did not come to: {phase}"
            more = ["--resume"]
        victim.finishes("--resume")
        assert left(victim.out) == pushed
        for folder, repo, _ in pushed["pushes"]:
            repository = hub.repositories[repo]
            assert repository.made() == [f"Model after {folder}"]
            assert repository.tags == {"v1": repository.branches["main"]}
            there = {name: content for name, content in hub.files(repo).items() if name != ".gitattributes"}
            files = [path for path in (victim.out / folder).rglob("*") if path.is_file()]
            assert there == {str(path.relative_to(victim.out / folder)): path.read_bytes() for path in files}


def test_while_it_goes_on_from_the_hub(hub, pushed, recipe, tmp_path):
    options = [*recipe("lora", 2), "--resume_from_hub", "org/mulki-task1"]
    victim, more = Victim(tmp_path / "run", options, hub=hub_environment(hub, tmp_path / "home")), []
    for phase, killed in FETCHING.items():
        assert victim.killed(killed, *more), f"did not come to: {phase}"
        more = ["--resume"]
    victim.finishes("--resume")
    found = left(victim.out)
    # What came from there is not pushed; of what was pushed the card and the names of paths are for others.
    assert [(folder, tag) for folder, _, tag in found.pop("pushes")] == [(name, None) for name in FETCHED]
    assert found.keys() == pushed.keys() - {"pushes"}
    assert [name for name in found if found[name] != pushed[name]] == []


FETCHED = ["task1-colours", "task1-colours/adapter"]
