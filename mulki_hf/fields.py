"""Values that come from a file, held against the types that a dataclass gives its fields."""

import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import UNPRINTABLE, ConfigurationError, shown
from .strict_yaml import MAX_DEPTH


WORDS = {
    **dict.fromkeys(("true", "yes", "t", "y", "1"), True),
    **dict.fromkeys(("false", "no", "f", "n", "0"), False),
}
"""What stands for a boolean on the command line."""

NAMES = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a mapping",
}


# Joiners between letters of scripts that are written with them, or between the parts of an emoji.
_JOINED = re.compile(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def check_text(text: str, what: str) -> None:
    """Raise `ConfigurationError` for text of several lines, or with characters that nobody sees."""
    for character in _JOINED.sub("", text):
        if unicodedata.category(character) in _UNSEEN:
            raise ConfigurationError(
                f"{what} must be one line of characters that can be seen, without {character!r}, got {shown(text)}"
            )


def check_content(content: Any, where: str) -> None:
    """Raise `ConfigurationError` for JSON that is nested without end or holds text that no name or sentence does."""
    left = [(content, "", 0)]
    while left:
        value, name, depth = left.pop()
        if depth > MAX_DEPTH:
            raise ConfigurationError(f"{where}: {name[:60]}... is nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, str) and (found := UNPRINTABLE.search(value)):
            raise ConfigurationError(f"{where}: {name} holds the character {found[0]!r}: {shown(value)}")
        if isinstance(value, dict):
            left += [(key, f"a key in {name or 'it'}", depth) for key in value]
            left += [(part, f"{name}.{key}".lstrip("."), depth + 1) for key, part in value.items()]
        elif isinstance(value, list):
            left += [(part, f"{name}[{position}]", depth + 1) for position, part in enumerate(value)]


def check_keys(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    """Raise `ConfigurationError` for keys of `given` outside `known`, with the nearest known one."""
    known = sorted(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(known)}"
            raise ConfigurationError(f"{where}: unknown key {shown(key)}{hint}")


def conformed(given: Mapping[str, Any], types: Mapping[str, Any], where: str, strings: bool = False) -> dict[str, Any]:
    """`given` with each value as its field's type wants it.

    Args:
        given: by the field's name; each is in `types`.
        types: by the field's name, as `typing.get_type_hints` gives them.
        where: the file, or the part of it, for messages.
        strings: a string may stand for a number or a boolean, as on the command line (to YAML `1e-5` is a string), and
            one for a list of one.

    Raises:
        ConfigurationError: a value is of another type; the message names field and value.
    """
    return {name: _Fit(name, where, strings).fit(value, types[name]) for name, value in given.items()}


def instance(cls: type, given: Any, where: str) -> Any:
    """A dataclass from what JSON has of it, nested ones included.

    Raises:
        ConfigurationError: a key is missing or unknown, or a value of another type or not finite.
    """
    return _Fit("", where, strings=False).fit(given, cls)


class _Fit:
    """Where a value stands, and what is done to it."""

    def __init__(self, name: str, where: str, strings: bool):
        self.name, self.where, self.strings = name, where, strings

    def fit(self, value: Any, hint: Any) -> Any:
        origin = get_origin(hint) or hint
        if origin in (Union, UnionType):
            return self.one_of(value, get_args(hint))
        if origin is Literal:
            if any(type(value) is type(choice) and value == choice for choice in get_args(hint)):
                return value
            raise self.refusal(f"one of {', '.join(map(str, get_args(hint)))}", value)
        if origin is Any or not isinstance(origin, type):
            return value
        if issubclass(origin, Enum):
            choices = [member.value for member in origin]
            if value in choices:
                return value
            raise self.refusal(f"one of {', '.join(map(str, choices))}", value)
        if is_dataclass(origin) and isinstance(value, dict):
            return self.record(value, origin)
        if origin in (bool, int, float):
            return self.number(value, origin)
        if origin is list and self.strings and isinstance(value, str):
            value = [value]
        if not isinstance(value, origin):
            raise self.refusal(NAMES.get(origin, "a mapping"), value)
        if origin is str and self.strings and "token" not in self.name:
            check_text(value, self.subject)
        inner = get_args(hint)
        if origin is list and inner:
            return [self.at(f"[{position}]").fit(part, inner[0]) for position, part in enumerate(value)]
        if origin is dict and inner:
            return {self.key(key): self.at(key, ".").fit(part, inner[1]) for key, part in value.items()}
        return value

    def one_of(self, value: Any, kinds: tuple[Any, ...]) -> Any:
        """As the first of `kinds` takes it; as that of the value's own type, if there is one."""
        if value is None and NoneType in kinds:
            return None
        # What is called by a string is one of a few.
        named = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum)]
        kinds = tuple(kind for kind in kinds if kind is not NoneType and not (kind is str and named))
        own = [kind for kind in kinds if (get_origin(kind) or kind) is type(value)]
        errors = []
        for kind in own or kinds:
            try:
                return self.fit(value, kind)
            except ConfigurationError as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        raise self.refusal(" or ".join(NAMES.get(get_origin(kind) or kind, str(kind)) for kind in kinds), value)

    def number(self, value: Any, kind: type) -> Any:
        read = value
        if self.strings and isinstance(value, str):
            try:
                read = WORDS[value.strip().lower()] if kind is bool else kind(value)
            except (KeyError, ValueError):
                raise self.refusal(NAMES[kind], value) from None
        if kind is bool:
            if isinstance(read, bool):
                return read
        elif not isinstance(read, bool) and isinstance(read, int | float):
            if kind is int and isinstance(read, float) and read.is_integer():
                read = int(read)
            if isinstance(read, int) and abs(read) > 2**53:
                raise self.refusal(f"{NAMES[kind]} of at most {2**53}", value)
            if kind is float:
                # Fields say themselves whether they may be infinite; JSON has no such number.
                if self.strings or math.isfinite(read):
                    return read
                raise self.refusal("a finite number", value)
            if isinstance(read, int):
                return read
        raise self.refusal(NAMES[kind], value)

    def record(self, value: dict[Any, Any], cls: type) -> Any:
        types = get_type_hints(cls)
        own = {field.name: field for field in fields(cls)}
        check_keys(value, own, self.subject)
        for name, field in own.items():
            if name not in value and field.default is MISSING and field.default_factory is MISSING:
                raise ConfigurationError(f"{self.at(name, '.').subject} is missing")
        return cls(**{name: self.at(name, ".").fit(part, types[name]) for name, part in value.items()})

    def key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise ConfigurationError(f"{self.where}: {self.name} must have names as keys, got {shown(key)}")
        return key

    def at(self, step: str, dot: str = "") -> "_Fit":
        return _Fit(f"{self.name}{dot}{step}" if self.name else step, self.where, self.strings)

    def refusal(self, wanted: str, value: Any) -> ConfigurationError:
        if value is None:
            got = "nothing: give a value, or leave the key out"
        else:
            got = "another value" if "token" in self.name else shown(value)
            unquoted = wanted == NAMES[str] and not isinstance(value, list | dict)
            # To YAML `no` is false.
            if self.strings and (unquoted or (isinstance(value, bool) and wanted.startswith("one of "))):
                got += " (quote it in YAML?)"
        return ConfigurationError(f"{self.subject} must be {wanted}, got {got}")

    @property
    def subject(self) -> str:
        return f"{self.where}: {self.name}" if self.name else self.where
