"""The running mean against the plain formula, in memory and on disk."""

import itertools
from functools import partial

import pytest
import torch
from support.layers import copied, make_model
from torch import nn
from transformers import TrainerControl, TrainerState

from mulki_hf import ConfigurationError
from mulki_hf.adaptation.averaging import AveragingCallback, MappedTensors, WeightAverage


def trained(model: nn.Module):
    """What an adaptation would name."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


@torch.no_grad()
def apply(model: nn.Module, average: WeightAverage) -> None:
    """The average as the model's weights."""
    for name, parameter in trained(model):
        parameter.copy_(average.average[name])


@torch.no_grad()
def move(model: nn.Module) -> None:
    """Something like an optimizer step."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter))


@pytest.fixture(params=["memory", "disk"])
def started(request, tmp_path):
    """Makes a started average, kept in memory or on disk."""
    numbers = itertools.count()

    def make(model: nn.Module, every: int) -> WeightAverage:
        folder = tmp_path / f"average-{next(numbers)}" if request.param == "disk" else None
        average = WeightAverage(lambda: trained(model), every, folder)
        average.start()
        return average

    return make


def walk(model: nn.Module, average: WeightAverage, steps: range) -> list[dict]:
    snapshots = []
    for step in steps:
        move(model)
        average.step(step)
        snapshots.append(copied(model))
    return snapshots


class TestWeightAverage:
    @pytest.mark.parametrize("every", [1, 3])
    def test_is_the_mean_of_the_start_and_every_nth_step(self, started, every):
        model = make_model()
        start = copied(model)
        average = started(model, every)
        snapshots = walk(model, average, range(1, 12))
        taken = [start, *(snapshots[step - 1] for step in range(1, 12) if step % every == 0)]
        apply(model, average)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, torch.stack([one[name] for one in taken]).mean(dim=0))

    def test_start_alone_before_the_first_sample(self, started):
        model = make_model()
        start = copied(model)
        average = started(model, every=10)
        walk(model, average, range(1, 10))
        apply(model, average)
        torch.testing.assert_close(copied(model), start, rtol=0, atol=0)

    @pytest.mark.parametrize(
        ("every", "steps", "taken"), [(10, 4, [4]), (4, 4, [4]), (2, 5, [2, 4, 5]), (10, 19, [10, 19])]
    )
    def test_the_last_weights_are_a_sample(self, started, every, steps, taken):
        """Wherever training ends: also before the first sample's turn, and behind the last one's."""
        model = make_model()
        start = copied(model)
        average = started(model, every)
        snapshots = walk(model, average, range(1, steps + 1))
        samples = [start, *(snapshots[step - 1] for step in taken)]
        expected = {name: torch.stack([one[name] for one in samples]).mean(dim=0) for name in start}
        before = {name: value.clone() for name, value in average.average.items()}
        for name, value in average.as_if_last(steps).items():
            torch.testing.assert_close(value, expected[name])
            assert torch.equal(average.average[name], before[name])
        average.last(steps)
        apply(model, average)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, expected[name])

    def test_training_that_begins_again_begins_its_average_again(self, started):
        """As with auto_find_batch_size, whose first try did not fit."""
        model = make_model()
        average = started(model, every=1)
        callback, control = AveragingCallback(average), TrainerControl()
        callback.on_train_begin(None, TrainerState(), control)
        walk(model, average, range(1, 3))
        start = copied(model)
        callback.on_train_begin(None, TrainerState(), control)
        last = walk(model, average, range(1, 2))[0]
        apply(model, average)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, (start[name] + last[name]) / 2)

    def test_training_goes_on_from_the_current_weights(self, started):
        model = make_model()
        average = started(model, every=1)
        before = walk(model, average, range(1, 3))[-1]
        torch.testing.assert_close(copied(model), before, rtol=0, atol=0)

    def test_resumes_from_disk(self, started, tmp_path):
        model = make_model()
        average = started(model, every=2)
        walk(model, average, range(1, 6))
        average.save(tmp_path / "checkpoint-5")
        resumed_model = make_model()
        resumed_model.load_state_dict(model.state_dict())
        resumed = started(resumed_model, every=2)
        resumed.load(tmp_path / "checkpoint-5")
        for one, its_average in ((model, average), (resumed_model, resumed)):
            torch.manual_seed(7)
            walk(one, its_average, range(6, 11))
            apply(one, its_average)
        torch.testing.assert_close(copied(resumed_model), copied(model), rtol=0, atol=0)

    def test_frozen_parameters_are_neither_kept_nor_touched(self, started):
        model = make_model()
        average = started(model, every=1)
        assert set(average.average) == {"0.weight", "0.bias"}
        walk(model, average, range(1, 3))
        with torch.no_grad():
            model[1].weight.fill_(5)
        apply(model, average)
        assert (model[1].weight == 5).all()

    def test_average_of_half_precision_weights_is_kept_in_fp32(self, started):
        model = make_model().bfloat16()
        average = started(model, every=1)
        start = model[0].weight.detach().float().clone()
        with torch.no_grad():
            model[0].weight.add_(0.125)
        average.step(1)
        expected = (start + model[0].weight.detach().float()) / 2
        torch.testing.assert_close(average.average["0.weight"], expected, rtol=0, atol=1e-7)
        apply(model, average)
        assert model[0].weight.dtype == torch.bfloat16

    def test_start_forgets_what_was(self, started):
        model = make_model()
        average = started(model, every=1)
        walk(model, average, range(1, 4))
        average.start()
        before = copied(model)
        apply(model, average)
        torch.testing.assert_close(copied(model), before, rtol=0, atol=0)

    def test_one_kept_on_disk_goes_on_in_memory(self, tmp_path):
        """A run may be resumed with another `average_on_disk`."""
        model = make_model()
        kept = [WeightAverage(lambda: trained(model), 1, folder) for folder in (tmp_path / "average", None)]
        for average in kept:
            average.start()
        walk(model, kept[0], range(1, 4))
        kept[0].save(tmp_path / "checkpoint-3")
        kept[1].load(tmp_path / "checkpoint-3")
        for name, value in kept[0].average.items():
            assert torch.equal(value, kept[1].average[name])

    @pytest.mark.parametrize("left", [None, "0.bias"])
    def test_a_checkpoint_without_it_is_refused(self, started, tmp_path, left):
        average = started(make_model(), every=1)
        if left:
            MappedTensors.write(tmp_path / "checkpoint-3/weight_average", [(left, torch.zeros(4))])
        with pytest.raises(ConfigurationError, match="checkpoint-3.* does not hold the weight average of this model"):
            average.load(tmp_path / "checkpoint-3")

    def test_disk_is_given_back(self, tmp_path):
        average = WeightAverage(partial(trained, make_model()), 1, tmp_path / "average")
        assert not (tmp_path / "average").exists()
        average.start()
        assert len(list((tmp_path / "average").glob("*.npy"))) == 2
        average.clear()
        assert not (tmp_path / "average").exists()


def test_mapped_tensors_are_their_files(tmp_path):
    mapped = MappedTensors.write(tmp_path / "folder", {"a.b": torch.arange(3), "c": torch.ones(2, 2)}.items())
    mapped["a.b"].add_(1)
    MappedTensors(tmp_path / "folder", mode="c")["a.b"].add_(1)
    assert MappedTensors(tmp_path / "folder")["a.b"].tolist() == [1, 2, 3]
    assert list(mapped) == ["a.b", "c"] and len(mapped) == 2 and "a" not in mapped
    assert mapped.lacking() == []
    (tmp_path / "folder/c.npy").unlink()
    assert mapped.lacking() == ["c.npy"]
    (tmp_path / "folder/names.json").unlink()  # as in folders of older versions
    assert mapped.lacking() == []
    MappedTensors.write(tmp_path / "folder", {"d": torch.zeros(1)}.items())
    assert list(mapped) == ["d"]
