"""The files of a comparison, written over those of another one alone."""

from pathlib import Path

from ...errors import ConfigurationError, shown
from .compared import Comparison
from .page import page_html
from .pictures import MAKER, draw_curves, draw_transfer_last
from .tables import CSV_COLUMNS, MARK, csv_text, markdown_text


PAGE = "comparison.html"
PICTURES = ("curves.png", "transfer_last.png")
MARKS = {
    PAGE: MAKER.encode(),
    "comparison.md": MARK.encode(),
    "comparison.csv": ",".join(CSV_COLUMNS).encode(),
    **dict.fromkeys(PICTURES, MAKER.encode()),
}
"""By file what stands at its start if a comparison has written it."""


def check_free(folder: Path, overwrite: bool = False) -> None:
    """Raise `ConfigurationError` if a comparison's file would replace one that is none, which `overwrite` allows."""
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"--output_dir {shown(str(folder))} is a file, not a folder")
    for path in filter(Path.exists, (folder / name for name in MARKS)):
        if path.is_dir():
            raise ConfigurationError(f"{path} is a folder: choose another --output_dir")
        if not overwrite and MARKS[path.name] not in _start(path):
            raise ConfigurationError(
                f"{path} was not written by a comparison: choose another --output_dir, or give --overwrite"
            )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2048)


def write(comparison: Comparison, folder: Path) -> Path:
    """Write all files into `folder`; returns the page."""
    texts = {
        PAGE: page_html(comparison),
        "comparison.md": markdown_text(comparison, [*PICTURES]),
        "comparison.csv": csv_text(comparison),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for draw, name in zip((draw_curves, draw_transfer_last), PICTURES, strict=True):
        draw(comparison, folder / name)
    for name, content in texts.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder / PAGE
