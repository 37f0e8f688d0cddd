"""Every image of a dataset once, before training: does it decode, and what is it? Remembered for the next load."""

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import pyarrow.compute as pc
from datasets import Dataset

from .pixels import open_image
from .workers import checking_processes


logger = logging.getLogger(__name__)

DIGEST_BYTES = 16
DIGEST_VERSION = 2
"""Of what a digest is taken of; answers of another one are not used."""

LOSSLESS = {"PNG", "BMP", "GIF", "TIFF", "PPM", None}
"""Formats whose pixels every decoder gives alike, as `PIL` names them."""


SAMPLE: ContextVar[int | None] = ContextVar("SAMPLE", default=None)
"""Of each dataset that many images are looked at, spread over its rows, and the others taken for readable; None: all.

Content has no fingerprint then.
"""


@dataclass(frozen=True)
class CheckedImages:
    """What is known of a dataset's `N` images.

    Attributes:
        digests (`(N, 16)`, bytes): of each image, wherever it lies; zero where it can't be read. In a lossless format
            of its mode, size and pixels, however they were compressed; else of the image as it is encoded, since
            decoders differ.
        problems: why an image can't be read, by row.
        sample (*optional*): numbers of the rows that were looked at, where not all were; see [`SAMPLE`].
    """

    digests: np.ndarray
    problems: dict[int, str]
    sample: np.ndarray | None = None


def check_images(rows: Dataset, description: str, processes: int | None = None) -> CheckedImages:
    """Decode every image of `rows`, unless that was done: the answer lies in the cache folder of `datasets`.

    Those that could not be read are looked at again every time: files, rights and decoders may have been mended.

    Args:
        rows: a column `image`, not decoded.
        description: shown beside the progress bar.
        processes (`int`, *optional*): by default as many as pay off.
    """
    path = Path(datasets.config.HF_DATASETS_CACHE) / "mulki_hf" / f"checked-{_key(rows)}.npz"
    known = _load(path)
    if known is not None and len(known.digests) == len(rows):
        return _again(known, rows, path)
    sample = SAMPLE.get()
    if sample is not None and sample < len(rows):
        chosen = np.linspace(0, len(rows) - 1, sample).astype(int)
        some = check_images(rows.select(chosen), description, processes)
        digests = np.zeros((len(rows), DIGEST_BYTES), dtype=np.uint8)
        digests[chosen] = some.digests
        return CheckedImages(digests, {int(chosen[row]): problem for row, problem in some.problems.items()}, chosen)
    answers = rows.map(
        _check,
        input_columns=["image"],
        remove_columns=rows.column_names,
        num_proc=processes or checking_processes(len(rows)),
        keep_in_memory=True,
        desc=f"Checking images: {description}",
    ).with_format("arrow")[:]
    digests = np.frombuffer(b"".join(answers["digest"].to_pylist()), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
    problems = {row: problem for row, problem in enumerate(answers["problem"].to_pylist()) if problem}
    checked = CheckedImages(digests, problems)
    _save(checked, path)
    return checked


def content_fingerprint(splits: Iterable[tuple[np.ndarray, np.ndarray]]) -> str:
    """What splits hold, the same on every machine and however it is stored: of digests `(N, 16)` and labels `(N,)`.

    Lossless pictures may be compressed in any way, see [`CheckedImages`]; a JPEG must be the same file.
    """
    content = hashlib.sha256()
    for digests, labels in splits:
        content.update(len(labels).to_bytes(8, "little"))
        content.update(np.ascontiguousarray(digests).tobytes())
        content.update(labels.astype("<i8").tobytes())
    return content.hexdigest()[:32]


def parts_fingerprint(splits: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """Of digests and labels: of training and evaluation data and, behind a dash, of validation data."""
    validation = [content_fingerprint(splits[2:])[:16]] if splits[2:] else []
    return "-".join([content_fingerprint(splits[:2]), *validation])


def _again(known: CheckedImages, rows: Dataset, path: Path) -> CheckedImages:
    """What is known, and of the images with a problem what they are now."""
    digests, problems = known.digests.copy(), {}
    for row in sorted(known.problems):
        answer = _check(rows[row]["image"])
        digests[row] = np.frombuffer(answer["digest"], dtype=np.uint8)
        if answer["problem"]:
            problems[row] = answer["problem"]
    if problems == known.problems:
        return known
    checked = CheckedImages(digests, problems)
    _save(checked, path)
    return checked


def _check(encoded: dict | None) -> dict:
    nothing = bytes(DIGEST_BYTES)
    if encoded is None:
        return {"problem": "no image", "digest": nothing}
    try:
        content = encoded["bytes"]
        if content is None and encoded["path"] is not None:
            with datasets.utils.file_utils.xopen(encoded["path"], "rb") as file:
                content = file.read()
        # An image that was turned as its EXIF data say has no format any more.
        format = open_image(BytesIO(content)).format
        image = datasets.Image().decode_example({"bytes": content, "path": encoded["path"]})
        pixels = image.convert("RGB").tobytes()
        if format in LOSSLESS:
            content = f"{image.mode} {image.size} ".encode() + pixels
    except Exception as error:  # decoders raise errors of many kinds; each is reported
        return {"problem": f"{type(error).__name__}: {error}", "digest": nothing}
    return {"problem": "", "digest": hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()}


def _key(rows: Dataset) -> str:
    """What the answer depends on: the rows, the files that they only point to, and who decodes."""
    key = hashlib.sha256(f"{DIGEST_VERSION} {rows._fingerprint} {PIL.__version__}".encode())
    # The table's own column: of rows that were selected `rows[:]` would make a piece each, and take as long.
    images = rows.data.column("image")
    elsewhere = pc.is_null(pc.struct_field(images, "bytes"))
    paths = pc.if_else(elsewhere, pc.struct_field(images, "path"), None).combine_chunks()
    if rows._indices is not None:
        paths = paths.take(rows._indices.column(0).combine_chunks())
    for path in paths.drop_null().to_pylist():
        if os.path.exists(path):
            stat = os.stat(path)
            key.update(f"{path} {stat.st_size} {stat.st_mtime_ns}".encode())
    return key.hexdigest()[:32]


def _load(path: Path) -> CheckedImages | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            problems = json.loads(str(file["problems"]))
            return CheckedImages(file["digests"], {int(row): problem for row, problem in problems.items()})
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _save(checked: CheckedImages, path: Path) -> None:
    # Of its own for each process: two runs may check the same data at a time.
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, digests=checked.digests, problems=np.array(json.dumps(checked.problems)))
        os.replace(temporary, path)
    except OSError as error:
        logger.warning(f"can't remember which images were checked, every load will check them anew: {error}")
