"""Wherever a run stops: the newest whole checkpoint is taken, and nothing is drawn otherwise than without a stop."""

import shutil

import numpy as np
import pytest
import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.utils import DataLoaderConfiguration
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.tiny import rows, tiny_processor
from torch.utils.data import DataLoader, Dataset

from mulki_hf.data.crops import RandomCrops
from mulki_hf.data.reference import WithImages
from mulki_hf.data.views import Views
from mulki_hf.features.prompt_banks import PromptBank
from mulki_hf.manifest import write_manifest
from mulki_hf.runs.checkpoints import last_checkpoint


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def gone(path):
    path.unlink()


FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
HARM = {"whole": None, "without a manifest": None, "cut": cut, "changed": flip, "gone": gone}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A whole one, to be copied."""
    folder = tmp_path_factory.mktemp("whole") / "checkpoint"
    folder.mkdir()
    save_file({"weight": torch.ones(4)}, folder / "model.safetensors")
    for name in FILES[1:4]:
        torch.save({"state": torch.ones(4)}, folder / name)
    (folder / "trainer_state.json").write_text('{"global_step": 1}')
    write_manifest(folder)
    return folder


states = st.dictionaries(st.integers(1, 2000), st.tuples(st.sampled_from([*HARM]), st.sampled_from(FILES)), max_size=5)


@given(states)
def test_the_newest_whole_checkpoint_is_taken(checkpoint, tmp_path_factory, states):
    """By its step, not by its name or age; others are passed over, whatever happened to which file."""
    work = tmp_path_factory.mktemp("work")
    for step, (state, file) in states.items():
        folder = shutil.copytree(checkpoint, work / f"checkpoint-{step}")
        if state == "without a manifest":
            (folder / "manifest.json").unlink()
        elif HARM[state] is not None:
            HARM[state](folder / file)
    (work / "checkpoint-x").mkdir()
    whole = [step for step, (state, _) in states.items() if state == "whole"]
    assert last_checkpoint(work) == (str(work / f"checkpoint-{max(whole)}") if whole else None)
    shutil.rmtree(work)


class Numbers(Dataset):
    """A sample for each number."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, indices):
        return [{"pixel_values": torch.full((3, 4, 4), float(index)), "row": index} for index in indices]


seeds, epochs = st.integers(0, 2**32 - 1), st.integers(0, 50)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 90), seeds, st.lists(epochs, min_size=1, max_size=5))
def test_a_pairing_is_of_seed_and_epoch_alone(count, others, brought, seed, visited):
    """Not of the epochs before: one that begins in an epoch pairs as one that came there."""
    samples = WithImages(Numbers(count), Numbers(others), brought, seed)
    for epoch in visited:
        samples.set_epoch(epoch)
    fresh = WithImages(Numbers(count), Numbers(others), brought, seed)
    fresh.set_epoch(visited[-1])
    pairs = [samples.paired(row) for row in range(count)]
    assert pairs == [fresh.paired(row) for row in range(count)]
    drawn = np.array(sum(pairs, []), dtype=int)
    assert len(drawn) == brought and np.bincount(drawn, minlength=others).max() - (brought // others) in (0, 1)
    assert {len(own) for own in pairs} <= {brought // count, -(-brought // count)}


@given(st.integers(0, 60), st.integers(0, 60), seeds, st.lists(st.integers(0, 500), min_size=1, max_size=6))
def test_prompts_are_of_seed_and_step_alone(count, per_step, seed, steps):
    bank = PromptBank(torch.zeros(count, 3), per_step, (seed, 1))
    numbers = torch.arange(count)
    seen = [bank.of_step(numbers, step).tolist() for step in steps]
    for step, own in zip(steps, seen, strict=True):
        assert own == PromptBank(torch.zeros(count, 3), per_step, (seed, 1)).of_step(numbers, step).tolist()
        assert len({*own}) == len(own) == bank.drawn


@given(st.integers(1, 20), st.integers(1, 40), seeds, st.data())
def test_a_view_is_of_seed_and_number_alone(images, count, seed, data):
    number = data.draw(st.integers(0, count - 1))
    others = data.draw(st.lists(st.integers(0, count - 1), max_size=4))
    alone = Views(Numbers(images), count, seed)[number]["pixel_values"]
    among = Views(Numbers(images), count, seed).__getitems__([*others, number])[-1]["pixel_values"]
    assert torch.equal(alone, among) and alone.shape == (3, 4, 4)


@settings(max_examples=20)
@given(seeds, st.lists(epochs, min_size=1, max_size=3), st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_a_crop_is_of_seed_epoch_and_row_alone(seed, visited, indices):
    data, processor = rows(["red", "blue"], 3, 0), tiny_processor().image_processor
    crops, fresh = (RandomCrops(data, processor, 0.3, seed) for _ in range(2))
    for epoch in visited:
        crops.set_epoch(epoch)
        several = crops.__getitems__(indices)
    fresh.set_epoch(visited[-1])
    for row, sample in zip(indices, several, strict=True):
        assert torch.equal(torch.as_tensor(fresh[row]["pixel_values"]), torch.as_tensor(sample["pixel_values"]))


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 3), st.booleans(), st.integers(0, 1000), st.data())
def test_what_is_left_of_an_epoch_is_what_would_have_come(count, size, epoch, drop_last, seed, data):
    """The order of training images, as Trainer has it of accelerate: after any step of any epoch, in a new process."""

    def loader():
        settings = DataLoaderConfiguration(use_seedable_sampler=True, data_seed=seed)
        made = DataLoader(range(count), size, shuffle=True, drop_last=drop_last)
        return Accelerator(cpu=True, dataloader_config=settings).prepare(made)

    whole = loader()
    for number in range(epoch + 1):
        whole.set_epoch(number)
        batches = [batch.tolist() for batch in whole]
    done = data.draw(st.integers(0, len(batches)))
    resumed = loader()
    resumed.set_epoch(epoch)
    left = skip_first_batches(resumed, done)
    assert [batch.tolist() for batch in left] == batches[done:]
    assert sorted(sum(batches, [])) == [*range(count)] or drop_last
