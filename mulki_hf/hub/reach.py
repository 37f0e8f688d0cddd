"""Is the Hub in reach? Where it is not, libraries try for long, file by file, unless they are told."""

from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import httpx2
from huggingface_hub import constants, get_session

from .faults import explain


SECONDS = 5.0
"""For an answer."""
GATEWAY = {407, 502, 503, 504}
"""Answers of whoever stands between, on which libraries would wait and try again."""


def out_of_reach() -> str | None:
    """Why the Hub does not answer, in a line; None: it does, or nobody is to ask it (`HF_HUB_OFFLINE`)."""
    if constants.is_offline_mode():
        return None
    try:
        answer = get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except httpx2.TransportError as error:
        return explain(error, "the Hub")
    return f"can't reach {constants.ENDPOINT}: answer {answer.status_code}" if answer.status_code in GATEWAY else None


@contextmanager
def caches_alone(wanted: bool = True) -> Iterator[None]:
    """Inside the block libraries do as with `HF_HUB_OFFLINE`, if that is `wanted`."""
    libraries = constants, datasets.config
    before = [library.HF_HUB_OFFLINE for library in libraries]
    try:
        for library in libraries if wanted else ():
            library.HF_HUB_OFFLINE = True
        yield
    finally:
        for library, offline in zip(libraries, before, strict=True):
            library.HF_HUB_OFFLINE = offline
