"""Teachers are told apart by their weights."""

import copy

import torch
from support.tiny import tiny_model

from mulki_hf.adaptation.teacher import weights_fingerprint


class TestFingerprint:
    def test_of_equal_and_of_other_weights(self):
        assert weights_fingerprint(tiny_model()) == weights_fingerprint(copy.deepcopy(tiny_model()))
        assert weights_fingerprint(tiny_model()) != weights_fingerprint(tiny_model(1))
        nudged = tiny_model()
        with torch.no_grad():
            nudged.visual_projection.weight[0, 0] += 1e-6
        assert weights_fingerprint(nudged) != weights_fingerprint(tiny_model())
