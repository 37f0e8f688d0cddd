"""What folders, repositories and paths are called never leads elsewhere, whatever things are called."""

import os
from pathlib import Path

import pytest
from huggingface_hub.utils import validate_repo_id
from hypothesis import example, given
from hypothesis import strategies as st
from support.results import empty_results

from mulki_hf.config.from_hub import confined
from mulki_hf.data.names import check_task_name
from mulki_hf.errors import ConfigurationError, printable, shown
from mulki_hf.hub.shareable import shareable
from mulki_hf.markdown import code, literal, text
from mulki_hf.publish import repositories
from mulki_hf.records import ArtefactRecord
from mulki_hf.results import folder_safe, task_folder


anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
words = st.text("abc-_.+äß犬0123AB ", max_size=12)
PARTS = [
    "..",
    ".",
    "a",
    "b",
    "~",
    "~root",
    "",
    "C:",
    "*",
    "[ab]",
    "{a}",
    "**",
    "x.png",
    " ",
    "file:",
    "zip:",
    "a:",
    "\0",
]
paths = st.builds(
    lambda parts, by, head: head + by.join(parts),
    st.lists(st.sampled_from(PARTS), max_size=6),
    st.sampled_from(["/", "\\", "//", "::", "/./"]),
    st.sampled_from(["", "/", "//", "~/", "\\", "https://"]),
)


def accepted(name: str) -> bool:
    try:
        check_task_name(name)
    except ConfigurationError as error:
        assert str(error).isprintable() and len(str(error)) < 400
        return False
    return True


@given(anything | words)
@example("..")
@example("a" * 201)
def test_a_task_name_is_a_folders_or_refused(name):
    if accepted(name):
        folder = task_folder(Path("/out"), [name], 0)
        assert folder.parent == Path("/out") and Path(os.path.normpath(folder)) == folder
        assert len(folder.name.encode()) <= 255 - len(".partial.old") and name.isprintable()


@given(st.lists(words.filter(folder_safe), min_size=1, max_size=8))
def test_folders_and_repositories_of_a_stream_differ(names):
    """Even where names differ in case alone, or are equal."""
    folders = [task_folder(Path("/out"), names, position) for position in range(len(names))]
    assert len({folder.name.casefold() for folder in folders}) == len(names)
    results = empty_results(*dict.fromkeys(names))
    results.artefact = ArtefactRecord("adapter", "lora", "", "", "", "")
    planned = repositories(folders, results)
    assert len({*planned.values()}) == 2 * len(names)
    for name in planned.values():
        validate_repo_id(f"org/mulki-{name}")
    assert folders == [task_folder(Path("/out"), [*names, "more"], position) for position in range(len(names))]


@given(paths | anything)
def test_what_is_shared_names_no_place_of_this_machine(path):
    once = shareable(path)
    assert shareable(once) == once
    for part in once.split("::"):
        if "://" not in part:
            assert not part.startswith("/") or not part.strip("/\\"), part
            assert ".." not in part.replace("\\", "/").split("/")[:-1]


@given(paths, st.sampled_from(["dataset", "data_dir", "data_files", "class_names", "rows"]))
def test_a_recipe_of_the_hubs_stays_in_the_folder(tmp_path_factory, path, field):
    """Whatever path it names: what it becomes lies there, or is a name on the Hub."""
    root = tmp_path_factory.getbasetemp() / "root"
    (root / "a/b").mkdir(parents=True, exist_ok=True)
    task = {"name": "t", "dataset": "imagefolder" if field.startswith("data_") else "org/data"} | {field: path}
    try:
        after = confined({"tasks": [task]}, "org/task1", str(root))["tasks"][0][field]
    except ConfigurationError as error:
        assert "org/task1" in str(error)
        return
    if after != path:
        assert Path(os.path.normpath(after)).is_relative_to(root)
    else:
        assert field == "dataset" or not path.strip("./")


@given(anything)
def test_what_is_shown_is_seen(value):
    """Of anything: on a terminal, in Markdown and in Python."""
    assert printable(printable(value)) == printable(value)
    assert shown(value).isprintable() and len(shown(value)) <= 120
    for made in (text(value), code(value), literal(value)):
        assert printable(made) == made and "\n" not in made
        made.encode()
    assert eval(literal(value)) == value


@pytest.mark.parametrize("name", ["a", "A", "ß", "犬", "1", "_", "a.b+c-d", "é" * 100])
def test_names_that_are_allowed(name):
    assert accepted(name)
