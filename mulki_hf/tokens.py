"""Tokens of the Hub are not to be seen: in no message, in no traceback, not in what `ps` shows of a command."""

import ctypes
import os
import re
import sys
import traceback
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType


OPTIONS = ("--hub_token", "--hub-token")
WARNING = (
    "warning: a token on the command line can be read by others on this machine while the command starts, stays in "
    "the shell's history, and is shown by a launcher, which prints it when a run fails: set HF_TOKEN, or run `hf auth "
    "login` once"
)
# Of a token, and of name and password in an address.
_SECRET = re.compile(r"\bhf_[A-Za-z0-9]{16,}|(?<=://)[^\s/@]+(?=@)")


_GIVEN: set[str] = set()
"""Tokens that this process was given, of whatever form."""


def without_tokens(text: str) -> str:
    """`text` without tokens, and without the name and password of an address."""
    for token in _GIVEN:
        text = text.replace(token, "...")
    return _SECRET.sub("...", text)


def hide_tokens() -> None:
    """For this process: no traceback holds a token, and nothing shows the one on its command line any more."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print_traceback
    words = [(word.partition("="), after) for word, after in pairwise([*sys.argv, ""])]
    tokens = [given if equals else after for (name, equals, given), after in words if name in OPTIONS]
    for token in filter(None, tokens):
        overwrite_argument(os.fsencode(token))
    # Short ones could be words of any text.
    _GIVEN.update(token for token in (*tokens, os.environ.get("HF_TOKEN")) if token and len(token) >= 8)
    if tokens and os.environ.get("RANK", "0") == "0":
        print(WARNING, file=sys.stderr)


def overwrite_argument(secret: bytes) -> None:
    """Put stars in place of `secret` in what the system shows of this process's command; on Linux alone."""
    with suppress(OSError, IndexError, ValueError):
        # proc_pid_stat(5): arguments begin and end at fields 48 and 49; the third stands behind the name.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        if 0 < start < end:
            shown = (ctypes.c_char * (end - start)).from_address(start)
            shown.raw = shown.raw.replace(secret, b"*" * len(secret))


def _print_traceback(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    sys.stderr.write(without_tokens("".join(traceback.format_exception(kind, error, where))))
