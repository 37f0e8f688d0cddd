"""YAML as people mean it."""

import pytest

from mulki_hf.errors import ConfigurationError
from mulki_hf.strict_yaml import parse_yaml, read_yaml


LAUGHS = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' is there already, in line 1"),
        ("tasks:\n- name: a\n  dataset: b\n  name: c", "line 4: key 'name' is there already, in line 2"),
        ("[" * 100 + "]" * 100, "nested more than 50 levels deep"),
        ("[" * 3000, "nested more than 50 levels deep"),
        ("a: &x [*x]", "line 1: an alias stands inside what it stands for"),
        (LAUGHS, "more than 1000000 values"),
        ("a: \0", "unacceptable character #x0000"),
        ("a: !!int x", "a value is not what it looks like"),
        ("a: 2020-99-99", "a value is not what it looks like .* month must be"),
        ("a: !!bool x", "a value is not what it looks like"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        pytest.param("a: " + "9" * 5000, "line 1: an integer of more than 100 digits", id="digits"),
        ("{a: 1", "while parsing a flow mapping"),
    ],
)
def test_refused_in_a_line(text, message):
    with pytest.raises(ConfigurationError, match=f"^here: .*{message}") as error:
        parse_yaml(text, "here")
    assert "\n" not in str(error.value)


def test_anchors_and_merges_are_fine():
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\nc: *a"
    assert parse_yaml(text, "here") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding(tmp_path, encoding):
    (tmp_path / "f.yaml").write_text("name: Straße", encoding=encoding)
    with pytest.raises(ConfigurationError, match="can't read '.*f.yaml': it is not UTF-8 text .*save it as UTF-8"):
        read_yaml(tmp_path / "f.yaml", "--config")


def test_a_byte_order_mark(tmp_path):
    (tmp_path / "f.yaml").write_text("name: Straße", encoding="utf-8-sig")
    assert read_yaml(tmp_path / "f.yaml", "--config") == {"name": "Straße"}
