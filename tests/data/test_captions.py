"""Reference texts: from a column or a file, each once, none of them empty."""

import pytest
from datasets import Dataset

from mulki_hf import ConfigurationError
from mulki_hf.data.captions import read_texts, texts_of


def test_texts_of_a_column_once_each():
    rows = Dataset.from_dict({"text": ["a cat", " a dog ", "a cat"]})
    assert texts_of(rows, "text", "here") == ("a cat", "a dog")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", " "], r"here, row 1: column 'text' \(reference_text_column\) must hold texts, got ' '"),
        (["a", None], r"here, row 1: .* got None"),
        ([1, 2], r"here, row 0: .* got 1"),
    ],
)
def test_a_row_without_a_text_is_named(values, message):
    with pytest.raises(ConfigurationError, match=message):
        texts_of(Dataset.from_dict({"text": values}), "text", "here")


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(
        ConfigurationError, match="reference_text_column: here: no column 'caption'; the columns are text"
    ):
        texts_of(Dataset.from_dict({"text": ["a"]}), "caption", "here")


def test_a_file_has_a_text_a_line(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\ufeffa cat\n\n a dog\na cat\n", encoding="utf-8")
    assert read_texts(str(path)) == ("a cat", "a dog")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "can't read .*No such file"), (b"\n \n", "holds no text"), (b"\xff\xfe\x00", "not UTF-8 text")],
)
def test_a_file_without_texts_is_named(tmp_path, content, message):
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"reference_texts: .*{message}"):
        read_texts(str(path))
