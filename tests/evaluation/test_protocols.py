"""Who competes with whom: masks over the classes of a stream."""

import numpy as np
import pytest
import torch
from support.launch import python

from mulki_hf.evaluation.protocols import PROTOCOLS


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


def test_need_no_torch():
    python(
        "import sys; from mulki_hf.evaluation.protocols import PROTOCOLS\n"
        "assert len(PROTOCOLS) == 3 and 'torch' not in sys.modules"
    )
