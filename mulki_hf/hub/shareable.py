"""What of a path may leave the machine, and how a field says that it holds paths."""

import re
from pathlib import Path


PATH = "path"
"""In `Annotated[str, PATH]`: a field's values of that type are paths, addresses or Hub ids, and whatever is in them."""

_FOLDER = re.compile(r"[/\\]")
_ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?[/\\]|~")
_ADDRESS = re.compile(r"([A-Za-z][\w+.-]*)://(.*)", re.DOTALL)


def shareable(path: str, root: str | None = None) -> str:
    """A path without what names people and machines: folders, and credentials or signatures in an address.

    One in the folder `root` becomes relative to it. Any other that is absolute or leads upwards is cut to its last
    part; the home folder becomes `~`. Relative paths and Hub ids stay.
    """
    return "::".join(_part(part, root) for part in path.split("::"))


def _part(path: str, root: str | None) -> str:
    if root and path.startswith(folder := f"{root.rstrip('/')}/"):
        return path.removeprefix(folder)
    if address := _ADDRESS.fullmatch(path):
        scheme, rest = address.groups()
        if scheme in ("file", "local"):
            return f"{scheme}://{_last(rest)}"
        rest = re.sub(r"^[^/@]+@", "", rest)
        return f"{scheme}://{rest.partition('?')[0] if scheme.startswith('http') else rest}"
    if path.rstrip("/") in (str(Path.home()), "~"):
        return "~"
    return _last(path) if _ABSOLUTE.match(path) or ".." in _FOLDER.split(path) else path


def _last(path: str) -> str:
    return _FOLDER.split(path.rstrip("/\\"))[-1] or path
