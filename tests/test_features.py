"""Texts, images, reference pairs and prototypes: what goes into the losses."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from support.tiny import tiny_model, tiny_task, tiny_tokenizer

from mulki_hf.data.images import image_transform, random_resized_crop
from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.data.reference import WithReference
from mulki_hf.errors import ConfigurationError
from mulki_hf.features.prototypes import compute_prototypes, load_prototypes, save_prototypes
from mulki_hf.models.encoding import class_features, encode_classes, encode_images


NAMES = ["red", "greenish", "a blue one"]
TEMPLATES = ["a {}.", "the colour {} on a wall"]


class TestText:
    @pytest.fixture
    def prompts(self):
        return tokenize_prompts(tiny_tokenizer(), NAMES, TEMPLATES)

    def test_order_is_class_after_class(self, prompts):
        tokenizer = tiny_tokenizer()
        expected = ["a red.", "the colour red on a wall", "a greenish.", "the colour greenish on a wall"]
        for ids, text in zip(prompts["input_ids"].tolist(), expected, strict=False):
            own = tokenizer(text)["input_ids"]
            assert ids[: len(own)] == own and set(ids[len(own) :]) <= {tokenizer.pad_token_id}
        assert len(prompts["input_ids"]) == 6

    @pytest.mark.parametrize("eos", [None, 2], ids=["current", "legacy"])
    def test_padding_and_masking_change_nothing(self, prompts, eos):
        model = tiny_model(**{"eos_token_id": eos} if eos else {}).eval()
        texts = [template.replace("{}", name) for name in NAMES for template in TEMPLATES]
        padded = dict(tiny_tokenizer()(texts, padding="max_length", max_length=77, return_tensors="pt"))
        assert prompts["input_ids"].shape[1] < padded["input_ids"].shape[1] == 77
        with torch.no_grad():
            long = F.normalize(model.get_text_features(**padded).pooler_output, dim=-1)
        short = encode_classes(model, prompts, len(NAMES))
        torch.testing.assert_close(short, class_features(long, len(NAMES)), rtol=0, atol=1e-6)

    def test_class_feature_is_the_normalised_mean_of_normalised_prompts(self, model, prompts):
        features = encode_classes(model, prompts, len(NAMES)).numpy()
        for row, name in zip(features, NAMES, strict=True):
            total = 0
            for template in TEMPLATES:
                encoded = tiny_tokenizer()(template.replace("{}", name), return_tensors="pt")
                with torch.no_grad():
                    feature = model.get_text_features(**encoded).pooler_output[0].double().numpy()
                total = total + feature / np.sqrt((feature**2).sum())
            assert row == pytest.approx(total / np.sqrt((total**2).sum()), abs=1e-5)
        assert np.abs(features[0] - features[1]).max() > 1e-3

    def test_template_pooling_by_hand(self):
        # class 0: mean of (1, 0) and (0, 1) is along (1, 1); class 1: both (-1, 0)
        embeds = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]])
        expected = torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]])
        torch.testing.assert_close(class_features(embeds, 2), expected)

    @pytest.mark.parametrize("chunk", [1, 4])
    def test_chunks_change_nothing(self, model, prompts, chunk):
        whole = encode_classes(model, prompts, len(NAMES))
        torch.testing.assert_close(encode_classes(model, prompts, len(NAMES), chunk=chunk), whole, rtol=0, atol=1e-6)
        assert not whole.requires_grad

    def test_too_long_a_prompt_is_named_not_cut(self):
        fits = "x" * 75  # with start and end 77 tokens
        assert tokenize_prompts(tiny_tokenizer(), [fits], ["{}"])["input_ids"].shape == (1, 77)
        with pytest.raises(ConfigurationError, match=f"'{fits}y' has 78 tokens, the model reads 77"):
            tokenize_prompts(tiny_tokenizer(), ["red", fits + "y"], ["{}"])


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


class TestImages:
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


class TestPrototypes:
    @pytest.fixture(scope="class")
    def by_library(self):
        """Of four classes, of which the third has no image; in batches that straddle the classes."""
        from support.tiny import tiny_processor

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

    def test_image_features_are_unit_and_without_gradient(self, model):
        features = encode_images(model, torch.rand(3, 3, 16, 16))
        assert features.norm(dim=-1).tolist() == pytest.approx([1.0] * 3, abs=1e-6)
        assert not features.requires_grad
