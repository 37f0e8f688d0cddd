"""Which reference images come with which sample."""

import itertools

import numpy as np
import pytest

from mulki_hf.data.reference import WithReference


class Rows:
    """Samples whose only pixel is their number."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self):
        return self.count

    def __getitems__(self, indices):
        return [{"pixel_values": np.full((1, 1, 1), index), "labels": index} for index in indices]


class TestReference:
    def paired(self, train=7, reference=5, per_sample=2, seed=0, epoch=0, order=None) -> dict[int, list[int]]:
        dataset = WithReference(Rows(train), Rows(reference), per_sample, seed)
        dataset.set_epoch(epoch)
        samples = dataset.__getitems__(order or list(range(train)))
        assert {sample["reference_pixel_values"].shape for sample in samples} == {(per_sample, 1, 1, 1)}
        return {sample["labels"]: sample["reference_pixel_values"].ravel().tolist() for sample in samples}

    def test_depends_on_seed_and_epoch_alone(self):
        base = self.paired(seed=1, epoch=2)
        assert self.paired(seed=1, epoch=2) == base
        assert self.paired(seed=1, epoch=3) != base
        assert self.paired(seed=2, epoch=2) != base

    def test_epochs_can_be_revisited(self):
        dataset = WithReference(Rows(7), Rows(5), 2, seed=0)
        first = dataset.pairing.copy()
        dataset.set_epoch(4)
        assert (dataset.pairing != first).any()
        dataset.set_epoch(0)
        assert (dataset.pairing == first).all()

    def test_independent_of_batch_and_order(self):
        whole = self.paired()
        assert self.paired(order=[6, 2, 0, 4, 1, 5, 3]) == whole
        assert self.paired(order=[3, 5]) == {3: whole[3], 5: whole[5]}
        dataset = WithReference(Rows(7), Rows(5), 2, 0)
        assert dataset[4]["reference_pixel_values"].ravel().tolist() == whole[4]
        assert len(dataset) == 7

    @pytest.mark.parametrize(("train", "reference", "per_sample"), [(7, 5, 2), (3, 20, 4), (6, 1, 2)])
    def test_runs_through_the_whole_set_before_repeating(self, train, reference, per_sample):
        drawn = list(itertools.chain(*self.paired(train, reference, per_sample).values()))
        for start in range(0, len(drawn), reference):
            one_round = drawn[start : start + reference]
            assert len(set(one_round)) == len(one_round)
        assert set(drawn) <= set(range(reference))
