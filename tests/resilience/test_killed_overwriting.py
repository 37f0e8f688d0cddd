"""Runs that are killed while they clear the folder of another: of that one nothing comes back."""

import shutil

import pytest
from support.killing import Victim, differences
from support.moments import OUT, Phase


pytestmark = pytest.mark.long

FOLDER, UNLINK = "mulki_hf.runs.folder.RunFolder", "pathlib.Path.unlink"
BEFORE = Phase(f"{FOLDER}.clear")
PHASES = {
    "a task's folder is half gone": Phase("shutil.rmtree", "torn", of="*out/task1-colours"),
    "the folders are gone": Phase(UNLINK, of="*out/*.*"),
    "the results are gone": Phase(UNLINK, "after", of="*out/results.json"),
    "in the first task": Phase("torch.optim.AdamW.step", nth=2),
}


@pytest.fixture(scope="module")
def earlier(recipe, tmp_path_factory):
    """The folder of a finished run with other steps."""
    victim = Victim(tmp_path_factory.mktemp("earlier"), [*recipe("mulki", 2), "--max_steps", "1"])
    victim.finishes()
    return victim.out


@pytest.mark.parametrize("phase", PHASES)
def test_goes_on_as_the_new_run(earlier, whole, recipe, tmp_path, phase):
    shutil.copytree(earlier, tmp_path / "run" / OUT)
    victim = Victim(tmp_path / "run", recipe("mulki", 2))
    assert victim.killed(PHASES[phase], "--overwrite")
    victim.finishes("--resume")
    assert differences(victim.out, whole("mulki", 2)[0]) == []


def test_told_to_overwrite_again(earlier, whole, recipe, tmp_path):
    """Until it has begun to, the run before is there to go on with, by its own settings alone."""
    shutil.copytree(earlier, tmp_path / "run" / OUT)
    victim = Victim(tmp_path / "run", recipe("mulki", 2))
    assert victim.killed(BEFORE, "--overwrite")
    assert "resume: max_steps was 1 and is now 3" in victim.refused("--resume")
    assert victim.killed(PHASES["the folders are gone"], "--overwrite")
    assert victim.killed(PHASES["in the first task"], "--overwrite")
    victim.finishes("--overwrite")
    assert differences(victim.out, whole("mulki", 2)[0]) == []
