"""YAML as people mean it: no key twice, no file that is no text, nothing that unfolds without end."""

from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigurationError, shown


MAX_CHARACTERS = 2_000_000
"""Of a file: seconds of reading; recipes with the names of thousands of classes have a tenth of that."""
MAX_DEPTH = 50
MAX_DIGITS = 100
"""Of an integer. Python neither prints nor, in base 60, reads very long ones in time."""
MAX_SIZE = 1_000_000
"""Values of a file, what an alias stands for counted every time."""


def read_yaml(path: str | Path, where: str) -> Any:
    """What a YAML file holds.

    Args:
        path: the file, in UTF-8.
        where: the option that names it, for messages.

    Raises:
        ConfigurationError: it can't be read, or [`parse_yaml`] refuses it.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(4 * MAX_CHARACTERS + 1)  # of UTF-8's characters none has more than four bytes
        if len(content) > 4 * MAX_CHARACTERS:
            raise OSError(f"more than {MAX_CHARACTERS} characters")
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = f"it is not UTF-8 text ({error}); save it as UTF-8" if isinstance(error, UnicodeError) else error
        raise ConfigurationError(f"{where}: can't read {shown(str(path))}: {reason}") from error
    return parse_yaml(text, f"{where}: can't read {path}")


def parse_yaml(text: str, where: str) -> Any:
    """What YAML text says, plain values alone.

    Raises:
        ConfigurationError: it is no YAML, repeats a key (the message has its line), is nested too deeply or, its
            aliases unfolded, too large.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigurationError(f"{where}: more than {MAX_CHARACTERS} characters")
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{where}: {reason[:300]}{'...' * (len(reason) > 300)}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        # Under a tag such as !!int any other value fails as its conversion does.
        raise ConfigurationError(f"{where}: a value is not what it looks like or is tagged as: {error}") from error


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: Any):
        super().__init__(stream)
        self._extents: dict[int, tuple[int, int]] = {}
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        alias = self.check_event(yaml.AliasEvent)
        # On the way down already: thousands of brackets would take their time.
        if self._depth == MAX_DEPTH:
            raise _problem(f"nested more than {MAX_DEPTH} levels deep", self.peek_event())
        self._depth += 1
        # An alias gives the node that it stands for.
        node = super().compose_node(parent, index)
        self._depth -= 1
        if id(node) not in self._extents:
            if alias:
                raise _problem("an alias stands inside what it stands for", node)
            self._extents[id(node)] = self._extent(node)
        return node

    def _extent(self, node: Any) -> tuple[int, int]:
        """Values in it, and levels."""
        parts: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        inner = [self._extents[id(part)] for part in parts]
        size, depth = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
        if size > MAX_SIZE:
            raise _problem(f"more than {MAX_SIZE} values, with what its aliases stand for", node)
        if depth > MAX_DEPTH:
            raise _problem(f"nested more than {MAX_DEPTH} levels deep", node)
        return size, depth

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > MAX_DIGITS:
            raise _problem(f"an integer of more than {MAX_DIGITS} digits", node)
        value = super().construct_scalar(node)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _problem(f"{shown(value)} holds half a character", node) from None
        return value

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (first := lines.get((key.tag, key.value))) is not None:
                raise _problem(f"key {shown(key.value)} is there already, in line {first}: remove one of them", key)
            lines[key.tag, key.value] = key.start_mark.line + 1
        return node


def _problem(what: str, node: yaml.Node | yaml.Event) -> yaml.YAMLError:
    return yaml.YAMLError(f"line {node.start_mark.line + 1}: {what}")
