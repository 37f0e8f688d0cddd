"""Which images come with which sample, and how they make a batch."""

import itertools

import numpy as np
import pytest
import torch

from mulki_hf.data.reference import WithImages, collate
from mulki_hf.objectives.batch import IMAGE_PARTS


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
        dataset = WithImages(Rows(train), Rows(reference), per_sample * train, seed)
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
        dataset = WithImages(Rows(7), Rows(5), 14, seed=0)

        def pairing(epoch):
            dataset.set_epoch(epoch)
            return [dataset.paired(index) for index in range(7)]

        first = pairing(0)
        assert pairing(4) != first == pairing(0)

    def test_independent_of_batch_and_order(self):
        whole = self.paired()
        assert self.paired(order=[6, 2, 0, 4, 1, 5, 3]) == whole
        assert self.paired(order=[3, 5]) == {3: whole[3], 5: whole[5]}
        dataset = WithImages(Rows(7), Rows(5), 14, 0)
        assert dataset[4]["reference_pixel_values"].ravel().tolist() == whole[4]
        assert len(dataset) == 7

    @pytest.mark.parametrize(("train", "reference", "per_sample"), [(7, 5, 2), (3, 20, 4), (6, 1, 2)])
    def test_runs_through_the_whole_set_before_repeating(self, train, reference, per_sample):
        drawn = list(itertools.chain(*self.paired(train, reference, per_sample).values()))
        for start in range(0, len(drawn), reference):
            one_round = drawn[start : start + reference]
            assert len(set(one_round)) == len(one_round)
        assert set(drawn) <= set(range(reference))


class TestFewerThanSamples:
    def numbers(self, count: int, epoch: int = 0, indices=range(12)) -> dict[int, list[int]]:
        dataset = WithImages(Rows(12), Rows(3), count, seed=0, kind="views")
        dataset.set_epoch(epoch)
        samples = dataset.__getitems__(list(indices))
        return {s["labels"]: s["views_pixel_values"].ravel().tolist() for s in samples if "views_pixel_values" in s}

    @pytest.mark.parametrize(("count", "counts"), [(3, [1] * 3), (18, [1] * 6 + [2] * 6), (1, [1])])
    def test_so_many_in_every_epoch(self, count, counts):
        for epoch in range(3):
            assert sorted(map(len, self.numbers(count, epoch).values())) == counts

    def test_epochs_take_turns(self):
        epochs = [self.numbers(3, epoch) for epoch in range(20)]
        assert set().union(*epochs) == set(range(12))
        assert all(sorted(itertools.chain(*drawn.values())) == [0, 1, 2] for drawn in epochs)

    def test_independent_of_batch_and_order(self):
        whole = self.numbers(3)
        parts = [self.numbers(3, indices=indices) for indices in ([11, 3, 5], [0, 1, 2, 4, 6, 7, 8, 9, 10])]
        assert parts[0] | parts[1] == whole


class TestCollate:
    def test_images_beside_stand_one_after_another(self):
        samples = WithImages(Rows(4), Rows(3), 6, seed=0, kind="views").__getitems__([0, 1, 2, 3])
        batch = collate(samples)
        assert batch["pixel_values"].shape == (4, 1, 1, 1) and batch["labels"].tolist() == [0, 1, 2, 3]
        assert torch.equal(batch["views_pixel_values"], torch.cat([s["views_pixel_values"] for s in samples]))
        assert len(batch["views_pixel_values"]) == 6

    def test_of_samples_without(self):
        assert set(collate(Rows(4).__getitems__([0, 3]))) == {"pixel_values", "labels"}

    def test_a_collator_of_ones_own_sees_the_samples_alone(self):
        seen = []
        samples = WithImages(Rows(4), Rows(3), 6, seed=0).__getitems__([0, 1])
        batch = collate(samples, lambda own: seen.append(own) or {"own": len(own)})
        assert [set(sample) for sample in seen[0]] == [{"pixel_values", "labels"}] * 2
        assert set(batch) == {"own", "reference_pixel_values", "reference_labels"}


def test_reference_images_and_views_are_drawn_apart():
    pairings = [[WithImages(Rows(9), Rows(9), 9, 0, kind).paired(n) for n in range(9)] for kind in IMAGE_PARTS]
    assert pairings[0] != pairings[1]
