"""Prototypes of classes of which some have no image, and what reads them."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from support.equations import LABELS, make_batch

from mulki_hf.features.prototypes import compute_prototypes, load_prototypes, save_prototypes
from mulki_hf.objectives import Prototypes
from mulki_hf.objectives.mulki import elicit_loss


class Features:
    """A table that counts nothing and lies in memory."""

    def __init__(self, values: torch.Tensor):
        self.values = values

    def __getitem__(self, rows):
        return self.values[rows]


@st.composite
def labelled(draw):
    """Class features, and images of some of the classes."""
    count = draw(st.integers(1, 8))
    labels = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    images = F.normalize(torch.randn(len(labels), 6, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(count, 6, generator=generator), dim=-1)
    return images, torch.tensor(labels), texts


@given(labelled(), st.integers(1, 40), st.randoms(use_true_random=False))
def test_each_class_with_an_image_has_one(given, chunk, random):
    images, labels, texts = given
    made = compute_prototypes(Features(images), labels, texts, chunk)
    assert made.classes.tolist() == sorted({*labels.tolist()})
    assert made.textual is texts and made.visual.isfinite().all()
    for row, label in enumerate(made.classes.tolist()):
        torch.testing.assert_close(made.visual[row], F.normalize(images[labels == label].mean(dim=0), dim=-1))
        assert made.position(torch.tensor([label])).tolist() == [row]
    # Neither how many are read at a time nor their order matters.
    order = [*range(len(labels))]
    random.shuffle(order)
    other = compute_prototypes(Features(images[order]), labels[order], texts)
    torch.testing.assert_close(other.visual, made.visual)


@given(labelled())
def test_a_class_that_has_none_changes_no_other(given):
    images, labels, texts = given
    before = compute_prototypes(Features(images), labels, texts)
    after = compute_prototypes(Features(images), labels, torch.cat([texts, texts[:1]]))
    assert torch.equal(before.visual, after.visual) and torch.equal(before.classes, after.classes)


@given(labelled())
def test_they_are_read_as_they_were_written(tmp_path_factory, given):
    path = tmp_path_factory.getbasetemp() / "prototypes.safetensors"
    made = compute_prototypes(Features(given[0]), *given[1:])
    save_prototypes(made, path)
    again = load_prototypes(path)
    assert all(torch.equal(getattr(made, name), getattr(again, name)) for name in ("textual", "visual", "classes"))


@given(st.data())
def test_the_loss_sees_classes_with_images_alone(data):
    """Of others neither the text nor its gradient counts, and nothing is infinite."""
    batch = make_batch()
    own = batch.previous.prototypes
    there = sorted({*LABELS} | data.draw(st.sets(st.integers(0, len(batch.text) - 1))))
    visual = F.normalize(
        torch.randn(len(there), batch.text.shape[1], generator=torch.Generator().manual_seed(1)), dim=-1
    )
    anchors = Prototypes(own.textual, visual.to(batch.text), torch.tensor(there))
    text = batch.text.detach().clone().requires_grad_()
    loss = elicit_loss(replace(batch, text=text), anchors)
    loss.backward()
    absent = [label for label in range(len(text)) if label not in there]
    assert loss.isfinite() and text.grad.isfinite().all()
    assert text.grad[absent].eq(0).all() and text.grad[there].abs().sum() > 0
    changed = text.detach().clone()
    changed[absent] = -changed[absent]
    assert torch.equal(elicit_loss(replace(batch, text=changed), anchors), loss)
