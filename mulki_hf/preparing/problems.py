"""What is wrong with a stream, gathered instead of raised one by one: what, where, and what to do about it."""

import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import datasets
import httpx2
import pyarrow as pa
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import ConfigurationError


# What a message says last, where it begins like an order.
_ORDER = re.compile(
    r"(?:; |\. |: )((?:add|ask|change|choose|copy|free|give|install|leave|load|lower|make|map|mend|name|quote|remove|"
    r"save|set|shorten|start|unset|use|write)\b.*)$",
    re.IGNORECASE,
)

# Names of splits, as messages have them; and what stands for them.
_SPLITS, _SPLIT = r"splits? ('[^']*'(?:, '[^']*')*)", "\0"

SEE = "see the message"
ABSENT = "it is not in the cache"

ADVICE = {
    "no column": "name the one that is meant: image_column, label_column; reference_image_column of reference images",
    "other class names, or another order": "map names to names: class_names as a mapping of the data's own",
    "not among the class names|outside the .* class names": "give class_names for every label, or left_out_classes",
    "names must be unique": "give each task a name of its own",
    "Unknown split|it has the splits": "name splits that it has: train_split, eval_split, validation_split",
    "not a ClassLabel": "give class_names, a list or a mapping",
    "is empty": "name another split",
    "unknown key": "mend its name, or remove it",
}
"""By a pattern of the message: what to do, where it does not say so itself."""


@dataclass(frozen=True)
class Problem:
    """Something that would stop a run, or spoil its results.

    Attributes:
        subject: the task's name, or `model`, `reference`, `settings`, `Hub`, `disk`, `memory`.
        where: dataset, split or folder.
        what: is wrong.
        advice: what to do.
    """

    subject: str
    where: str
    what: str
    advice: str


class Problems:
    """Those that were met so far; what is the matter with several splits alike is one."""

    def __init__(self, found: Iterable[Problem] = ()):
        self._found: dict[Problem, dict[str, None]] = {}
        for problem in found:
            self.add(problem)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        for problem, splits in self._found.items():
            named = f"split{'s' if len(splits) > 1 else ''} {', '.join(splits)}"
            yield replace(problem, where=problem.where.replace(_SPLIT, named), what=problem.what.replace(_SPLIT, named))

    def add(self, problem: Problem) -> None:
        """Note one more."""
        found = re.findall(_SPLITS, f"{problem.where} {problem.what}")
        splits = dict.fromkeys(split for listed in found for split in listed.split(", "))
        alike = {name: re.sub(_SPLITS, _SPLIT, getattr(problem, name), count=1) for name in ("where", "what")}
        self._found.setdefault(replace(problem, **alike), {}).update(splits)

    @contextmanager
    def noted(self, subject: str) -> Iterator[None]:
        """What a person can mend is noted where it leaves the block, and nothing is raised."""
        try:
            yield
        except ConfigurationError as error:
            self.add(told(subject, error))


def without_absent(problems: Problems, unreached: str) -> Problems:
    """Those that are not only in reach of the Hub, and one of it, `unreached`, for all whom that keeps waiting."""
    others = [problem for problem in problems if not problem.what.endswith(ABSENT)]
    waiting = dict.fromkeys(problem.subject for problem in problems if problem not in others)
    if waiting:
        what = f"{unreached}; not in the cache, so not looked at: {', '.join(waiting)}"
        advice = "check the connection, and HF_ENDPOINT, then prepare again: what is there is kept"
        others.append(Problem("Hub", "", what, advice))
    return Problems(others)


def told(subject: str, error: ConfigurationError) -> Problem:
    """An error in the parts of a [`Problem`]."""
    text = " ".join(str(error).split()).removeprefix(f"task {subject!r}").removeprefix(", ").removeprefix(": ")
    where, colon, what = text.partition(": ")
    if not colon or not re.fullmatch(r"(dataset|reference_|split|tasks, entry).*|[a-z_]+( '[^']*')?", where):
        where, what = "", text
    if cause := _by_cause(error, where):
        short, advice = cause
        doing = what.partition(": ")[0]
        return Problem(subject, where, f"{doing}: {short}" if short else what, advice)
    if advice := next((advice for known, advice in ADVICE.items() if re.search(known, what)), ""):
        return Problem(subject, where, what, advice)
    order = _ORDER.search(what)
    return Problem(subject, where, what[: order.start()], order[1]) if order else Problem(subject, where, what, SEE)


def _by_cause(error: BaseException, where: str) -> tuple[str, str] | None:
    """What a library met, if it can be said in short, and what to do: the Hub's refusals, torn files, a full disk."""
    causes = [*_causes(error)]
    # Not our own, which name datasets and columns as they are called.
    texts = " ".join(str(cause) for cause in causes if not isinstance(cause, ConfigurationError))
    name = next(iter(re.findall(r"'([\w.-]+/[\w.-]+)'", f"{where} {error}")), "")
    page = f"{constants.ENDPOINT}/{'datasets/' if 'dataset' in where else ''}{name}".rstrip("/")

    def met(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if met(GatedRepoError) or re.search("is a gated (dataset|repo)", texts):
        return "it is gated", f"accept its terms on {page}, then log in with `hf auth login`"
    if met(RevisionNotFoundError) or re.search("[Rr]evision '", str(error)):
        return "", f"give a revision that it has, see {page}"
    if met(RepositoryNotFoundError, datasets.exceptions.DatasetNotFoundError):
        return "the Hub has none of that name, or it is private", "check the name; log in with `hf auth login`"
    if constants.is_offline_mode() and met(OfflineModeIsEnabled, LocalEntryNotFoundError, ConnectionError):
        return ABSENT, "unset HF_HUB_OFFLINE, or prepare it once with the Hub in reach"
    # `datasets` leaves the error itself out.
    if met(httpx2.TransportError, ConnectionError, LocalEntryNotFoundError) or "LocalEntryNotFoundError" in texts:
        return "", "check the connection, and HF_ENDPOINT, then prepare again: what is there is kept"
    if met(pa.ArrowInvalid, tarfile.TarError) or re.search(r"(?i)corrupt|thrift|page header|unexpected end", texts):
        return (
            "",
            f"a file is torn: delete it from {constants.HF_HUB_CACHE} to download it anew; or tell who published it",
        )
    if "Not enough disk space" in texts:
        return "", "free as much, or set HF_HOME to a folder on a larger disk"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
