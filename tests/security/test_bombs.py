"""Files that unfold: a few bytes of YAML, JSON or PNG that would take hours or all memory are refused in a line."""

import io
import json
import re
import resource
import struct
import time
import zlib
from types import SimpleNamespace

import pytest
from datasets import Dataset, Features, Image
from PIL import Image as PILImage
from support.results import make_results

from mulki_hf import StreamConfig, TaskConfig, load_stream, predict
from mulki_hf.config import parser
from mulki_hf.config.parser import parse
from mulki_hf.data.checked import check_images
from mulki_hf.data.config import TaskSpec
from mulki_hf.data.pixels import open_image
from mulki_hf.errors import ConfigurationError
from mulki_hf.page.examples import find_examples
from mulki_hf.prediction.pictures import UnreadablePicture, read_picture
from mulki_hf.records import TaskRecord
from mulki_hf.results import StreamResults
from mulki_hf.strict_yaml import MAX_CHARACTERS


def chain(item: str, wide: int, deep: int) -> str:
    """Mappings of lists, each of the one before: `wide` to the power of `deep` values."""
    lines = [f"a0: &a0 [{', '.join([item] * wide)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * wide)}]" for n in range(1, deep)]
    return "\n".join(lines) + "\n"


YAML = {
    "billion laughs": (chain("x", 10, 10), "more than 1000000 values"),
    "merged laughs": (
        "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)),
        "more than 1000000 values",
    ),
    "open brackets": ("[" * 10_000, "nested more than 50 levels deep"),
    "open braces": ("{a: " * 10_000, "nested more than 50 levels deep"),
    "deep blocks": ("\n".join(" " * n + "a:" for n in range(1500)), "nested more than 50 levels deep"),
    "itself": ("a: &a [*a]", "an alias stands inside what it stands for"),
    "digits": ("a: " + "9" * 50_000, "an integer of more than 100 digits"),
    "base 16": ("a: 0x" + "f" * 50_000, "an integer of more than 100 digits"),
    "base 60": ("a: 1" + ":59" * 20_000, "an integer of more than 100 digits"),
    "too long": ("a: " + "x" * MAX_CHARACTERS, "more than 2000000 characters"),
    "an object": ("a: !!python/object/apply:os.system ['touch sprung']", "could not determine a constructor"),
    "a name": ("a: !!python/name:os.system", "could not determine a constructor"),
    "a module": ("a: !!python/module:antigravity", "could not determine a constructor"),
    "a long tag": ("a: !<" + "x" * 10_000 + "> b", "could not determine a constructor"),
    "half a character": ('a: "\\ud800"', "holds half a character"),
}


