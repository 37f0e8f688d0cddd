"""`Publisher`: what of a run goes to the Hub, and when. Needs no torch."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from .errors import ConfigurationError
from .hub.outbox import Outbox, Push
from .report.metadata import draft_card
from .report.model_card import save_card
from .results import StreamResults, task_folder


class Life(Protocol):
    """What a publisher knows of a [`Stream`]."""

    config: Any
    stream: Any
    earlier: Any
    folder: Any
    results: StreamResults

    def on_main(self, action: Callable[[], Any]) -> Any: ...

    def remaining(self) -> range: ...


class Publisher:
    """Sends finished tasks, each with a card for where it goes; idle without an outbox.

    As a context manager it waits, on the way out, for what is under way, and says what arrived and what is pending.

    Args:
        outbox ([`Outbox`], *optional*): of the run; its `planned` pushes are those that are sent.
        unsent: folders of finished tasks that an earlier run did not send.
    """

    def __init__(self, outbox: Outbox | None = None, unsent: list[Path] | None = None):
        self.outbox = outbox
        self.unsent = unsent or []

    @classmethod
    def open(cls, life: Life) -> "Publisher":
        """For a stream that is about to begin; with push_to_hub asks the Hub whether it can take all of it.

        Raises:
            ConfigurationError: on every rank: it can't.
        """
        return (life.on_main(lambda: cls._open(life)) if life.config.push_to_hub else None) or cls()

    @classmethod
    def _open(cls, life: Life) -> "Publisher":
        config, results, output = life.config, life.results, life.folder.path
        outbox = Outbox(output, config.hub_token, config.hub_retries, config.hub_timeout)
        if life.stream.overwrite:
            outbox.pushes.clear()
        recorded = {push.folder for push in outbox.pushes}
        learned = [task_folder(output, results.stage_names, position) for position in range(results.finished)]
        ahead = [task_folder(output, results.stage_names, position) for position in life.remaining()]
        # Also what was learned before --push_to_hub was given; not what is about to be deleted or to come from the Hub.
        fresh = life.stream.overwrite or life.earlier.source is not None
        unsent = [] if fresh else [f for f in learned if f.is_dir() and f.name not in recorded]
        outbox.prepare(
            config.hub_model_id,
            repositories([*unsent, *ahead], results),
            config.hub_private_repo,
            config.hub_revision,
            config.hub_collection,
            card=draft_card(results),
        )
        return cls(outbox, unsent)

    def send_earlier(self) -> None:
        """Send what an earlier run left pending, and the tasks that it learned without `--push_to_hub`."""
        if self.outbox is not None:
            # What has been recorded since, as the stream began.
            self.outbox.read()
            for push in self.outbox.pending:
                self.outbox.send_in_background(push)
            for folder in self.unsent:
                self.send(folder)

    def send(self, folder: Path) -> None:
        """Send a finished task's folder in the background."""
        if self.outbox is not None:
            for push in address(self.outbox, folder):
                self.outbox.send_in_background(push)

    def raise_for_pending(self) -> None:
        """Raise [`PushError`] if a push is pending."""
        if self.outbox is not None:
            self.outbox.raise_for_pending()

    def __enter__(self) -> "Publisher":
        if self.outbox is not None:
            self.outbox.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.outbox is not None:
            self.outbox.__exit__(kind, error, trace)


def address(outbox: Outbox, folder: Path, license: str | None = None) -> list[Push]:
    """The planned pushes of a task's folder, its cards written for where they go; `license` overrides its own."""
    results = results_of(folder)
    if license is not None:
        results.base.license = license
        results.save(folder)
    save_card(results, folder, outbox.planned[folder.name].repo_id)
    return outbox.planned_of(folder.name)


def results_of(folder: Path) -> StreamResults:
    """The results of a task's folder, with what older versions did not record."""
    results = StreamResults.load(folder)
    if not results.about.towers:
        # Here, because it needs torch.
        from .runs.records import describe_method

        describe_method(results)
    return results


def repositories(folders: list[Path], results: StreamResults) -> dict[str, str]:
    """What the outbox plans: the names of repositories by folder, those of the models first, then of the artefacts."""
    names = {folder.name: folder.name.partition("-")[0] for folder in folders}
    if results.artefact is not None:
        suffix = results.artefact.suffix
        names |= {f"{folder}/{results.artefact.folder}": f"{name}-{suffix}" for folder, name in names.items()}
    return names


def publish(
    outbox: Outbox,
    model_id: str,
    private: bool | None = None,
    revision: str | None = None,
    collection: str | None = None,
    license: str | None = None,
) -> list[Push]:
    """Pushes of the finished tasks of a run that have none yet, their cards written for where they go.

    Raises:
        ConfigurationError: there are none, or the Hub can't take them.
    """
    folders = unpublished(outbox.output_dir, {push.folder for push in outbox.pushes})
    if not folders:
        raise ConfigurationError(
            f"every finished task of {str(outbox.output_dir)!r} has its push recorded already:\n{outbox.report()}"
        )
    last = results_of(folders[-1])
    last.base.license = license or last.base.license
    with_artefact = {folder.name for folder in folders if last.artefact and (folder / last.artefact.folder).is_dir()}
    planned = {
        name: repository
        for name, repository in repositories(folders, last).items()
        if "/" not in name or name.partition("/")[0] in with_artefact
    }
    outbox.prepare(model_id, planned, private, revision, collection, card=draft_card(last))
    return [push for folder in folders for push in address(outbox, folder, license)]


def unpublished(output_dir: Path, recorded: set[str]) -> list[Path]:
    """Checkpoint folders of finished tasks without a recorded push, in the order of the stream."""
    folders = [path.parent for path in output_dir.glob(f"task*-*/{StreamResults.FILE}")]
    if not folders and not recorded:
        raise ConfigurationError(f"{str(output_dir)!r} holds no finished task")
    order = {folder: StreamResults.load(folder).finished for folder in folders if folder.name not in recorded}
    return sorted(order, key=lambda folder: order[folder])
