"""The files of a Space that shows the page of a stream, its models taken from the Hub at pinned commits."""

import json
import re
from importlib.metadata import version
from io import BytesIO

from huggingface_hub import SpaceCardData, constants

from ..embedded import EMBEDDED_MODELS
from ..errors import ConfigurationError
from ..hub.fetch import pinned
from ..hub.space import ASKED_BY
from ..prediction.stages import Models, after
from ..resources import __version__
from ..runs.sources import ZERO_SHOT
from .examples import FILE, Example
from .page import gradio


OURS = "from mulki_hf.demo import serve"
FOLDER = "examples"

APP = '''"""{name}: the models of a stream answer side by side."""

{ours}


serve(
    title={title},
    models={{
{models}
    }},
    examples="{folder}",{more}
)
'''

CARD = """---
{metadata}
---

# {title}

Drop a picture and type class names: the models of a continual-learning stream answer side by side, from before the
first task to after the last. Made by `mulki-hf demo --push_to_space`; the models are

{models}

{examples}
"""

# By these, pictures may be shown to others if it is said where they are from, in whatever words the data name them.
_SHAREABLE = re.compile(
    r"cc0([ -]1\.0)?|cc[ -]by([ -]sa)?([ -]\d\.\d)?|mit|apache-2\.0|bsd-[23]-clause|odc-by|pddl", re.I
)


def may_be_shown(licence: str | None) -> bool:
    """Whether pictures of this licence may go along with a Space; of one that is not known, or mixed, they may not."""
    return licence is not None and _SHAREABLE.fullmatch(licence.strip()) is not None


def hub_places(models: Models) -> dict[str, str]:
    """By a model's name where it is on the Hub, at a commit; the embedded base model by its name.

    Raises:
        ConfigurationError: a model was not pushed.
    """
    run = models.run
    if run is None:
        raise ConfigurationError(f"{ASKED_BY}: {models.source!r} is one model, not a stream's run")
    places = {}
    if ZERO_SHOT not in models.absent:
        base = run.results.base
        embedded = base.name if base.name in EMBEDDED_MODELS else None
        if embedded or base.hub_id:
            places[ZERO_SHOT] = embedded or pinned(f"{base.hub_id}@{base.revision or 'main'}", run.token, ASKED_BY)
    for position, name in enumerate(run.results.stage_names[: run.results.finished]):
        place = run.pushed(position)
        if place is None:
            raise ConfigurationError(
                f"{ASKED_BY}: the model after {name} is not on the Hub; push the run first: "
                f"mulki-hf push {models.source} --hub_model_id org/name"
            )
        places[after(name)] = place if "@" in place else pinned(place, run.token, ASKED_BY)
    if not run.results.finished:
        raise ConfigurationError(f"{ASKED_BY}: {models.source!r} has no finished task")
    return places


def space_files(
    repo_id: str, models: Models, examples: list[Example], pickled: bool = False
) -> tuple[dict[str, bytes], list[str]]:
    """What goes into the Space `repo_id`, by path, and sentences about what stays out.

    Of the examples only those go along whose data have a licence that allows it. The model that the stream started
    from may have `pickled` weights.

    Raises:
        ConfigurationError: a model was not pushed.
    """
    places, title = hub_places(models), repo_id.partition("/")[2]
    results, notes = models.results, []
    assert results is not None
    if ZERO_SHOT not in places:
        notes.append("the Space has no zero-shot model: the stream started from a folder, which is not on the Hub")
    licences = {task.name: task.license for task in results.tasks}
    shown = [one for one in examples if may_be_shown(licences[one.task])]
    for name in dict.fromkeys(one.task for one in examples):
        if not may_be_shown(licences[name]):
            licence = licences[name] or "not known"
            notes.append(f"examples of {name} stay here: that they may be shared is not clear ({licence})")
    listed = "\n".join(f"        {_quoted(name)}: {_quoted(place)}," for name, place in places.items())
    repositories = [*dict.fromkeys(place.partition("@")[0] for place in places.values() if "/" in place)]
    datasets = [task.dataset for task in results.tasks if re.fullmatch(r"[\w.-]+/[\w.-]+", task.dataset)]
    metadata = SpaceCardData(
        title=title,
        emoji="🪜",
        colorFrom="blue",
        colorTo="yellow",
        sdk="gradio",
        sdk_version=gradio().__version__,
        python_version="3.11",
        app_file="app.py",
        license=results.base.license,
        models=repositories,
        datasets=[*dict.fromkeys(datasets)] or None,
        tags=[results.base.encoder.model_type, "continual-learning", "zero-shot-image-classification", "mulki-hf"],
        short_description=f"A {results.base.encoder.name} before and after each task of a stream",
    )
    links = "\n".join(f"- {name}: {_link(place)}" for name, place in places.items())
    sources = {name: (task.dataset, task.license) for name, task in zip(results.names, results.tasks, strict=True)}
    credits = [f"{name} ({', '.join(map(str, sources[name]))})" for name in dict.fromkeys(one.task for one in shown)]
    said = f"Example pictures are of the evaluation data of {'; '.join(credits)}." if credits else ""
    card = CARD.format(metadata=metadata.to_yaml().strip(), title=title, models=links, examples=said)
    more = "\n    pickled_weights=True," if pickled else ""
    app = APP.format(name=title, title=_quoted(title), ours=OURS, models=listed, folder=FOLDER, more=more)
    files = {
        "app.py": app.encode(),
        "requirements.txt": "".join(f"{line}\n" for line in _requirements()).encode(),
        "README.md": f"{card.strip()}\n".encode(),
    }
    index = []
    for number, one in enumerate(shown, start=1):
        name, content = f"{one.task}-{number}.png", BytesIO()
        one.image.save(content, "PNG")
        files[f"{FOLDER}/{name}"] = content.getvalue()
        index.append({"file": name, "task": one.task, "class_name": one.class_name})
    if index:
        files[f"{FOLDER}/{FILE}"] = (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()
    return files, notes


def _quoted(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)


def _link(place: str) -> str:
    repository, _, commit = place.partition("@")
    if not commit:
        return f"`{place}`, part of mulki-hf"
    return f"[{repository}]({constants.ENDPOINT}/{repository}/tree/{commit})"


def _requirements() -> list[str]:
    """What answers here, so that the Space says the same."""
    own = "mulki-hf[demo]" if __version__.startswith("0+") else f"mulki-hf[demo]=={__version__}"
    return [own, *(f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "transformers"))]