def peak() -> int:
    """Megabytes that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.fixture(autouse=True)
def bounded():
    """Neither time nor memory is taken, by far."""
    before, began = peak(), time.monotonic()
    yield
    assert peak() - before < 600 and time.monotonic() - began < 120


@pytest.mark.parametrize(("text", "message"), YAML.values(), ids=YAML)
class TestYaml:
    def test_as_a_recipe(self, tmp_path, text, message):
        (tmp_path / "recipe.yaml").write_text(text)
        with pytest.raises(ConfigurationError, match=f"--config: .*{message}") as error:
            parse(["--config", str(tmp_path / "recipe.yaml")])
        assert len(str(error.value)) < 700

    def test_as_one_of_the_hubs(self, tmp_path, monkeypatch, text, message):
        (tmp_path / "recipe.yaml").write_text(text)
        monkeypatch.setattr(parser, "fetch_file", lambda *_: tmp_path / "recipe.yaml")
        with pytest.raises(ConfigurationError, match=message):
            parse(["--resume_from_hub", "org/task1", "--output_dir", "out"])

    def test_as_tasks(self, text, message, tmp_path):
        """On the command line, and as the file that a task names as its data."""
        with pytest.raises(Exception, match=message):
            TaskSpec(text)
        (tmp_path / "data.yaml").write_text(text)
        with pytest.raises(ConfigurationError, match=message):
            TaskConfig.from_dict({"name": "t", "dataset": str(tmp_path / "data.yaml")}, 1)

    def test_as_settings_of_adapters(self, text, message, tmp_path, make_args):
        (tmp_path / "peft.yaml").write_text(text)
        with pytest.raises(ConfigurationError, match=message):
            make_args(peft_config=str(tmp_path / "peft.yaml"))


RESULTS = {
    "deep": ("[" * 500 + "]" * 500, "nested more than 50 levels deep"),
    "deeper": ("[" * 100_000 + "]" * 100_000, "can't read results"),
    "digits": ("9" * 5000, "can't read results"),
    "half a character": (r'"\ud800"', r"holds the character '\\ud800'"),
    "a terminal's": (r'"\u001b[2J"', r"holds the character '\\x1b'"),
    "turned": (r'"\u202etxt.exe"', r"holds the character '\\u202e'"),
    "nul": (r'"\u0000"', r"holds the character '\\x00'"),
    "infinite": ("1e999", "a finite number"),
}


@pytest.mark.parametrize(("value", "message"), RESULTS.values(), ids=RESULTS)
def test_results(tmp_path, value, message):
    make_results().save(tmp_path)
    path = tmp_path / StreamResults.FILE
    content = json.loads(path.read_text())
    content["config"]["templates"] = "HERE" if value != "1e999" else []
    content["tasks"][0]["seconds"] = "HERE" if value == "1e999" else 1.5
    path.write_text(json.dumps(content).replace('"HERE"', value))
    with pytest.raises(ConfigurationError, match=message):
        StreamResults.load(tmp_path)


# Images


def png(width: int, height: int, content: bytes | None = None, more: bytes = b"") -> bytes:
    """Of one bit a pixel, all black; without `content` whole, which takes a thousandth of the size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    if content is None:
        content = zlib.compress((b"\0" + bytes((width + 7) // 8)) * height)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def text_chunk() -> bytes:
    """A comment of 100 MB."""
    data = b"Comment\0\0" + zlib.compress(bytes(100_000_000))
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))


@pytest.fixture(scope="module")
def bombs() -> dict[str, tuple[bytes, str]]:
    """Each with what is said of it; that of PIL's warning level is whole."""
    return {
        "2.5 billion pixels": (png(50_000, 50_000, b""), r"2500000000 pixels\) exceeds limit of 178956970"),
        "100 million": (png(10_000, 10_000), r"100000000 pixels\) exceeds limit of 89478485"),
        "one line": (png(2**31 - 1, 1, b""), r"2147483647 pixels\) exceeds limit of"),
        "a comment": (png(8, 8, more=text_chunk()), "Decompressed data too large"),
        "a program": (postscript(), "it is PostScript|of a kind that is not read"),
    }


def postscript() -> bytes:
    """A picture, as Pillow writes it."""
    with io.BytesIO() as file:
        PILImage.new("RGB", (8, 8)).save(file, "EPS")
        return file.getvalue()


KINDS = ["2.5 billion pixels", "100 million", "one line", "a comment", "a program"]


@pytest.mark.parametrize("kind", KINDS)
class TestImages:
    def test_the_check_before_training(self, bombs, kind):
        content, message = bombs[kind]
        rows = [{"bytes": png(8, 8), "path": None}, {"bytes": content, "path": None}]
        data = Dataset.from_dict({"image": rows}, Features({"image": Image(decode=False)}))
        problems = check_images(data, "test").problems
        assert list(problems) == [1] and re.search(message, problems[1])

    def test_a_stream_names_the_row_or_leaves_it_out(self, bombs, kind, tmp_path):
        content, message = bombs[kind]
        for split in ("train", "test"):
            for name, own in {"a": png(8, 8), "b": png(16, 8), "c": content}.items():
                place = tmp_path / "data" / split / ("cat" if name == "a" else "dog")
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{name}.png").write_bytes(own)
        task = {"name": "t", "dataset": str(tmp_path / "data")}
        with pytest.raises(ConfigurationError, match=f"1 unreadable image.s., the first in row 2: .*{message}"):
            load_stream(StreamConfig(tasks=[task]))
        (loaded,) = load_stream(StreamConfig(tasks=[task], unreadable_images="skip"))
        assert len(loaded.train) == len(loaded.evaluation) == 2

    def test_a_picture_of_ones_own(self, bombs, kind, tmp_path, capsys, caplog):
        content, message = bombs[kind]
        (tmp_path / "bomb.png").write_bytes(content)
        with pytest.raises(UnreadablePicture, match=message):
            read_picture(tmp_path / "bomb.png")
        ask = ["clip-nano", str(tmp_path / "bomb.png"), "--class_names", "cat,dog", "--use_cpu"]
        with pytest.raises(SystemExit, match=f"images: none can be read: .*bomb.png: .*{message}"):
            predict.main(ask)


def test_examples_of_a_page(bombs, tmp_path):
    """The demo's: a task with such an image has none, and the page says why."""
    content, message = bombs["100 million"]
    for name in ("cat", "dog"):
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "a.png").write_bytes(content)
    record = TaskRecord("t", "local files", ["cat"], ["a {}."], 1, 1)
    spec = {"name": "t", "dataset": str(tmp_path), "train_split": "test", "eval_split": "test"}
    results = SimpleNamespace(tasks=[record], config={"tasks": [spec]})
    examples, (note,) = find_examples(results, 2)
    assert not examples and re.search(f"no examples of t: .*{message}", note)


def test_a_large_photograph_is_none(tmp_path):
    """80 million pixels: what a good camera makes."""
    (tmp_path / "large.png").write_bytes(png(10_000, 8_000, b""))
    with open_image(tmp_path / "large.png") as image:
        assert image.size == (10_000, 8_000)
