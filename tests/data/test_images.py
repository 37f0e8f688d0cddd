"""Images become pixel values: by the model's own transform, decoded once."""

import numpy as np
import pytest
import torch
from support.tiny import COLOURS, picture, rows, tiny_processor

from mulki_hf.data.images import cached_images, image_transform


class TestTransform:
    def test_transform_is_the_models_processor(self, processor):
        image = picture(COLOURS["red"], 1, np.random.default_rng(0)).resize((40, 24))
        batch = {"image": [image, image.convert("L")], "label": [1, 0]}
        ours = image_transform(processor.image_processor)(batch)
        for pixels, given in zip(ours["pixel_values"], batch["image"], strict=True):
            expected = processor.image_processor(given.convert("RGB"), return_tensors="pt")["pixel_values"][0]
            torch.testing.assert_close(pixels, expected, rtol=0, atol=0)
        assert ours["labels"] == [1, 0]
        assert set(image_transform(processor.image_processor)({"image": [image]})) == {"pixel_values"}


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
