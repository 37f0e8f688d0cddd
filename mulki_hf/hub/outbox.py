"""Publishing a stream on the Hub, a repository a task."""

import json
import logging
import re
import shlex
from collections.abc import Callable
from concurrent import futures
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id

from ..durable import TEMPORARY, write_text
from ..errors import ConfigurationError, PushError
from ..manifest import manifest_fault
from .faults import bound_waiting, explain, hide_signatures, retried


logger = logging.getLogger(__name__)


@dataclass
class Push:
    """A finished task's folder on its way to the Hub.

    Attributes:
        folder: the checkpoint's folder, relative to the run's `output_dir`.
        repo_id: repository that receives it.
        revision (*optional*): branch; the repository's main one by default.
        collection (*optional*): slug of the collection that the repository joins.
        commit (*optional*): the commit that holds the folder; None while the push is pending.
        tag (*optional*): its tag; None too for a folder that came from the Hub, which is not pushed.
        error (*optional*): why the last try failed.
    """

    folder: str
    repo_id: str
    revision: str | None = None
    collection: str | None = None
    commit: str | None = None
    tag: str | None = None
    error: str | None = None

    @property
    def taken_up(self) -> bool:
        """Whether the folder came from the Hub, and is not pushed."""
        return self.commit is not None and self.tag is None


PUSHES = "pushes.json"
GRACE = 15.0
"""Seconds that a push has left when the run is stopped: half of what Slurm, torchrun and Kubernetes leave between
SIGTERM and SIGKILL; a checkpoint comes first."""


def recorded_pushes(output_dir: Path) -> list[Push]:
    """The pushes that a run's folder has on record.

    Raises:
        ConfigurationError: the record can't be read.
    """
    path = output_dir / PUSHES
    try:
        return [Push(**push) for push in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"can't read the record of pushes {path}: {error}") from error


