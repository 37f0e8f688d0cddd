"""Labels are read without a look at the images, all at once."""

import numpy as np
import pytest
from datasets import Dataset, Image
from support.tiny import COLOURS, rows, tiny_task

from mulki_hf.data.labels import LEFT_OUT, Classes, labels_of, of_classes, read_labels
from mulki_hf.errors import ConfigurationError


@pytest.mark.parametrize("order", [None, [5, 0, 3]], ids=["all", "selected"])
def test_a_column_is_read_at_once(monkeypatch, order):
    """One access for a hundred rows and none row by row, however often a task wants them."""
    train, reads = rows(list(COLOURS), 25, 0), []
    train = train if order is None else train.select(order)
    expected = [example["label"] for example in train]
    monkeypatch.setattr(Image, "decode_example", lambda *_, **__: pytest.fail("an image is decoded"))
    monkeypatch.setattr(Dataset, "__iter__", lambda _: pytest.fail("row by row"))
    getitem = Dataset._getitem
    monkeypatch.setattr(Dataset, "_getitem", lambda *args, **kw: reads.append(1) or getitem(*args, **kw))
    assert labels_of(train).tolist() == expected and len(reads) == 1
    task = tiny_task(train=train, evaluation=train)
    assert len(task.classes_without_training_images()) == (0 if order is None else 1)
    assert len(reads) <= 5


def test_labels_by_position_among_some_classes():
    labels = np.array([3, 0, LEFT_OUT, 1, 3])
    assert of_classes(labels, [3, 1]).tolist() == [0, LEFT_OUT, LEFT_OUT, 1, 0]
    assert of_classes(labels, [2]).tolist() == [LEFT_OUT] * 5


@pytest.mark.parametrize("column", [["long" * 9999], [[1] * 9999]], ids=["a name", "a list"])
def test_a_label_is_shown_shortened(column):
    with pytest.raises(ConfigurationError, match="row 0: label .* is n") as refused:
        read_labels(Dataset.from_dict({"label": column}), "label", np.array([True]), Classes(["a"], {"a": 0}), "here")
    assert len(str(refused.value)) < 250
