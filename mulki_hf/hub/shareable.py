"""What of a text or a setting may leave the machine."""

import re
from pathlib import Path
from typing import Any


# The folders of a path in the middle of a text, where it is absolute or leads upwards.
_FOLDERS = re.compile(
    r"(?:(?<=::)|(?<=file://)|(?<![\w:/.}]))(?:(?:[A-Za-z]:)?[/~]|(?:\.\./)+)(?:[^\s,'\"/]*/)*(?=[^\s])"
)
_ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?[/\\]|~|(?:\.\./)")


def shareable(value: Any) -> Any:
    """`value` without what names people and machines, however deep: folders of paths, credentials in addresses.

    An absolute path, and one that leads upwards, is cut to its last part; the home folder becomes `~`.
    """
    if isinstance(value, dict):
        return {shareable(key): shareable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [shareable(part) for part in value]
    if not isinstance(value, str):
        return value
    if value.rstrip("/") in (str(Path.home()), "~"):
        return "~"
    value = re.sub(r"://[^/@\s]+@", "://", value)
    value = re.sub(r"(https?://[^\s?]+)\?[^\s'\"]+", r"\1", value)
    if _ABSOLUTE.match(value) and "," not in value:
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return _FOLDERS.sub("", value)
