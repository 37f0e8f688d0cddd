"""A rank that is killed takes the other along; on two ranks again the run ends as one that nobody touched."""

import random

import pytest
from support.killing import Phase, Victim, differences, drawn


# Not beside others of their kind: each takes two cores.
pytestmark = [pytest.mark.xdist_group("ranks"), pytest.mark.long]

PHASES = {
    "step of the second rank": (1, Phase("torch.optim.AdamW.step", nth=5)),
    "checkpoint, by the first rank": (0, Phase("torch.save", "torn", of="*task2-shapes/checkpoint-2/optimizer.pt")),
    "checkpoint, the second rank's own part": (1, Phase("torch.save", of="*task2-shapes/checkpoint-2/rng_state_1.pth")),
    "teacher's features of the second rank": (1, Phase("mulki_hf.features.task_features.encode_images", nth=2)),
    "between the folder and the results": (0, Phase("mulki_hf.stream.Stream.save", nth=3)),
}


@pytest.mark.parametrize("phase", PHASES)
def test_at_a_phase(whole, recipe, tmp_path, phase):
    victim, (rank, moment) = Victim(tmp_path / "run", recipe("mulki"), ranks=2), PHASES[phase]
    assert victim.killed(moment, rank=rank)
    victim.finishes("--resume")
    assert differences(victim.out, whole("mulki", ranks=2)[0]) == []


@pytest.mark.parametrize(("seed", "which"), [(20, ("lora", 2)), (21, ("crops", 2))])
def test_at_random_moments(whole, recipe, tmp_path, seed, which):
    expected, lines = whole(*which, ranks=2)
    rng, victim = random.Random(seed), Victim(tmp_path / "run", recipe(*which), ranks=2)
    (moment,) = drawn(rng, lines, 1)
    assert victim.killed(moment)
    victim.finishes("--resume")
    assert differences(victim.out, expected) == []