class Outbox:
    """The pushes of one run: sent one after another in the background, recorded on disk until they have arrived.

    A push is recorded before it is tried, so that neither a fault of the Hub nor a crash loses it;
    `python -m mulki_hf.push OUT` sends what is pending.

    `planned` holds, by folder, the pushes that `prepare` has made possible.

    Args:
        output_dir: the run's folder; its `pushes.json` is read if there is one.
        token (`str`, *optional*): default: the one of `hf auth login` or HF_TOKEN.
        retries (`int`): tries after the first, for faults that pass: connection errors, time-outs, 429 and 5xx.
        timeout (`float`): seconds without an answer after which a request has failed.
    """

    FILE = PUSHES

    def __init__(self, output_dir: str | Path, token: str | None = None, retries: int = 6, timeout: float = 60.0):
        self.output_dir = Path(output_dir)
        self.retries = retries
        self.api = HfApi(token=token)
        self.token = token or get_token()
        bound_waiting(timeout)
        hide_signatures()
        self.pushes: list[Push] = []
        self.planned: dict[str, Push] = {}
        self._sending: list[futures.Future] = []
        self._writing = Lock()
        self.read()

    def read(self) -> None:
        """Take up what is recorded on disk, but for what is planned anew.

        Raises:
            ConfigurationError: the record can't be read.
        """
        # A record of a planned one is of a run that ended between the push and the results: it is made again.
        self.pushes = [push for push in recorded_pushes(self.output_dir) if push.folder not in self.planned]

    @property
    def pending(self) -> list[Push]:
        """The pushes that have not arrived."""
        return [push for push in self.pushes if push.commit is None]

    # Before training

    def prepare(
        self,
        model_id: str | None,
        repositories: dict[str, str],
        private: bool | None = None,
        revision: str | None = None,
        collection: str | None = None,
        card: str | None = None,
    ) -> None:
        """Plan pushes, and make sure that they will work: token, namespace, names, repositories.

        Args:
            model_id: `org/mulki`; without a namespace the user's own, None: the name of `output_dir`.
            repositories: what of the names of repositories comes behind `model_id`, by folder: `task3` for
                `task3-greek`, `task3-lora` for `task3-greek/adapter`.
            private: visibility of repositories and collection that have to be created.
            revision: branch to push to, created where it is missing.
            collection: title of a collection, created if it is missing.
            card: a model card with the metadata that the real ones will have, for the Hub to check.

        Raises:
            ConfigurationError: what is wrong, and what to do.
        """
        model_id = model_id or self.output_dir.absolute().name
        if constants.is_offline_mode():
            raise ConfigurationError("push_to_hub: HF_HUB_OFFLINE is set, so nothing can be pushed; unset it")
        repo_ids = [f"{model_id}-{name}" for name in repositories.values()]
        for repo_id in repo_ids:
            try:
                validate_repo_id(repo_id)
            except HFValidationError as error:
                raise ConfigurationError(
                    f"hub_model_id {model_id!r} makes no legal repository name: {error}"
                ) from error
        try:
            user = self._retried(self.api.whoami)
            if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
                raise ConfigurationError(
                    f"push_to_hub: the token of {user['name']!r} only allows to read; make one with write permission"
                )
            if "/" not in model_id:
                repo_ids = [f"{user['name']}/{repo_id}" for repo_id in repo_ids]
            for repo_id in repo_ids:
                self._retried(self._make_repository, repo_id, private, revision)
            if card is not None:
                self._retried(ModelCard(card).validate)
            slug = None
            if collection is not None and repo_ids:
                namespace = repo_ids[0].partition("/")[0]
                options = {"namespace": namespace, "private": bool(private), "exists_ok": True}
                slug = self._retried(self.api.create_collection, collection, **options).slug
        except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(f"push_to_hub: {explain(error, 'hub_model_id ' + repr(model_id))}") from error
        self.planned = {
            folder: Push(folder, repo_id, revision, slug)
            for folder, repo_id in zip(repositories, repo_ids, strict=True)
        }
        self.pushes = [push for push in self.pushes if push.folder not in self.planned]

    def _make_repository(self, repo_id: str, private: bool | None, revision: str | None) -> None:
        self.api.create_repo(repo_id, private=private, exist_ok=True)
        # A repository of somebody else "exists" too.
        self.api.auth_check(repo_id, write=True)
        if revision is not None:
            self.api.create_branch(repo_id, branch=revision, exist_ok=True)

    # After a task

    def planned_of(self, folder: str) -> list[Push]:
        """The planned pushes of a checkpoint's folder: itself and the adapter in it."""
        return [push for name, push in self.planned.items() if name.partition("/")[0] == folder]

    def send_in_background(self, push: Push) -> None:
        """Record `push` as pending, and send it once those before it are done."""
        self._record(push)
        # The upload's bars would run through those of the training.
        disable_progress_bars()
        self._sending.append(self.api.run_as_future(self.send, push))

    def wait(self) -> None:
        """Return when every push under way has arrived or been given up."""
        for future in self._sending:
            future.result()
        self._sending.clear()

    def stop(self, seconds: float) -> None:
        """Begin no further push, and give the one under way so long to arrive; the others stay pending."""
        futures.wait([future for future in self._sending if not future.cancel()], timeout=seconds)

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        """Wait for what is under way, after an interruption for [`GRACE`], and say what arrived and what is pending."""
        under_way = any(not future.done() for future in self._sending)
        if kind is None or issubclass(kind, Exception):
            if under_way:
                print("waiting for the pushes to the Hub", flush=True)
            self.wait()
        elif issubclass(kind, KeyboardInterrupt) and under_way:
            print(f"waiting at most {GRACE:.0f} s for the push under way", flush=True)
            self.stop(GRACE)
        if self.pushes:
            print(f"\n{self.report()}", flush=True)
        if kind is not None and self.pending:
            print(self.pending_message(), flush=True)

    def send(self, push: Push) -> None:
        """Upload the folder in one commit, tag it, add it to its collection; a failure is recorded, not raised."""
        self._record(push)
        try:
            push.commit, push.tag = self._retried(self._upload, push)
            push.error = None
        except Exception as error:  # whatever it is, the training beside it must go on
            push.error = explain(error, push.repo_id)
            logger.warning(f"not pushed: {push.error}")
        self._record(push)

    def _upload(self, push: Push) -> tuple[str, str]:
        folder = self.output_dir / push.folder
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != TEMPORARY)
        if not files:
            raise FileNotFoundError(f"no files in {push.folder}")
        task, _, artefact = push.folder.partition("/")
        if (fault := manifest_fault(self.output_dir / task, artefact and f"{artefact}/")) is not None:
            raise ValueError(f"{fault}; nothing was uploaded")
        for path in files:
            if self.token and path.suffix != ".safetensors" and self.token.encode() in path.read_bytes():
                raise ValueError(f"{push.folder}/{path.name} holds the token; nothing was uploaded")
        refs = self.api.list_repo_refs(push.repo_id)
        branch = push.revision or constants.DEFAULT_REVISION
        commit = self.api.create_commit(
            push.repo_id,
            [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files],
            commit_message=f"Model after {push.folder}",
            revision=push.revision,
            # An earlier try whose answer was lost may still be on its way: only one of the two can be the next commit.
            parent_commit=next((ref.target_commit for ref in refs.branches if ref.name == branch), None),
        ).oid
        tag = self._tag(push.repo_id, commit, {ref.name: ref.target_commit for ref in refs.tags})
        if push.collection is not None:
            self.api.add_collection_item(push.collection, push.repo_id, "model", exists_ok=True)
        return commit, tag

    def _tag(self, repo_id: str, commit: str, tags: dict[str, str]) -> str:
        """The next of v1, v2, ...; the one that the commit has, if an earlier try came as far as this."""
        numbers = {int(name[1:]): name for name in tags if re.fullmatch(r"v\d+", name)}
        for name in numbers.values():
            if tags[name] == commit:
                return name
        tag = f"v{max(numbers, default=0) + 1}"
        self.api.create_tag(repo_id, tag=tag, revision=commit)
        return tag

    def _retried(self, call: Callable, *args: Any, **kwargs: Any) -> Any:
        return retried(self.retries, call, *args, **kwargs)

    def record_elsewhere(self, folder: str, source: str) -> None:
        """Note that `folder` came from the Hub, `org/mulki-task3@COMMIT`, and is not to be pushed."""
        repo_id, _, commit = source.partition("@")
        self._record(Push(folder, repo_id, commit=commit))

    def _record(self, push: Push) -> None:
        with self._writing:
            if push not in self.pushes:
                self.pushes.append(push)
            text = json.dumps([asdict(push) for push in self.pushes], indent=2) + "\n"
            write_text(self.output_dir / self.FILE, text)

    def report(self) -> str:
        """What arrived where and, last, what is pending and how to send it."""
        lines = [f"{push.folder}: {self._arrived(push)}" for push in self.pushes if push.commit]
        lines += [f"{push.folder}: pending: {push.error or f'{push.repo_id} not tried'}" for push in self.pending]
        return "\n".join(lines)

    def _arrived(self, push: Push) -> str:
        address = f"{self.api.endpoint}/{push.repo_id}"
        return f"{address} ({push.tag})" if push.tag else f"came from {address}, is not pushed"

    def pending_message(self) -> str:
        """How much is pending, and how to send it."""
        taken_up = sum(push.taken_up for push in self.pushes)
        return (
            f"{len(self.pending)} of {len(self.pushes) - taken_up} pushes pending (the checkpoints are complete on "
            f"disk); send with: python -m mulki_hf.push {shlex.quote(str(self.output_dir))}"
        )

    def raise_for_pending(self) -> None:
        """Raise [`PushError`] if a push is pending."""
        if self.pending:
            raise PushError(self.pending_message())
