"""Images become pixel values: crops, the model's own transform, decoded once."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny import COLOURS, rows, tiny_processor

from mulki_hf.data.images import cached_images, image_transform, random_resized_crop


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


class TestTransform:
    @pytest.mark.parametrize("min_area", [0.25, 0.6])
    def test_crop_of_a_square_image(self, min_area):
        torch.manual_seed(0)
        sizes = np.array([crop_size(random_resized_crop(ramp(120, 120), min_area, 32)) for _ in range(100)])
        shares, ratios = sizes.prod(axis=1) / 120**2, sizes[:, 0] / sizes[:, 1]
        assert min_area - 0.02 < shares.min() < min_area + 0.1
        assert 0.85 < shares.max() < 1.02
        assert 3 / 4 - 0.03 < ratios.min() < 0.85 and 1.18 < ratios.max() < 4 / 3 + 0.03

    @pytest.mark.parametrize(("width", "height", "min_area"), [(120, 120, 1.0), (120, 30, 0.9)])
    def test_crop_keeps_its_share_of_the_area(self, width, height, min_area):
        torch.manual_seed(0)
        crops = [crop_size(random_resized_crop(ramp(width, height), min_area, 32)) for _ in range(50)]
        assert min(w * h for w, h in crops) > (min_area - 0.05) * width * height

    def test_crop_has_the_side_asked_for_and_moves(self):
        torch.manual_seed(0)
        crops = [random_resized_crop(ramp(50, 40), 0.5, 16) for _ in range(5)]
        assert {crop.size for crop in crops} == {(16, 16)}
        assert len({crop.tobytes() for crop in crops}) == 5

    def test_crop_follows_the_torch_seed(self):
        def crops(seed):
            torch.manual_seed(seed)
            return [random_resized_crop(ramp(50, 40), 0.3, 16).tobytes() for _ in range(3)]

        assert crops(5) == crops(5) != crops(6)

    def test_transform_is_the_models_processor(self, processor):
        image = ramp(40, 24)
        batch = {"image": [image, image.convert("L")], "label": [1, 0]}
        ours = image_transform(processor.image_processor)(batch)
        for pixels, given in zip(ours["pixel_values"], batch["image"], strict=True):
            expected = processor.image_processor(given.convert("RGB"), return_tensors="pt")["pixel_values"][0]
            torch.testing.assert_close(pixels, expected, rtol=0, atol=0)
        assert ours["labels"] == [1, 0]
        assert set(image_transform(processor.image_processor)({"image": [image]})) == {"pixel_values"}

    def test_transform_crops_in_training_only(self, processor):
        batch = {"image": [ramp(40, 24)], "label": [0]}
        torch.manual_seed(0)
        plain, cropped = (image_transform(processor.image_processor, area)(batch) for area in (None, 0.3))
        again = image_transform(processor.image_processor)(batch)
        assert cropped["pixel_values"][0].shape == plain["pixel_values"][0].shape == (3, 16, 16)
        assert not torch.equal(cropped["pixel_values"][0], plain["pixel_values"][0])
        assert torch.equal(again["pixel_values"][0], plain["pixel_values"][0])


class TestCached:
    @pytest.mark.parametrize("changes", [{}, {"do_normalize": False}, {"do_rescale": False, "do_normalize": False}])
    def test_equal_the_processors(self, cache, changes):
        processor = tiny_processor().image_processor
        for name, value in changes.items():
            setattr(processor, name, value)
        data = rows(list(COLOURS), 3, 0)
        expected, found = (
            data.with_transform(image_transform(processor)),
            cached_images(data, processor, cache, "train"),
        )
        assert len(found) == len(expected)
        for one, other in zip(expected.__getitems__(list(range(12))), found.__getitems__(list(range(12))), strict=True):
            torch.testing.assert_close(
                torch.as_tensor(one["pixel_values"]).float(), other["pixel_values"], rtol=0, atol=1e-6
            )
            assert one["labels"] == other["labels"]

    def test_lie_on_disk_as_bytes(self, cache):
        table = cached_images(rows(["red"], 5, 0), tiny_processor().image_processor, cache, "train").table
        assert (table.rows.dtype, table.rows.shape) == (np.uint8, (5, 3, 16, 16))

    def test_other_data_or_processor(self, cache):
        processor = tiny_processor().image_processor
        names = [cached_images(rows(["red"], 5, seed), processor, cache, "train").table.path for seed in (0, 1)]
        processor.size = {"shortest_edge": 24}
        names.append(cached_images(rows(["red"], 5, 1), processor, cache, "train").table.path)
        assert len(set(names)) == 3
