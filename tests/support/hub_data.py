"""Data as repositories on the Hub hold them: parquet and webdataset files of small pictures, and the card."""

import io
import tarfile
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import yaml
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PILImage


def picture(name: str, number: int) -> bytes:
    """A PNG of 16 x 16 whose colour and stripes are the class's, and its noise the picture's own."""
    said = zlib.crc32(name.encode())
    pixels = np.random.default_rng(number).integers(0, 40, (16, 16, 3), dtype=np.uint8)
    pixels[:: 2 + said % 5] += np.array([said >> 8 & 127, said >> 15 & 127, said >> 22 & 127], dtype=np.uint8)
    file = io.BytesIO()
    PILImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def labelled(
    names: list[str],
    per_class: int,
    image: str = "image",
    label: str = "label",
    beside: Mapping[str, ClassLabel | Value] | None = None,
    seed: int = 0,
) -> Dataset:
    """Rows in which the classes take turns.

    Args:
        names: of the classes, in the order of the Hub's labels.
        per_class: rows of each.
        image, label: the columns' names.
        beside: other columns by name; one of texts holds `CLASS_NUMBER`.
        seed: pictures of another one are others.
    """
    beside = dict(beside or {})
    rows: dict[str, list] = {column: [] for column in (image, label, *beside)}
    for number in range(per_class):
        for position, name in enumerate(names):
            content = picture(name, seed * 1000 + number)
            rows[image].append({"bytes": content, "path": f"image_{seed:02d}{number:02d}.png"})
            rows[label].append(position)
            for column, kind in beside.items():
                texts = not isinstance(kind, ClassLabel)
                rows[column].append(f"{name}_{seed:02d}{number:02d}" if texts else position % kind.num_classes)
    features = {image: Image(), label: ClassLabel(names=names)} | beside
    return Dataset.from_dict(rows, features=Features(features))


def unlabelled(count: int, **columns: Iterable[str]) -> Dataset:
    """Pictures of no class, with further columns of texts."""
    images = [{"bytes": picture(f"picture {n}", n), "path": None} for n in range(count)]
    features = {"image": Image()} | {name: Value("string") for name in columns}
    rows = {"image": images} | {name: list(texts) for name, texts in columns.items()}
    return Dataset.from_dict(rows, features=Features(features))


def parquet(rows: Dataset) -> bytes:
    """The rows as a parquet file, with the features in its metadata."""
    with io.BytesIO() as file:
        rows.to_parquet(file)
        return file.getvalue()


def webdataset(rows: Dataset, image: str = "image", label: str = "label") -> bytes:
    """The rows as a shard of a webdataset: `png` and, as text, `cls`."""
    encoded = rows.cast_column(image, Image(decode=False))
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for number, row in enumerate(encoded):
                for ending, content in (("png", row[image]["bytes"]), ("cls", str(row[label]).encode())):
                    member = tarfile.TarInfo(f"{number:06d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        return file.getvalue()


def repository(splits: Mapping[str, Dataset], config_name: str | None = None, **card: str) -> dict[str, bytes]:
    """The files of a dataset's repository, a parquet file a split; a configuration has a folder of its name.

    Args:
        splits: by name.
        config_name (*optional*): the configuration's.
        card: what the card says, `license` for one.
    """
    folder = config_name or "data"
    files = {f"{folder}/{name}-00000-of-00001.parquet": parquet(rows) for name, rows in splits.items()}
    paths = [{"split": name, "path": f"{folder}/{name}-*"} for name in splits]
    told = card | {"configs": [{"config_name": config_name or "default", "data_files": paths}]}
    return files | {"README.md": f"---\n{yaml.safe_dump(told)}---\n# A dataset\n".encode()}
