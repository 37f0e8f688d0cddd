"""Select-and-Distill against a plain numpy reading of its equations, gate by gate."""

import pytest
from support.equations import check_halves, close, expected_snd, expected_task

from mulki_hf.objectives import OBJECTIVES
from mulki_hf.objectives.snd import select_and_distill


@pytest.mark.parametrize("gate", ["sample", "batch"])
def test_snd(batch, make_args, gate):
    to_previous, to_original = expected_snd(batch, gate)
    both = select_and_distill(batch.reference, batch.original, batch.previous, gate)
    assert [value.item() for value in both] == close([to_previous, to_original])
    parts = OBJECTIVES["snd"](make_args(method="snd", snd_gate=gate))(batch)
    assert {name: value.item() for name, value in parts.items()} == {
        "task": close(expected_task(batch, 0.0)),
        "previous": close(9 * to_previous),
        "original": close(0.5 * to_original),
    }


def test_the_two_gates_differ(batch):
    sample, mixed = (
        select_and_distill(batch.reference, batch.original, batch.previous, gate) for gate in ("sample", "batch")
    )
    assert all(one.item() != pytest.approx(other.item(), rel=1e-6) for one, other in zip(sample, mixed, strict=True))


@pytest.mark.parametrize("name", ["previous", "original"])
def test_snd_without_one_teacher(batch, make_args, name):
    full = OBJECTIVES["snd"](make_args(method="snd"))(batch)
    parts = OBJECTIVES["snd"](make_args(method="snd", **{f"snd_{name}_weight": 0.0}))(batch)
    assert parts[name].item() == 0
    assert all(parts[other] == full[other] for other in full if other != name)


def test_snd_decomposes_over_the_batch(batch, make_args):
    check_halves(OBJECTIVES["snd"](make_args(method="snd")), batch)
