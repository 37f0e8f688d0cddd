"""Prototypes of classes, by the library and by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.tiny import tiny_model, tiny_processor, tiny_task

from mulki_hf.data.images import image_transform
from mulki_hf.features.prototypes import compute_prototypes, load_prototypes, save_prototypes
from mulki_hf.models.encoding import encode_images


class TestPrototypes:
    @pytest.fixture(scope="class")
    def by_library(self):
        """Of four classes, of which the third has no image; in batches that straddle the classes."""
        task = tiny_task(per_class=3)
        kept = [index for index, label in enumerate(task.train["label"]) if label != 2]
        dataset = task.train.select(kept).with_transform(image_transform(tiny_processor().image_processor))
        model = tiny_model().eval()
        texts = F.normalize(torch.randn(4, 24, generator=torch.Generator().manual_seed(0)), dim=-1)
        features = encode_images(model, torch.stack([torch.as_tensor(sample["pixel_values"]) for sample in dataset]))
        labels = torch.tensor([sample["labels"] for sample in dataset])
        return compute_prototypes(features, labels, texts, chunk=4), dataset, model, texts

    def test_equal_a_computation_by_hand(self, by_library):
        prototypes, dataset, model, texts = by_library
        assert prototypes.classes.tolist() == [0, 1, 3]
        assert torch.equal(prototypes.textual, texts)
        for row, label in zip(prototypes.visual.double().numpy(), (0, 1, 3), strict=True):
            features = []
            for sample in dataset:
                if sample["labels"] == label:
                    with torch.no_grad():
                        feature = model.get_image_features(pixel_values=sample["pixel_values"][None]).pooler_output[0]
                    features.append(feature.numpy() / np.linalg.norm(feature.numpy()))
            assert len(features) == 3
            mean = np.mean(features, axis=0)
            assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
        assert (prototypes.visual[0] - prototypes.visual[1]).abs().max() > 1e-4

    def test_position_of_a_label_skips_the_missing_class(self, by_library):
        assert by_library[0].position(torch.tensor([3, 0, 1, 3])).tolist() == [2, 0, 1, 2]

    def test_round_trip(self, by_library, tmp_path):
        save_prototypes(by_library[0], tmp_path / "prototypes.safetensors")
        loaded = load_prototypes(tmp_path / "prototypes.safetensors")
        for name in ("textual", "visual", "classes"):
            assert torch.equal(getattr(loaded, name), getattr(by_library[0], name))
        assert loaded.classes.dtype == torch.int64
