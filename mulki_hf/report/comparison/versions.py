"""Of which versions results are, and what of them is not the same in all."""

import re
from collections import Counter
from collections.abc import Sequence

from ...results import StreamResults


THEN = " then "


def versions_of(results: StreamResults) -> dict[str, str | None]:
    """Those that a run was learned with: `1.0 then 1.1` where it went on with others."""
    made = [part.provenance for part in results.learned[: results.finished]]
    found: list[dict[str, str | None]] = [
        {**_versions(one.get("versions") or ""), "git_commit": one.get("git_commit")} for one in made
    ]
    found = found or [{**results.versions, "git_commit": results.provenance.get("git_commit")}]
    values = {name: [*dict.fromkeys(one.get(name) for one in found)] for one in found for name in one}
    return {name: seen[0] if len(seen) == 1 else THEN.join(map(str, seen)) for name, seen in values.items()}


def changed_versions(versions: Sequence[dict[str, str | None]]) -> list[str]:
    """What was not the same in all runs, with the number of runs: `torch (2.12 in 3 runs, 2.13 in 1)`.

    Args:
        versions: by run and name.
    """
    said = []
    for name in dict.fromkeys(name for own in versions for name in own):
        counts = Counter(short_version(own.get(name)) for own in versions)
        if len(counts) > 1 or any(THEN in value for value in counts):
            (first, number), *others = counts.items()
            runs = "run" if number == 1 else "runs"
            more = "".join(f", {value} in {count}" for value, count in others)
            said.append(f"{name} ({first} in {number} {runs}{more})")
    return said


def short_version(version: str | None) -> str:
    """With the start of each commit alone."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{32}\b", r"\1", str(version))


def _versions(text: str) -> dict[str, str]:
    """`python 3.11, torch 2.13`, as a task's provenance has them."""
    return dict(entry.rpartition(" ")[::2] for entry in text.split(", ") if entry)
