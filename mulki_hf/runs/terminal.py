"""What a run shows on the terminal: one bar with whole lines above it; without a terminal a line now and then."""

import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from typing import Any, TextIO

import datasets
import transformers
from tqdm import tqdm

from ..config import MulKIConfig


VERBOSE = ("info", "debug")
NOISE = re.compile(
    r"pin_memory|loss_type=|slow image processor|fast (image )?processor|torchvision|use_fast"
    r"|is_gradient_checkpointing|`use_return_dict`|lr_scheduler\.step\(\)|tokenizer has new (PAD|BOS|EOS)"
    r"|Model config: (bos|eos)_token_id",
)
"""Warnings of libraries about what this package decides, and nobody who trains with it can change."""
BAR = "{percentage:3.0f}% |{bar:16}| {desc}"
BESIDE = len("100% || ") + 16
"""Columns that it takes."""
SECONDS = 300
"""Between two lines without a terminal, of work that has nothing else to say."""


def verbose(config: MulKIConfig) -> bool:
    """Whether libraries and Trainer are to show all that they would on their own: `--log_level info` or `debug`."""
    return config.log_level in VERBOSE


def wants_bar(config: MulKIConfig) -> bool:
    return not config.disable_tqdm and not verbose(config) and sys.stderr.isatty()


def quieten(config: MulKIConfig, main_process: bool) -> None:
    """No bars and warnings that nobody wants or sees; of `datasets` bars stay where a terminal shows them."""
    if not main_process or not (wants_bar(config) or verbose(config)) or config.disable_tqdm:
        datasets.disable_progress_bars()
    if not main_process or not verbose(config) or config.disable_tqdm:
        transformers.logging.disable_progress_bar()
    if not verbose(config):
        warnings.filterwarnings("ignore", message=f".*({NOISE.pattern})")
        for handler in logging.getLogger("transformers").handlers:
            if said not in handler.filters:
                handler.addFilter(said)
    if not main_process:
        logging.getLogger("mulki_hf").setLevel(logging.ERROR)


def said(record: logging.LogRecord) -> bool:
    """Whether a library's message is no [`NOISE`]."""
    return record.levelno >= logging.ERROR or NOISE.search(record.getMessage()) is None


@contextmanager
def passing_bars() -> Iterator[None]:
    """Inside the block bars of `datasets` leave nothing behind, on the terminal that they are shown on."""
    bar = datasets.utils.tqdm
    init = bar.__init__
    bar.__init__ = partialmethod(init, leave=False)
    try:
        yield
    finally:
        bar.__init__ = init


class Bar:
    """A bar in the terminal's last line. What anybody prints or logs meanwhile comes above it, in whole lines."""

    def __init__(self) -> None:
        colour = None if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else "green"
        self._bar = tqdm(
            total=1.0, bar_format=BAR, leave=False, ncols=80, nrows=24, file=sys.stderr, colour=colour, mininterval=0
        )
        self._shown = 0.0
        self._streams = {name: getattr(sys, name) for name in ("stdout", "stderr")}
        above = {stream: Above(stream, self._bar) for stream in self._streams.values() if stream.isatty()}
        for name, stream in self._streams.items():
            setattr(sys, name, above.get(stream, stream))
        loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
        handlers = [handler for logger in loggers for handler in getattr(logger, "handlers", [])]
        self._handlers = [
            (handler, handler.setStream(above[handler.stream]))
            for handler in handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream in above
        ]
        self._above = above

    def show(self, share: float, texts: list[str], now: bool = False) -> None:
        """Let the bar stand at `share`, in [0, 1], with `texts` beside it; ten times a second, unless it is `now`."""
        if not now and time.monotonic() < self._shown + 0.1:
            return
        # It may have been resized; some don't say how wide they are.
        self._bar.ncols = os.get_terminal_size(self._streams["stderr"].fileno()).columns or 80
        text, room = "  ".join(texts), self._bar.ncols - BESIDE
        text = text if room > 50 else text.strip()
        self._bar.n = min(share, 1.0)
        self._bar.set_description_str(text if len(text) < room else f"{text[: room - 2]}…", refresh=False)
        self._bar.refresh()
        self._shown = time.monotonic()

    def close(self) -> None:
        """Nothing of it is left, and streams are what they were."""
        self._bar.close()
        for name, stream in self._streams.items():
            setattr(sys, name, stream)
        for handler, stream in self._handlers:
            handler.setStream(stream)
        for stream in self._above.values():
            stream.finish()


class Above:
    """A stream of the terminal; its lines come above the bar. Forked processes write as they would."""

    def __init__(self, stream: TextIO, bar: tqdm):
        self._stream, self._bar = stream, bar
        self._line, self._owner, self._writing = "", os.getpid(), False

    def write(self, text: str) -> int:
        # Whoever moves the cursor has a bar of its own.
        if self._writing or "\r" in text or "\x1b[A" in text or os.getpid() != self._owner:
            return self._stream.write(text)
        lines, newline, self._line = (self._line + text).rpartition("\n")
        if newline:
            self._writing = True
            try:
                with tqdm.external_write_mode(file=self._bar.fp):
                    self._stream.write(lines + newline)
                    self._stream.flush()
            finally:
                self._writing = False
        return len(text)

    def finish(self) -> None:
        """What had no end of line yet."""
        self._stream.write(self._line)
        self._line = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Lines:
    """Without a terminal: a line on stderr when there is something to say, else every five minutes."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def show(self, share: float, texts: list[str], now: bool = False) -> None:
        """Say `texts` if it is `now`, or has been quiet for long."""
        if now or time.monotonic() >= self._last + SECONDS:
            sys.stdout.flush()  # a file that takes both gets them in their order
            print(f"{100 * share:.0f}%:", ", ".join(text.strip() for text in texts), file=sys.stderr, flush=True)
            self._last = time.monotonic()

    def close(self) -> None:
        """Nothing to clear."""
