"""A batch of features, and the methods' equations once more: one row at a time, in numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mulki_hf.objectives import FeatureBatch, Prototypes, TeacherFeatures


SCALE, WIDTH = 7.0, 6
CLASSES, SHOWN = 5, [0, 2, 3]  # classes 1 and 4 have no image, hence no visual prototype
LABELS = [3, 0, 0, 2, 3, 2]


def unit(rng: np.random.Generator, rows: int) -> torch.Tensor:
    points = rng.normal(size=(rows, WIDTH))
    return torch.from_numpy(points / np.sqrt((points**2).sum(axis=1, keepdims=True)))


def make_batch(seed: int = 0) -> FeatureBatch:
    rng = np.random.default_rng(seed)

    def teacher() -> TeacherFeatures:
        prototypes = Prototypes(unit(rng, CLASSES), unit(rng, len(SHOWN)), torch.tensor(SHOWN))
        features = TeacherFeatures(unit(rng, len(LABELS)), unit(rng, 8), prototypes, text=prototypes.textual)
        return replace(features, earlier=unit(rng, 4), words=unit(rng, 3), texts=unit(rng, 7), views=unit(rng, 2))

    student = {"image": unit(rng, len(LABELS)), "text": unit(rng, CLASSES), "reference": unit(rng, 8)}
    student |= {"earlier": unit(rng, 4), "words": unit(rng, 3), "views": unit(rng, 2)}
    student = {name: features.requires_grad_() for name, features in student.items()}
    views = 2 / len(LABELS)
    return FeatureBatch(
        torch.tensor(LABELS), SCALE, **student, views_share=views, original=teacher(), previous=teacher()
    )


def half(batch: FeatureBatch, which: int) -> FeatureBatch:
    """The first (0) or second (1) half of the samples, with their share of the images beside them."""

    def cut(features: torch.Tensor) -> torch.Tensor:
        return features.chunk(2)[which]

    def cut_teacher(teacher: TeacherFeatures) -> TeacherFeatures:
        return replace(teacher, **{name: cut(getattr(teacher, name)) for name in ("image", "reference", "views")})

    student = {name: cut(getattr(batch, name)) for name in ("labels", "image", "reference", "views")}
    return replace(batch, **student, original=cut_teacher(batch.original), previous=cut_teacher(batch.previous))


def numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def log_softmax(logits):
    return logits - np.log(sum(np.exp(logit) for logit in logits))


def ce(logits, label, smoothing=0.0):
    log_p = log_softmax(logits)
    return -(1 - smoothing) * log_p[label] - smoothing * np.mean(log_p)


def kd(teacher, student, temperature):
    target = np.exp(log_softmax(teacher / temperature))
    return -(temperature**2) * sum(target * log_softmax(student / temperature))


def expected_task(batch, smoothing):
    text = numbers(batch.text)
    return np.mean([ce(SCALE * text @ v, y, smoothing) for v, y in zip(numbers(batch.image), LABELS, strict=True)])


def expected_elicit(batch):
    anchors = numbers(batch.previous.prototypes.visual)
    image, text = numbers(batch.image), numbers(batch.text)
    images = [ce(SCALE * anchors @ v, SHOWN.index(y)) for v, y in zip(image, LABELS, strict=True)]
    texts = [ce(SCALE * anchors @ text[c], row) for row, c in enumerate(SHOWN)]
    return 0.5 * np.mean(images) + 0.5 * np.mean(texts)


def expected_gate(original, previous):
    distances = np.array([np.sqrt(sum((a - b) ** 2)) for a, b in zip(original, previous, strict=True)])
    return 1 / (1 + np.exp(-6 * (distances - 0.2)))


def expected_weights(batch, weighting, kappa):
    """`(2, B)`: of the original and of the previous teacher."""
    if weighting == "uniform":
        return np.full((2, len(LABELS)), 0.5)
    if weighting in ("original", "previous"):
        return np.array([[weighting == name] * len(LABELS) for name in ("original", "previous")], dtype=float)
    if weighting == "discrepancy":
        previous = expected_gate(numbers(batch.original.image), numbers(batch.previous.image))
        return np.array([1 - previous, previous])
    trust = np.zeros((2, len(LABELS)))
    for m, teacher in enumerate((batch.original, batch.previous)):
        for x, label in enumerate(LABELS):
            logits = SCALE * numbers(teacher.prototypes.textual) @ numbers(teacher.image)[x]
            trust[m, x] = np.exp(-ce(logits, label) / kappa)
    return 0.5 * trust if weighting == "absolute" else trust / trust.sum(axis=0)


def expected_held(features, others):
    """Mean squared distance of some rows to others."""
    return np.mean([sum((a - b) ** 2) for a, b in zip(numbers(features), numbers(others), strict=True)])


def expected_feature(batch, weighting, kappa):
    """Weighted squared distances of the images to both teachers."""
    weights, total = expected_weights(batch, weighting, kappa), 0.0
    for w, teacher in zip(weights, (batch.original, batch.previous), strict=True):
        distances = ((numbers(batch.image) - numbers(teacher.image)) ** 2).sum(axis=1)
        total += np.mean(w * distances)
    return total


def expected_views(batch, weighting):
    """Squared distances of the views to the teachers."""
    teachers = {"original": [batch.original], "previous": [batch.previous]}
    held = [
        expected_held(batch.views, teacher.views)
        for teacher in teachers.get(weighting, [batch.original, batch.previous])
    ]
    return np.mean(held)


def expected_snd(batch, gate):
    """The distances to the previous and to the original teacher."""
    student, original, previous = (numbers(source.reference) for source in (batch, batch.original, batch.previous))
    share = expected_gate(original, previous)
    distances = [((student - teacher) ** 2).sum(axis=1) for teacher in (previous, original)]
    if gate == "batch":
        # The official code's shapes: (R, 1) times (R,) is (R, R).
        share = share[:, None]
    return np.mean(share * distances[0]), np.mean((1 - share) * distances[1])


def expected_mutual(images, texts, student, temperature):
    """ZSCL's two terms, one relation at a time."""
    taught, said = (np.array([[SCALE * v @ u for u in texts] for v in rows]) for rows in (images, student))
    by_image = [kd(a, b, temperature) for a, b in zip(taught, said, strict=True)]
    by_text = [kd(a, b, temperature) for a, b in zip(taught.T, said.T, strict=True)]
    return np.mean(by_image) + np.mean(by_text)


def check_gradient(loss, expected, features) -> None:
    """The gradient of `loss` for `features` is the slope of `expected`, a function of their numbers, on either side."""
    gradient = numbers(torch.autograd.grad(loss, features)[0])
    start, step, slopes = numbers(features), 1e-6, np.zeros(features.shape)
    for place in np.ndindex(*features.shape):
        sides = []
        for sign in (1, -1):
            moved = start.copy()
            moved[place] += sign * step
            sides.append(expected(moved))
        slopes[place] = (sides[0] - sides[1]) / (2 * step)
    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-7)


def close(value) -> object:
    return pytest.approx(value, rel=1e-10)


def check_halves(objective, batch) -> None:
    """The mean over two ranks of their halves' losses is the whole batch's loss."""
    whole, first, second = (objective(given) for given in (batch, half(batch, 0), half(batch, 1)))
    assert {name: (first[name] + second[name]).item() / 2 for name in whole} == {
        name: close(value.item()) for name, value in whole.items()
    }
