"""What README.md beside it promises is tested, and as often as it says."""

import ast
import importlib
import math
import re
import sys
from pathlib import Path

import pytest
from support.hostile import ELSEWHERE, NAMES, UNSEEN


HERE = Path(__file__).parent
TEXT = (HERE / "README.md").read_text(encoding="utf-8")
PROMISED = re.findall(r"`([\w./]+\.py)::(\w+)`", TEXT)


def functions(path: Path) -> set[str]:
    """The tests of a file, in classes or not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test")}


@pytest.mark.parametrize(("file", "name"), sorted({*PROMISED}))
def test_each_is_there(file, name):
    assert name in functions((HERE / file).resolve())


def test_each_test_that_kills_or_fails_something_is_named():
    """Of this folder, but for what is about numbers that are not finite or the words of a sentence alone."""
    named = {name for _, name in PROMISED}
    files = ["test_killed.py", "test_killed_overwriting.py", "test_killed_publishing.py", "test_killed_ranks.py"]
    files += ["test_power_cut.py", "test_disk_full.py", "test_dying_ranks.py"]
    unnamed = {name for file in files for name in functions(HERE / file)} - named
    assert unnamed <= {
        "test_a_fork_computes_what_a_process_of_its_own_does",
        "test_told_to_overwrite_again",
        "test_two_ranks_go_on_as_if_nothing_had_been",
    }


def module(name: str):
    """A test module, from whichever folder."""
    (path,) = HERE.parent.rglob(f"{name}.py")
    sys.path.insert(0, str(path.parent))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(path.parent))


def cases(*tests) -> int:
    """How many tests these functions are."""
    marks = ((mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize") for test in tests)
    return sum(math.prod(len(list(mark.args[1])) for mark in own) for own in marks)


def test_as_often_as_it_says():
    killed, ranks, overwriting, publishing, power, dying, full, equal, bombs = map(
        module,
        [
            "test_killed", "test_killed_ranks", "test_killed_overwriting", "test_killed_publishing", "test_power_cut",
            "test_dying_ranks", "test_disk_full", "test_ranks_equal_one", "test_bombs",
        ],
    )  # fmt: skip
    phases = [*killed.PHASES.values(), ranks.PHASES, overwriting.PHASES, publishing.PUSHING, publishing.FETCHING]
    ends = [dying.test_a_signal_to_some_stops_all_at_the_same_step, dying.test_elsewhere, dying.test_in_a_step]
    ends += [dying.test_three_ranks_hear_of_the_same_one, dying.test_two_ranks_go_on_as_if_nothing_had_been]
    recipes = len(UNSEEN) * (6 + 5)
    figures = {
        # With the adapter's, and the one before a folder is cleared.
        "named phases at which a run is killed": sum(map(len, phases)) + 2,
        "random moments at which it is killed": sum(times for *_, times in killed.RUNS)
        + 2 * cases(ranks.test_at_random_moments),
        "random moments at which the power goes": 2 * cases(power.test_at_a_random_moment_the_power_goes),
        "kinds of runs that are killed (method, adapters, crops; two and three tasks)": len(killed.RUNS),
        "ends of a rank: it raises, dies or is signalled": cases(*ends, dying.test_under_a_launcher),
        "two ranks against one process, cases": len(equal.CASES),
        "methods among them": len({case.partition(",")[0] for case in equal.CASES}),
        "points at which the disk is full": cases(full.TestFull.test_it_says_so_and_goes_on_exactly) + 3,
        "hostile names: of classes in a whole run, in cards, of tasks, in recipes and entries": f"{len(NAMES)} + "
        f"{len(NAMES) + len(UNSEEN) + 1} + {len(ELSEWHERE) + len(UNSEEN)} + {recipes}",
        "bombs: YAML, results, images": f"{len(bombs.YAML)} + {len(bombs.RESULTS)} + {len(bombs.KINDS)}",
        "properties that hypothesis looks for exceptions to": sum(
            len(functions(path)) for path in (HERE.parent / "properties").glob("test_*.py")
        ),
    }
    said = dict(re.findall(r"^\| ([^|]+) \| ([\d +]+) \|$", TEXT, re.MULTILINE))
    assert said == {name: str(count) for name, count in figures.items()}
