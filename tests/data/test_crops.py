"""Random crops: how large they are, and that they depend on seed, epoch and row alone."""

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image
from support.tiny import tiny_processor

from mulki_hf.data.crops import RandomCrops, random_resized_crop
from mulki_hf.data.images import image_transform
from mulki_hf.data.reference import WithImages
from mulki_hf.data.tables import WithTables


def ramp(width: int, height: int) -> Image.Image:
    """Red tells a pixel's column, green its row, two levels a pixel."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = 2 * np.arange(width)
    pixels[..., 1] = 2 * np.arange(height)[:, None]
    return Image.fromarray(pixels)


def crop_size(crop: Image.Image) -> tuple[float, float]:
    """Width and height of the region that a crop of a `ramp` shows, by the slopes in its middle."""
    pixels, side = np.asarray(crop, dtype=float), crop.width
    low, high = side // 4, side - side // 4
    width = (pixels[:, high, 0] - pixels[:, low, 0]).mean() / 2 * side / (high - low)
    height = (pixels[high, :, 1] - pixels[low, :, 1]).mean() / 2 * side / (high - low)
    return width, height


class TestCrop:
    @pytest.mark.parametrize("min_area", [0.25, 0.6])
    def test_of_a_square_image(self, min_area):
        rng = np.random.default_rng(0)
        sizes = np.array([crop_size(random_resized_crop(ramp(120, 120), min_area, 32, rng)) for _ in range(100)])
        shares, ratios = sizes.prod(axis=1) / 120**2, sizes[:, 0] / sizes[:, 1]
        assert min_area - 0.02 < shares.min() < min_area + 0.1
        assert 0.85 < shares.max() < 1.02
        assert 3 / 4 - 0.03 < ratios.min() < 0.85 and 1.18 < ratios.max() < 4 / 3 + 0.03

    @pytest.mark.parametrize(("width", "height", "min_area"), [(120, 120, 1.0), (120, 30, 0.9)])
    def test_keeps_its_share_of_the_area(self, width, height, min_area):
        rng = np.random.default_rng(0)
        crops = [crop_size(random_resized_crop(ramp(width, height), min_area, 32, rng)) for _ in range(50)]
        assert min(w * h for w, h in crops) > (min_area - 0.05) * width * height

    def test_has_the_side_asked_for_and_moves(self):
        rng = np.random.default_rng(0)
        crops = [random_resized_crop(ramp(50, 40), 0.5, 16, rng) for _ in range(5)]
        assert {crop.size for crop in crops} == {(16, 16)}
        assert len({crop.tobytes() for crop in crops}) == 5


class TestCrops:
    """Of five rows that all show the same."""

    def rows(self) -> Dataset:
        features = Features({"image": ImageFeature(), "label": Value("int64")})
        return Dataset.from_dict({"image": [ramp(40, 24)] * 5, "label": [3, 1, 4, 1, 5]}, features=features)

    def crops(self, seed=0, epoch=0, order=range(5), wrap=lambda samples: samples) -> list[bytes]:
        samples = wrap(RandomCrops(self.rows(), tiny_processor().image_processor, 0.3, seed))
        samples.set_epoch(epoch)
        return [sample["pixel_values"].numpy().tobytes() for sample in samples.__getitems__(list(order))]

    def test_samples_are_the_models_but_for_the_crop(self):
        processor, rows = tiny_processor().image_processor, self.rows()
        plain, cropped = rows.with_transform(image_transform(processor)), RandomCrops(rows, processor, 0.3, 0)
        assert len(cropped) == 5 and cropped[2].keys() == plain[2].keys()
        assert [sample["labels"] for sample in cropped.__getitems__([0, 4])] == [3, 5]
        assert cropped[2]["pixel_values"].shape == plain[2]["pixel_values"].shape == (3, 16, 16)
        assert not torch.equal(cropped[2]["pixel_values"], plain[2]["pixel_values"])

    def test_are_a_function_of_seed_epoch_and_row(self):
        first = self.crops()
        assert len(set(first)) == 5
        torch.manual_seed(1)
        assert self.crops() == first
        assert self.crops(order=[4, 0]) == [first[4], first[0]]
        for other in (self.crops(seed=1), self.crops(epoch=1)):
            assert not set(other) & set(first)

    def test_hear_of_the_epoch_through_what_wraps_them(self):
        def wrapped(samples):
            return WithImages(WithTables(samples, {}), samples, len(samples), seed=0)

        assert self.crops(epoch=2, wrap=wrapped) == self.crops(epoch=2) != self.crops(wrap=wrapped)
