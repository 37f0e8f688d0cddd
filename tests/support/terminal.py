"""A terminal in the test's own process, and what stands on its screen."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


COLUMNS, ROWS = 100, 40


class Terminal:
    """What was written to a terminal."""

    def __init__(self) -> None:
        self.written = b""

    @property
    def raw(self) -> str:
        return self.written.decode()

    @property
    def frames(self) -> list[str]:
        """What stood in a line between two returns to its beginning, without colours."""
        plain = re.sub(r"\x1b\[[\d;]*m", "", self.raw)
        return [frame.strip() for frame in re.split(r"[\r\n]+", plain) if frame.strip()]

    @property
    def screen(self) -> list[str]:
        """Its lines in the end."""
        lines, row, column = [""], 0, 0
        for move, text in re.findall(r"(\r|\n|\x1b\[A|\x1b\[[\d;]*m)|([^\r\n\x1b]+)", self.raw):
            if text:
                lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
                column += len(text)
            elif move == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif move == "\r":
                column = 0
            elif move == "\x1b[A":
                row -= 1
        return [line.rstrip() for line in lines]


@contextmanager
def terminal(columns: int = COLUMNS) -> Iterator[Terminal]:
    """Inside the block stdout and stderr are one."""
    read, write = pty.openpty()
    fcntl.ioctl(write, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS if columns else 0, columns, 0, 0))
    seen = Terminal()

    def listen() -> None:
        while True:
            try:
                seen.written += os.read(read, 65536)
            except OSError:  # nobody writes any more
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    with pytest.MonkeyPatch.context() as patch:
        out, err = (os.fdopen(os.dup(write), "w", encoding="utf-8", buffering=1) for _ in range(2))
        os.close(write)
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            yield seen
        finally:
            out.close()
            err.close()
            listener.join(5)
            os.close(read)
