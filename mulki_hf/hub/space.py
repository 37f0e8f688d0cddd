"""A Space: made on the Hub, its files sent in one commit."""

from collections.abc import Mapping

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, SpaceCard, constants, get_token, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..errors import ConfigurationError
from .faults import bound_waiting, explain, hide_signatures, retried


ASKED_BY = "push_to_space"


def push_space(
    repo_id: str,
    files: Mapping[str, bytes],
    ours: str,
    token: str | None = None,
    private: bool | None = None,
    retries: int = 6,
    timeout: float = 60.0,
) -> str:
    """Make the Space `repo_id` if it is not there, and send `files`, which come in the place of those of their names.

    Args:
        repo_id: `org/name`.
        files: by path, with `app.py` and `README.md`.
        ours: words that `app.py` of a Space has to hold, if it has one, to be written over.
        token, retries, timeout: as of an [`Outbox`].
        private: visibility of a Space that has to be created.

    Returns:
        Its address.

    Raises:
        ConfigurationError: the Hub can't take it, or it is another app's; nothing was sent.
    """
    bound_waiting(timeout)
    hide_signatures()
    api, secret = HfApi(token=token), token or get_token()
    if constants.is_offline_mode():
        raise ConfigurationError(f"{ASKED_BY}: HF_HUB_OFFLINE is set, so nothing can be pushed; unset it")
    for name, content in files.items():
        if secret and secret.encode() in content:
            raise ConfigurationError(f"{ASKED_BY}: {name} holds the token; nothing was uploaded")
    try:
        if repo_id.count("/") != 1:
            raise HFValidationError("it has to be `org/name`")
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigurationError(f"{ASKED_BY} {repo_id!r} is no legal name of a Space: {error}") from error

    def send() -> None:
        api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        # A Space of somebody else "exists" too.
        api.auth_check(repo_id, repo_type="space", write=True)
        SpaceCard(files["README.md"].decode("utf-8")).validate()
        app = _app_of(repo_id, token)
        if app is not None and ours not in app:
            raise ConfigurationError(f"{ASKED_BY} {repo_id!r}: the Space holds another app; give another name")
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repo_id, operations, commit_message="The demo of a stream", repo_type="space")

    try:
        retried(retries, send)
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"{ASKED_BY}: {explain(error, repr(repo_id))}") from error
    return f"{api.endpoint}/spaces/{repo_id}"


def _app_of(repo_id: str, token: str | None) -> str | None:
    try:
        path = hf_hub_download(repo_id, "app.py", repo_type="space", token=token)
    except EntryNotFoundError:
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
