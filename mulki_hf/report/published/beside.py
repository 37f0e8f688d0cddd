"""A run beside the few published rows that say most: for its card, and for the end of a run in a terminal."""

from collections.abc import Iterable
from dataclasses import dataclass

from ...markdown import text
from ...results import StreamResults
from ..tables import markdown_table, percent
from .differences import differences
from .matching import figures_of, match
from .records import CLIP_B16, KINDS, MEASURE_WORDS, PUBLISHED_AS, ZERO_SHOT, PublishedResult, Setting


NONE, UNKNOWN = "none", "not known"
PLAIN = KINDS[0]
B16 = "openai/clip-vit-base-patch16"


@dataclass
class Standing:
    """A run, and the published rows that stand beside it.

    Attributes:
        results: of the run.
        protocol: by which it is of `setting`.
        rows: the published ones, by why they are there.
    """

    results: StreamResults
    protocol: str
    setting: Setting
    rows: list[tuple[str, PublishedResult]]


def standing(results: StreamResults) -> Standing | None:
    """By the first protocol of which there is something published; None: there is nothing, or the run is unfinished."""
    if not results.metrics or not any(task.benchmark for task in results.tasks):
        return None
    for protocol in results.protocols:
        if (setting := match(results, protocol).setting) is not None:
            return Standing(results, protocol, setting, telling(setting, results.method))
    return None


def telling(setting: Setting, method: str) -> list[tuple[str, PublishedResult]]:
    """Zero-shot, the method itself, and the best without extra data, of one model alone, and with extra data."""
    shown = setting.shown()
    ranked = [own for own in shown if own.method != ZERO_SHOT and setting.rank(own)]

    def best(of: Iterable[PublishedResult]) -> list[PublishedResult]:
        return [*of][:1]

    chosen = {
        "zero-shot": best(own for own in shown if own.method == ZERO_SHOT),
        "the same method": best(own for own in shown if own.method == PUBLISHED_AS.get(method, "")),
        "best without extra data": best(own for own in ranked if own.extra_data == ""),
        "best of one model without extra data": best(own for own in ranked if own.kind == PLAIN),
        "best with extra data": best(own for own in ranked if own.extra_data),
    }
    found: dict[int, tuple[str, PublishedResult]] = {}
    for why, results in chosen.items():
        for own in results:
            found.setdefault(id(own), (why, own))
    return [*found.values()]


def standing_text(results: StreamResults) -> str:
    """For a terminal: the run's figures beside published ones; empty where there are none."""
    own = standing(results)
    if own is None:
        return ""
    more = "All of them, with sources: mulki-hf compare RUN --published --output_dir FOLDER"
    return f"{sentence(own)}\n\n{short_table(own)}\n\n{more}"


def short_table(own: Standing) -> str:
    """Figures, and in few words what differs."""
    rows = [["", *(MEASURE_WORDS[name] for name in own.setting.measures), "what it is"]]
    data = run_data(own.results)
    what = PLAIN if data == NONE else f"one model, {data}"
    rows.append([f"this run, {own.results.method}", *_own_figures(own), what])
    for why, result in own.rows:
        rows.append([result.method, *map(percent, own.setting.values(result).values()), differs(result, why)])
    return markdown_table(rows)


def card_table(own: Standing) -> str:
    """For a card: the same with sources."""
    header = ["", *(MEASURE_WORDS[name] for name in own.setting.measures)]
    rows = [[*header, "extra data", "per-task parts", "trained", "source"]]
    run = own.results
    trained = run.artefact.trained if run.artefact else run.about.towers
    rows.append([f"**this run**, {text(run.method)}", *_own_figures(own), run_data(run), NONE, text(trained), ""])
    for why, result in own.rows:
        rows.append(
            [
                f"{text(result.method)} ({why})",
                *map(percent, own.setting.values(result).values()),
                *(said(value) for value in (result.extra_data, result.per_task_parts, result.trained)),
                "; ".join([source_link(result), *result.doubts, *filter(None, [text(result.remark)])]),
            ]
        )
    return markdown_table(rows)


def sentence(own: Standing) -> str:
    """What the figures are of, whether both sides start from the same model, and what else differs."""
    apart = differences(own.results, own.setting)
    known = f"This run: {'; '.join(apart)}." if apart else ""
    note = "".join(f" {words}" for words in (known, own.setting.note) if words)
    bases = [*dict.fromkeys(result.backbone for _, result in own.rows)]
    published = f"Published figures of {own.setting.name}, with {' or '.join(bases)}"
    if bases == [CLIP_B16] and own.results.base.hub_id == B16:
        return f"{published}, as here.{note}"
    return f"{published}; this run started from {own.results.base.name or 'a model without a name'}.{note}"


def run_data(results: StreamResults) -> str:
    """The unlabelled data that a run was given beside its tasks."""
    if (data := results.reference) is None:
        return NONE
    counts = {"images": data.images, "texts": data.texts}
    return f"{' and '.join(f'{count} {kind}' for kind, count in counts.items() if count)} of {data.dataset}"


def said(value: str | None) -> str:
    """What is not there, and what nobody wrote, in words."""
    return UNKNOWN if value is None else value or NONE


def differs(result: PublishedResult, why: str) -> str:
    """Why a row is there, what else it took, and what is not certain, in one cell."""
    kind = "" if result.kind in (PLAIN, KINDS[-1]) or why.endswith(f"with {result.kind}") else result.kind
    return "; ".join(filter(None, [why, kind, *result.doubts]))


def source_link(result: PublishedResult) -> str:
    """The source as a link."""
    return f"[{text(result.source.words)}]({result.source.url})"


def _own_figures(own: Standing) -> list[str]:
    return [percent(value) for value in figures_of(own.results, own.protocol, own.setting).values()]
