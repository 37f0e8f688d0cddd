"""Who competes with whom: masks over the classes of a stream."""

import numpy as np
import pytest
import torch
from support.launch import python

from mulki_hf.errors import ConfigurationError
from mulki_hf.evaluation.protocols import PROTOCOLS, EvaluationArguments


OWNER = [0, 0, 1, 2, 2]


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
@pytest.mark.parametrize(
    ("protocol", "position", "learned", "rivals"),
    [
        ("til", 1, 0, [2]),
        ("til", 1, 3, [2]),
        ("cil", 2, 0, [3, 4]),
        ("cil", 2, 1, [0, 1, 3, 4]),
        ("cil", 0, 2, [0, 1, 2]),
        ("xtail", 1, 0, [0, 1, 2, 3, 4]),
        ("xtail", 0, 2, [0, 1, 2, 3, 4]),
    ],
)
def test_masks(kind, protocol, position, learned, rivals):
    mask = PROTOCOLS[protocol].mask(kind(OWNER), position, learned)
    assert [number for number, competes in enumerate(mask.tolist()) if competes] == rivals


class TestArguments:
    @pytest.mark.parametrize(
        "given",
        [["til", "cil", "xtail"], ["til,cil,xtail"], ["til,", "cil", ",xtail"], ["til cil", "xtail"], "til,cil,xtail"],
    )
    def test_however_they_are_listed_they_keep_their_order(self, given):
        assert EvaluationArguments(given).protocols == ["til", "cil", "xtail"]

    def test_one_is_the_default(self):
        assert EvaluationArguments().protocols == ["til"]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["til", "all"], "protocols must be of til, cil, xtail, got 'all'"),
            (["TIL"], "protocols must be of til, cil, xtail, got 'TIL'"),
            (["til", "cil,til"], "protocols must differ from each other, got 'til' twice"),
            ([], r"protocols must name at least one of til, cil, xtail, got \[\]"),
            ([""], r"protocols must name at least one of til, cil, xtail, got \[''\]"),
            ([","], "protocols must name at least one"),
        ],
    )
    def test_unknown_repeated_or_none(self, given, message):
        with pytest.raises(ConfigurationError, match=message):
            EvaluationArguments(given)


def test_need_no_torch():
    python(
        "import sys; from mulki_hf.evaluation.protocols import PROTOCOLS\n"
        "assert len(PROTOCOLS) == 3 and 'torch' not in sys.modules"
    )
