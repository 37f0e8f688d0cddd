"""How an epoch's images are dealt out to ranks."""

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, prepare_data_loader
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import rows
from torch.utils.data import DataLoader, SequentialSampler

from mulki_hf.data.dealing import UNCOUNTED, EvenBatches, WithFillers, counted, deal_evenly


@settings(max_examples=200, deadline=None)
@given(images=st.integers(1, 60), each=st.integers(1, 5), ranks=st.integers(1, 5), drop_last=st.booleans())
def test_every_image_once_in_the_steps_of_one_process(images, each, ranks, drop_last):
    batches = EvenBatches(SequentialSampler(range(images)), each, drop_last, ranks)
    shards = [list(BatchSamplerShard(batches, ranks, rank, even_batches=False)) for rank in range(ranks)]
    together = each * ranks
    whole = [list(range(images))[start : start + together] for start in range(0, images, together)]
    whole = [step for step in whole if len(step) == together or not drop_last]
    assert {len(shard) for shard in shards} == {len(whole)} == {len(batches) // ranks}
    for position, step in enumerate(whole):
        parts = [shard[position] for shard in shards]
        real = [[image for image in part if image < images] for part in parts]
        assert sum(real, []) == step and max(map(len, real)) - min(map(len, real)) <= 1
        # Whoever has none runs one image along, which is marked.
        assert all(own or len(part) == 1 for own, part in zip(real, parts, strict=True))


@pytest.mark.parametrize("split", [False, True])
def test_of_a_loader_that_accelerate_prepared(split):
    """Also where batches are those of all ranks, which accelerate would fill up, too."""
    seen = []
    for rank in range(2):
        loader = DataLoader(range(9), batch_size=8 if split else 4)
        loader = prepare_data_loader(loader, num_processes=2, process_index=rank, split_batches=split)
        seen.append([*deal_evenly(loader).batch_sampler])
    assert seen == [[[0, 1, 2, 3], [8]], [[4, 5, 6, 7], [9 + 8]]]


def test_one_rank_keeps_its_loader():
    loader = DataLoader(range(9), batch_size=4)
    assert deal_evenly(loader) is loader and [len(batch) for batch in loader] == [4, 4, 1]


def test_fillers_are_images_that_do_not_count():
    data = rows(["red", "blue"], 2, seed=0).rename_column("label", "labels")
    samples = WithFillers(data)
    assert len(samples) == 4 and samples[1]["labels"] == 1
    (filler,) = samples.__getitems__([5])
    assert filler["labels"] == UNCOUNTED and filler["image"] == samples[1]["image"]
    assert counted(torch.tensor([0, UNCOUNTED, 3])).tolist() == [True, False, True]
