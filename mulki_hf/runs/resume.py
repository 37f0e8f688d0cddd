"""May a run go on, and from what? Every reason for `--resume` to refuse is here."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..config import MulKIConfig, StreamConfig
from ..config.recipes import CONSTANT_FIELDS, default_settings
from ..data.tasks import Task
from ..embedded import EMBEDDED_MODELS
from ..errors import ConfigurationError
from ..hub.fetch import fetch_file, pinned
from ..hub.shareable import shareable
from ..results import StreamResults
from .folder import UNFINISHED
from .records import describe_base, describe_method, new_results, reference_record


@dataclass
class Earlier:
    """What a run goes on from.

    Attributes:
        results (*optional*): of the run so far.
        source (*optional*): the checkpoint on the Hub that they are of, with its commit, when they come from there.
    """

    results: StreamResults | None = None
    source: str | None = None


def find_earlier(output: Path, stream: StreamConfig, token: str | None) -> Earlier:
    """What there is to go on from, if anything; refuses a folder in use unless told to resume or overwrite."""
    if output.exists() and not output.is_dir():
        raise ConfigurationError(f"output_dir {str(output)!r} is a file, not a folder")
    holds_run = (output / StreamResults.FILE).exists() or (output / UNFINISHED).exists()
    if stream.resume:
        if not holds_run:
            raise ConfigurationError(f"resume: output_dir {str(output)!r} holds no run to go on with")
        return Earlier(StreamResults.load(output) if (output / StreamResults.FILE).exists() else None)
    if holds_run and not stream.overwrite:
        raise ConfigurationError(
            f"output_dir {str(output)!r} holds the results of a run: choose another, go on with --resume, "
            "or delete them with --overwrite"
        )
    if stream.resume_from_hub is None:
        return Earlier()
    source = pinned(stream.resume_from_hub, token)
    results = StreamResults.load(fetch_file(source, StreamResults.FILE, token).parent)
    base = stream.model_name_or_path
    if results.base.hub_id is None and base not in EMBEDDED_MODELS and not Path(base).exists():
        raise ConfigurationError(
            f"resume_from_hub {stream.resume_from_hub!r}: the stream started from {base!r}, a folder on another "
            "machine; give it with model_name_or_path"
        )
    return Earlier(results, source)


def start_results(
    earlier: Earlier, stream: StreamConfig, config: MulKIConfig, tasks: list[Task], reference: Dataset | None
) -> StreamResults:
    """New results, or the earlier ones, the stream being configured the same."""
    settings = dataclasses.asdict(stream) | config.to_dict()
    results = earlier.results
    if results is None:
        base = describe_base(stream.model_name_or_path, stream.model_revision, config.license)
        return new_results(settings, tasks, base, reference_record(stream.reference_dataset, reference))
    check_unchanged(results, earlier.source, settings, [task.name for task in tasks])
    if config.license is not None:
        results.base.license = config.license
    # From here on a run from the Hub has this machine's settings; any other has its own, and those that are new.
    results.config = settings if earlier.source else settings | results.config
    describe_method(results)
    return results


def check_unchanged(results: StreamResults, source: str | None, settings: dict[str, Any], names: list[str]) -> None:
    """Raise `ConfigurationError` unless `results` are of this stream and, from the Hub, leave something to learn."""
    where, defaults = "resume_from_hub" if source else "resume", default_settings()
    for name in sorted(CONSTANT_FIELDS):
        # A setting that came after the run began has its default: nobody could ask for another.
        was = results.config.get(name, defaults[name])
        # What comes from the Hub was made shareable there.
        if was != (shareable(settings[name]) if source else settings[name]):
            raise ConfigurationError(
                f"{where}: {name} was {was!r} and is now {settings[name]!r}; a stream can only go on as it began"
            )
    if results.names != names or any(len(row) != len(names) for row in (results.zero_shot, *results.accuracy)):
        raise ConfigurationError(f"{where}: the results are of the tasks {results.names}, the stream's are {names}")
    if source and not 0 < results.finished < len(names):
        raise ConfigurationError(
            f"resume_from_hub {source.partition('@')[0]!r}: {results.finished} of the stream's {len(names)} "
            "tasks are learned there; nothing to go on with"
        )
