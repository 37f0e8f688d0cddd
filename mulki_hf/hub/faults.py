"""What goes wrong between here and the Hub: which faults pass, how long to wait, and how to say it."""

import logging
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers

# Not public, but its event hooks are the library's; made without it, a client would miss them.
from huggingface_hub.utils._http import default_client_factory
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from .shareable import shareable


logger = logging.getLogger(__name__)

# 412: something else was committed meanwhile; the next try sees it.
_TRANSIENT_STATUS = {408, 412, 425, 429, 500, 502, 503, 504}


def bound_waiting(timeout: float) -> None:
    """For this process: a request to the Hub has failed after so many seconds without an answer."""
    # The library's own client waits for ever, and is made anew after some errors.
    set_client_factory(partial(_client, timeout))


def hide_signatures() -> None:
    """For this process: the library's own messages hold no signatures of storage."""
    library = logging.getLogger("huggingface_hub.utils._http")
    if not any(isinstance(kept, _WithoutQueries) for kept in library.filters):
        library.addFilter(_WithoutQueries())


def retried(retries: int, call: Callable, *args: Any, **kwargs: Any) -> Any:
    """`call(...)`, again after a fault that may pass, that many times. Every call here can be repeated without harm."""
    return Retrying(
        stop=stop_after_attempt(retries + 1),
        wait=_pause,
        retry=retry_if_exception(may_pass),
        before_sleep=_say,
        reraise=True,
    )(call, *args, **kwargs)


def _say(state: RetryCallState) -> None:
    pause = state.next_action.sleep if state.next_action else 0.0
    logger.warning(f"Hub: {explain(_failure(state), 'a request')}; next try in {pause:.0f} s")


def _failure(state: RetryCallState) -> BaseException:
    failure = state.outcome and state.outcome.exception()
    return failure or RuntimeError("no answer")


def _client(timeout: float) -> httpx2.Client:
    client = default_client_factory()
    client.timeout = httpx2.Timeout(timeout)
    return client


class _WithoutQueries(logging.Filter):
    """Takes the queries of addresses, which can hold signatures of storage, out of the library's own messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = re.sub(r"(https?://[^\s?]+)\?[^\s'\"]+", r"\1", record.getMessage()), ()
        return True


def root_of(error: BaseException) -> BaseException:
    """What went wrong with the request: the library wraps it for uploads."""
    while not isinstance(error, HfHubHTTPError | httpx2.HTTPError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def may_pass(error: BaseException) -> bool:
    error = root_of(error)
    if isinstance(error, OfflineModeIsEnabled):
        return False
    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code in _TRANSIENT_STATUS
    return isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)


def _pause(state: RetryCallState) -> float:
    """What the server asks for, ten minutes at most; else 1, 2, 4, ... up to 60 seconds."""
    response = getattr(root_of(_failure(state)), "response", None)
    asked = None if response is None else _asked_for(response.headers)
    return wait_exponential(max=60)(state) if asked is None else min(max(asked, 0.0), 600.0)


def _asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the Hub's RateLimit header or by Retry-After, as a number or as a date."""
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0
    asked = headers.get("retry-after", "").strip()
    if asked.isdigit():
        return float(asked)
    try:
        return (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None


def explain(error: BaseException, what: str) -> str:
    """An error of the Hub or of the way there, in one line; without URL queries, which can hold signatures."""
    error = root_of(error)
    if isinstance(error, LocalTokenNotFoundError):
        return "no token: run `hf auth login`, set HF_TOKEN or give hub_token"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it"
    if isinstance(error, httpx2.TransportError):
        return f"can't reach {shareable(constants.ENDPOINT)}: {type(error).__name__} {error}".strip()
    message = re.sub(r"\?\S+", "", " ".join(str(error).split()))
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return f"{what}: the token is not valid here (401): {message}"
    if status == 403:
        return f"{what}: the token does not allow this (403): {message}"
    return f"{what}: {type(error).__name__}: {message}"
