"""A model is asked to classify; who brings no way of its own classifies by both towers and a product."""

import pytest
import torch
from accelerate import Accelerator
from support.tiny import tiny_processor, tiny_task

from mulki_hf import StreamEvaluator
from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.models.classifier import DualEncoder, classifier_of
from mulki_hf.models.encoding import encode_classes


@pytest.fixture
def pixels():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def prompts():
    """Of two tasks, of two and of three classes."""
    processor = tiny_processor()
    return [
        (tokenize_prompts(processor, names, ["a {}.", "one {}"]), len(names))
        for names in (["red", "blue"], ["stripe", "corner", "frame"])
    ]


def normalised(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=-1, keepdim=True)


def test_dual_encoder_multiplies_images_and_classes(model, pixels, prompts):
    classifier = classifier_of(model.eval(), prompts)
    assert isinstance(classifier, DualEncoder)
    with torch.no_grad():
        images = normalised(model.get_image_features(pixel_values=pixels).pooler_output)
    classes = torch.cat([encode_classes(model, ids, count) for ids, count in prompts])
    features = classifier.features(pixels)
    torch.testing.assert_close(features["image"], images)
    torch.testing.assert_close(classifier.logits(features), images @ classes.T)
    assert classifier.logits(features).shape == (5, 5)


def test_classes_that_are_given_are_not_encoded(model, pixels, prompts, monkeypatch):
    monkeypatch.setattr(model, "get_text_features", lambda **_: pytest.fail("asked the text tower"))
    classes = torch.eye(5, 24)
    classifier = classifier_of(model.eval(), prompts, classes)
    features = classifier.features(pixels)
    torch.testing.assert_close(classifier.logits(features), features["image"][:, :5])


class Stubborn(torch.nn.Module):
    """Has neither tower; whatever it sees, it says one class of the stream."""

    def __init__(self, answer: int):
        super().__init__()
        self.answer = answer

    def classifier(self, prompts):
        self.classes = sum(count for _, count in prompts)
        return self

    def features(self, pixel_values):
        return {"brightness": pixel_values.mean(dim=(1, 2, 3))}

    def logits(self, features):
        scores = torch.zeros(len(features["brightness"]), self.classes)
        scores[:, self.answer] = 1
        # Where that class does not compete, the first one that does.
        return scores - torch.arange(self.classes) / 100


@pytest.mark.parametrize(
    ("answer", "til", "xtail"),
    [
        # Classes 0 to 3 are the colours, 4 to 6 the shapes, with as many images each.
        (1, [25.0, 100 / 3], [25.0, 0.0]),
        (3, [25.0, 100 / 3], [25.0, 0.0]),
        (5, [25.0, 100 / 3], [0.0, 100 / 3]),
    ],
)
def test_a_models_own_classifier_is_asked(answer, til, xtail):
    tasks = [tiny_task(), tiny_task("shapes", ["stripe", "corner", "frame"])]
    evaluate = StreamEvaluator(tasks, tiny_processor(), Accelerator(cpu=True), batch_size=5)
    found = evaluate.by_protocol(Stubborn(answer), 0, "test", ["til", "xtail"])
    assert found == {"til": pytest.approx(til), "xtail": pytest.approx(xtail)}


def test_images_of_one_task_alone_follow_its_logits():
    """Every class right in turn: the model's word is all that counts."""
    task = tiny_task()
    evaluate = StreamEvaluator([task], tiny_processor(), Accelerator(cpu=True))

    class Knowing(Stubborn):
        """Reads the answer off a list."""

        def logits(self, features):
            return torch.eye(self.classes)[torch.tensor(task.evaluation["label"])]

    assert evaluate(Knowing(0), 1, "test") == [100.0]
