"""Views of images: what they do to one, and that each is what it is wherever it is asked for."""

import numpy as np
import pytest
import torch

from mulki_hf.data.views import KINDS, Views, cut_out, inverted, mixed, recoloured, shuffled


def image(seed: int, height: int = 9, width: int = 8) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(3, height, width)).astype("float32"))


class Images:
    def __init__(self, count: int = 5):
        self.images = [image(seed) for seed in range(count)]

    def __len__(self):
        return len(self.images)

    def __getitems__(self, indices):
        return [{"pixel_values": self.images[index], "labels": index} for index in indices]


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def values(tensor: torch.Tensor) -> list[float]:
    return sorted(tensor.flatten().tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_keeps_the_shape_and_the_image(kind):
    for shape in [(9, 8), (32, 32), (1, 1), (3, 3)]:
        one, other = image(0, *shape), image(1, *shape)
        before = one.clone(), other.clone()
        view = kind(one, other, rng()) if kind is mixed else kind(one, rng())
        assert view.shape == one.shape and view.dtype == one.dtype and view.isfinite().all()
        assert torch.equal(one, before[0]) and torch.equal(other, before[1])


def test_what_each_kind_does():
    one, other = image(0, 8, 8), image(1, 8, 8)
    assert torch.equal(inverted(one, rng()), -one)
    assert values(shuffled(one, rng())) == values(one)
    assert not torch.equal(shuffled(one, rng()), one)
    share = ((mixed(one, other, rng()) - one) / (other - one)).flatten()
    assert 0.3 <= share.mean() <= 0.7 and share.std() < 1e-3
    cut = cut_out(one, rng())
    assert cut.min() >= one.min() and cut.max() <= one.max()


def test_other_colours_are_those_of_channels():
    one = image(0, 8, 8)
    view = recoloured(one, rng())
    # Each channel is one of the image's, stretched and moved.
    related = np.corrcoef(torch.cat([view, one]).flatten(1).numpy())[:3, 3:]
    assert sorted(related.argmax(axis=1)) == [0, 1, 2] and related.max(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    grey = one[:1].expand(3, -1, -1)
    assert not torch.allclose(recoloured(grey, rng()), grey)


def test_an_image_is_read_once_but_for_mixtures():
    images, read = Images(), []
    images.__class__ = type(
        "Counted", (Images,), {"__getitems__": lambda self, i: read.extend(i) or Images.__getitems__(self, i)}
    )
    Views(images, 60, seed=0).__getitems__(list(range(60)))
    assert 60 < len(read) < 90


def test_a_view_is_a_function_of_seed_and_number_alone():
    views = Views(Images(20), 40, seed=1)
    whole = torch.stack([sample["pixel_values"] for sample in views.__getitems__(list(range(40)))])
    assert len(views) == len(whole) == 40
    for number, again in zip([7, 3, 39], views.__getitems__([7, 3, 39]), strict=True):
        assert torch.equal(again["pixel_values"], whole[number])
    assert torch.equal(views[5]["pixel_values"], whole[5])
    assert len({tuple(view.flatten().tolist()) for view in whole}) > 30
    other = torch.stack([sample["pixel_values"] for sample in Views(Images(20), 40, 2).__getitems__(list(range(40)))])
    assert not torch.equal(other, whole)
