"""What is read from the Hub: a stream's checkpoint to go on from, and the licences that cards name."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import yaml
from huggingface_hub import DatasetCard, HfApi, ModelCard, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from ..errors import ConfigurationError
from ..manifest import manifest_fault
from .faults import explain, hide_signatures


RESUME = "resume_from_hub"
"""Who mostly asks, for messages."""


def pinned(source: str, token: str | None = None, asked_by: str = RESUME) -> str:
    """`org/mulki-task3[@REVISION]` with the commit that it stands for now, so that all is read from the same."""
    repo_id, _, revision = source.partition("@")
    commit = _tried(asked_by, source, lambda: HfApi(token=token).model_info(repo_id, revision=revision or None).sha)
    return f"{repo_id}@{commit}"


def fetch_file(source: str, name: str, token: str | None = None, asked_by: str = RESUME) -> Path:
    """`results.json` or `recipe.yaml` of the checkpoint `org/mulki-task3[@REVISION]`, from the Hub or its cache.

    Raises:
        ConfigurationError: there is no such repository, or it holds no checkpoint of a stream.
    """
    return Path(_tried(asked_by, source, lambda: hf_hub_download(**_repository(source), filename=name, token=token)))


def holds(source: str, name: str, token: str | None = None, asked_by: str = RESUME) -> bool:
    """Whether the repository `org/name[@REVISION]` has a file; raises as [`fetch_file`] where there is no such one."""
    try:
        fetch_file(source, name, token, asked_by)
    except ConfigurationError as error:
        if isinstance(error.__cause__, EntryNotFoundError):
            return False
        raise
    return True


def fetch_checkpoint(source: str, token: str | None = None, asked_by: str = RESUME) -> Path:
    """The checkpoint `org/mulki-task3[@REVISION]` as a folder in the cache.

    Raises:
        ConfigurationError: it can't be read, or is not what was pushed; names the file.
    """
    folder = Path(_tried(asked_by, source, lambda: snapshot_download(**_repository(source), token=token)))
    if (fault := manifest_fault(folder)) is not None:
        raise ConfigurationError(
            f"{asked_by} {source!r}: {fault}: delete it from the Hub's cache, should it be damaged there alone, or "
            "take another revision"
        )
    return folder


def _repository(source: str) -> dict[str, str | None]:
    repo_id, _, revision = source.partition("@")
    return {"repo_id": repo_id, "revision": revision or None}


def _tried(asked_by: str, source: str, call: Callable[[], str]) -> str:
    hide_signatures()
    try:
        return call()
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        # A file that is absent from a repository that is there.
        if isinstance(error, EntryNotFoundError) and not isinstance(error, OSError):
            reason = "it holds no checkpoint of a stream, as `mulki_hf.train --push_to_hub` makes them"
        else:
            reason = explain(error, "it can't be read")
        raise ConfigurationError(f"{asked_by} {source!r}: {reason}") from error


def licence_of(card: type[ModelCard] | type[DatasetCard], where: str | Path, token: str | None = None) -> str | None:
    """The licence that a card names, on the Hub or in a file; None if there is none or it can't be read."""
    try:
        licence = card.load(where, token=token).data.license
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError, yaml.YAMLError):
        return None
    return licence if isinstance(licence, str) else None
