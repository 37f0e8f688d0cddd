"""What counts is on the disk before it counts: when the power goes, too, nothing half-written is taken for whole."""

import random
from fnmatch import fnmatch

import pytest
from support.killing import Victim, differences
from support.moments import drawn


# Beside those that share its runs.
pytestmark = pytest.mark.xdist_group("test_killed.py")

COUNTING = {
    "results.json": "results.json",
    "a task's folder": "task?-*",
    "a table": "unfinished/cache/*.npy",
    "a checkpoint's manifest": "unfinished/task?-*/checkpoint-*/manifest.json",
    "a task's manifest": "unfinished/writing/task?-*/manifest.json",
}
"""What a run goes on from, by the name that it gets last."""


@pytest.mark.parametrize("which", [pytest.param(("lora", 3), marks=pytest.mark.long), ("mulki", 2)])
def test_what_counts_is_synced_before_it_does_and_its_name_after(whole, which):
    _, lines = whole(*which)
    written: set[str] = set()
    counted = dict.fromkeys(COUNTING, 0)
    for number, (event, *paths) in enumerate(map(str.split, lines)):
        if event == "open":
            written.add(paths[0])
        elif event in ("fsync", "os.remove"):
            written.discard(paths[0])
        elif event == "os.rename":
            source, place = paths
            moved = {file for file in written if file == source or file.startswith(f"{source}/")}
            for kind, pattern in COUNTING.items():
                # `*` fits slashes, too.
                if fnmatch(place, pattern) and place.count("/") == pattern.count("/") and source != place + ".old":
                    counted[kind] += 1
                    whole_folder = place.removesuffix("manifest.json") if "manifest" in kind else source
                    assert not {file for file in written if file.startswith(whole_folder)}, f"{place} counts too early"
                    folder = place.rpartition("/")[0] or "."
                    assert lines[number + 1] == f"fsync {folder}", f"{place} may be lost"
            written = written - moved | {place + file[len(source) :] for file in moved}
    assert all(counted.values())


@pytest.mark.long
@pytest.mark.parametrize(
    ("seed", "which"), [*enumerate([("mulki", 2), ("lora", 3), ("finetune", 2), ("crops", 3), ("snd", 2)])]
)
def test_at_a_random_moment_the_power_goes(whole, recipe, tmp_path, seed, which):
    """Every file that was not synced is empty."""
    expected, lines = whole(*which)
    rng, victim = random.Random(seed), Victim(tmp_path / "run", recipe(*which))
    first, second = drawn(rng, lines, 2, lost="memory")
    assert victim.killed(first)
    assert victim.killed(second, "--resume")
    victim.finishes("--resume")
    assert differences(victim.out, expected) == []
