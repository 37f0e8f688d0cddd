"""A rank that is killed takes the other along; on two ranks again the run ends as one that nobody touched."""

import random

import pytest
from support.killing import Victim, differences
from support.moments import Phase, drawn


# Not beside others of their kind: each takes two cores.
pytestmark = [pytest.mark.xdist_group("ranks"), pytest.mark.long]

CHECKPOINT = "*unfinished/task2-shapes/checkpoint-2"
PHASES = {
    "features of the second rank": (1, Phase("mulki_hf.features.task_features.encode_images", nth=2)),
    "step of the second rank": (1, Phase("torch.optim.AdamW.step", nth=5)),
    "the second rank's part of a checkpoint": (1, Phase("torch.save", of=f"{CHECKPOINT}/rng_state_1.pth")),
    "the first rank's part of it": (0, Phase("torch.save", "torn", of=f"{CHECKPOINT}/optimizer.pt")),
    "between the folder and the results": (0, Phase("mulki_hf.stream.Stream.save")),
}


def test_at_every_phase(whole, recipe, tmp_path):
    victim, more = Victim(tmp_path / "run", recipe("mulki", 2), ranks=2), []
    for phase, (rank, killed) in PHASES.items():
        assert victim.killed(killed, *more, rank=rank), f"did not come to: {phase}"
        more = ["--resume"]
    victim.finishes("--resume")
    assert differences(victim.out, whole("mulki", 2, ranks=2)[0]) == []


@pytest.mark.parametrize("name", ["lora", "crops"])
def test_at_random_moments(whole, recipe, tmp_path, name):
    """Of the first rank, which writes."""
    expected, lines = whole(name, 2, ranks=2)
    victim, more = Victim(tmp_path / "run", recipe(name, 2), ranks=2), []
    for moment in drawn(random.Random(name), lines, 2):
        assert victim.killed(moment, *more)
        more = ["--resume"]
    victim.finishes("--resume")
    assert differences(victim.out, expected) == []
