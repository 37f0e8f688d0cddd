"""`manifest.json`: the files of a folder with sizes and hashes, written last, checked when the folder is read again."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .durable import sync_tree, write_text


MANIFEST = "manifest.json"
CHANGING = {"README.md", "results.json"}
"""Files that are left out: a push writes the card, and the licence in the results, anew for where they go."""


def write_manifest(folder: Path) -> None:
    """Make a folder count as whole: its files are put on the disk, then listed."""
    sync_tree(folder)
    files = {name: _entry(folder / name) for name in _names(folder)}
    write_text(folder / MANIFEST, json.dumps(files, indent=1, ensure_ascii=False) + "\n")


def has_manifest(folder: Path) -> bool:
    """Whether a folder was finished; those of older versions have no manifest."""
    return (folder / MANIFEST).is_file()


def manifest_fault(folder: Path, under: str = "") -> str | None:
    """Which file of a folder is not what its manifest says, and how; None: all are, or there is no manifest.

    Args:
        folder: with the manifest.
        under: of the files in this folder inside of it alone.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        files = json.loads(path.read_text(encoding="utf-8"))
        listed = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        return f"{path} is damaged ({' '.join(str(error).split())})"
    for name, (size, digest) in sorted(listed.items()):
        file = folder / name
        if not name.startswith(under) or not _inside(name):
            continue
        try:
            if not file.is_file():
                return f"{file} is missing"
            if (found := file.stat().st_size) != size:
                return f"{file} is damaged ({found} bytes in place of {size})"
            if file_digest(file) != digest:
                return f"{file} is damaged (its SHA-256 is not that of {MANIFEST})"
        except OSError as error:  # a bad sector, or a name that no file has
            return f"{file} is damaged ({error.strerror})"
    return None


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": file_digest(path)}


def _names(folder: Path) -> list[str]:
    places = (Path(place, name) for place, _, files in os.walk(folder) for name in files)
    own = (path.relative_to(folder).as_posix() for path in places if path.name not in CHANGING)
    return sorted(name for name in own if name != MANIFEST)


def _inside(name: str) -> bool:
    # A manifest of the Hub's may name anything.
    return not os.path.isabs(name) and ".." not in Path(name).parts
