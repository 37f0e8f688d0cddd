"""Values of files against the types of fields."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pytest

from mulki_hf.errors import ConfigurationError
from mulki_hf.fields import check_text, conformed, instance


class Colour(Enum):
    RED = "red"


TYPES = {
    "flag": bool,
    "count": int,
    "rate": float,
    "maybe": float | None,
    "name": str,
    "names": list[str],
    "one_of": Literal["a", "b"],
    "colour": Colour | str,
    "mapping": dict[str, Any] | str | None,
    "hub_token": str | None,
}


def fit(name: str, value: Any) -> Any:
    return conformed({name: value}, TYPES, "f.yaml", strings=True)[name]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("flag", "yes", True),
        ("flag", False, False),
        ("count", "7", 7),
        ("count", 7.0, 7),
        ("rate", "1e-5", 1e-5),
        ("rate", 1, 1),
        ("maybe", None, None),
        ("names", "a", ["a"]),
        ("one_of", "b", "b"),
        ("colour", "red", "red"),
        ("mapping", {"a": 1}, {"a": 1}),
        ("mapping", "a", "a"),
    ],
)
def test_what_fits_is_converted_like_a_typed_option(name, given, expected):
    assert fit(name, given) == expected and type(fit(name, given)) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("flag", "maybe", "flag must be true or false, got 'maybe'"),
        ("flag", 1, "flag must be true or false, got 1"),
        ("count", 0.5, "count must be an integer, got 0.5"),
        ("count", True, "count must be an integer, got True"),
        ("count", 10**30, "count must be an integer of at most"),
        ("rate", None, "rate must be a number, got nothing: give a value, or leave the key out"),
        ("rate", [], r"rate must be a number, got \[\]"),
        ("maybe", "x", "maybe must be a number, got 'x'"),
        ("name", 5, r"name must be a string, got 5 \(quote it in YAML\?\)"),
        ("name", ["a"], r"name must be a string, got \['a'\]"),
        ("name", "a\x00b", r"name must be one line .* without '\\x00'"),
        ("names", ["a", 5], r"names\[1\] must be a string, got 5"),
        ("one_of", "c", "one_of must be one of a, b, got 'c'"),
        ("colour", "blue", "colour must be one of red, got 'blue'"),
        ("mapping", {1: 2}, "mapping must have names as keys, got 1"),
        ("mapping", 5, "mapping must be a mapping or a string, got 5"),
    ],
)
def test_what_does_not_is_named_with_its_field(name, given, message):
    with pytest.raises(ConfigurationError, match=f"^f.yaml: {message}"):
        fit(name, given)


def test_a_token_is_not_repeated():
    for value in (12345, "secret\n"):
        try:
            fit("hub_token", value)
        except ConfigurationError as error:
            assert "12345" not in str(error) and "secret" not in str(error)


@dataclass
class Inner:
    number: float


@dataclass
class Outer:
    inner: Inner
    rows: list[list[float]] = field(default_factory=list)


class TestJson:
    """Of JSON nothing is converted."""

    def test_nested(self):
        assert instance(Outer, {"inner": {"number": 1.5}, "rows": [[1]]}, "f") == Outer(Inner(1.5), [[1]])

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([], "f must be a mapping, got []"),
            ({}, "f: inner is missing"),
            ({"inner": {}}, "f: inner.number is missing"),
            ({"inner": {"number": "1"}}, "f: inner.number must be a number, got '1'"),
            ({"inner": {"number": 1, "numbers": 2}}, "f: inner: unknown key 'numbers'; did you mean 'number'?"),
            ({"inner": {"number": 1}, "rows": [[1], 2]}, "f: rows[1] must be a list, got 2"),
            ({"inner": {"number": float("inf")}}, "f: inner.number must be a finite number, got inf"),
        ],
    )
    def test_says_which_key_is_wrong(self, content, message):
        with pytest.raises(ConfigurationError) as error:
            instance(Outer, content, "f")
        assert str(error.value).startswith(message)


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "a\x00", "a\u202eb", "a\u200bb", "\ufeffa", "a\u200db", "\ud800"])
def test_characters_that_nobody_sees(text):
    with pytest.raises(ConfigurationError, match="^what must be one line of characters that can be seen") as told:
        check_text(text, "what")
    assert str(told.value).isprintable()


@pytest.mark.parametrize("text", ["Straße 1", "مى\u200cخواهم", "👩\u200d🔬", "日本"])
def test_scripts_and_emoji_that_need_joiners(text):
    check_text(text, "what")
