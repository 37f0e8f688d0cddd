"""What somebody who means harm may send: pickles that do something, names that are markup or lead elsewhere."""

import io
import pickle
from pathlib import Path

import torch


class Trap:
    """Of a pickle: whoever loads it freely writes a file, which `sprung` tells."""

    def __init__(self, folder: Path):
        self.mark = folder / "sprung"

    def __reduce__(self):
        return (Path.touch, (self.mark,))

    @property
    def sprung(self) -> bool:
        return self.mark.exists()

    def archive(self) -> bytes:
        """As `torch.save` writes it."""
        with io.BytesIO() as file:
            torch.save({"weight": torch.ones(2), "trap": self}, file)
            return file.getvalue()

    def plain(self) -> bytes:
        """As `pickle` does."""
        return pickle.dumps(self)


NAMES = [
    "../../x",
    "/etc/passwd",
    "---",
    "--- license: evil",
    "{{ 7*7 }}",
    "{% include 'x' %}",
    "{# x #}",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</script><!-- x",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "<http://evil.example>",
    "https://evil.example/x",
    "www.evil.example",
    "eve@evil.example",
    "`code` ``",
    "a|b",
    "# head",
    "1. x",
    "- x",
    "> q",
    "**b** _i_ ~~s~~",
    "&lt;b&gt; &amp;",
    "$x^{$",
    "$(touch sprung)",
    "; touch sprung",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil.example")',
    "@SUM(1)",
    "%s %d %(x)s",
    "{} {0} {x",
    "\\ \\n \\",
    "\"'",
    "'''",
    '"""',
    ".hidden",
    "CON",
    "con",
    "null",
    "true",
    "1e3",
    "!!python/name:os.system",
    "*x",
    "&x",
    "😀👩‍🚀",
    "ключ 犬",
]
"""Class names that are names: of one line and visible, and nothing that reads them may take them for more."""

UNSEEN = {
    "nul": "a\0b",
    "two lines": "a\nb",
    "front matter": "a\n---\nlicense: evil\n---\n",
    "carriage return": "a\rb",
    "a terminal's colours": "a\x1b[31mb",
    "a terminal's title": "a\x1b]0;x\x07b",
    "C1": "a\x9b31mb",
    "turned": "a\u202eb",
    "isolated": "a\u2066b",
    "no width": "a\u200bb",
    "line separator": "a\u2028b",
    "half a character": "a\ud800b",
}
"""What no name is."""

ELSEWHERE = [
    "..",
    ".",
    "../x",
    "a/b",
    "/x",
    "~",
    "C:\\x",
    "a\\b",
    "",
    " ",
    ".hidden",
    "-dash",
    "a b",
    "a\tb",
    "a%2fb",
    "x" * 500,
]
"""What no task is called, beside [`UNSEEN`] and most [`NAMES`]."""
