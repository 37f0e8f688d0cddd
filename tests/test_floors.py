"""The house: every room stands on a floor, and imports run downwards."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import mulki_hf


PACKAGE = Path(mulki_hf.__file__).parent
FLOORS = [
    {"errors", "metrics", "resources", "results", "objectives", "embedded"},
    {"data", "models", "adaptation", "hub", "continual_metric"},
    {"config", "features", "evaluation", "report"},
    {"trainer", "runs"},
    {"stream", "publish", "__init__"},
    {"train", "push"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS, start=1) for room in rooms}


def room_of(path: Path) -> str:
    """A district's folder or a file beside the districts."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """The rooms that a file imports, wherever in it."""
    rooms, depth = set(), len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            rooms |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "mulki_hf":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mulki_hf."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mulki_hf.")}
    return rooms


def arrows() -> set[tuple[str, str]]:
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE]
    return {(room_of(path), target) for path in files for target in imported(path) if target != room_of(path)}


def test_every_room_has_a_floor():
    assert {room_of(path) for path in PACKAGE.rglob("*.py")} == set(FLOOR)


def test_no_import_runs_upwards():
    assert len(arrows()) > 50
    assert [(room, target) for room, target in sorted(arrows()) if FLOOR[target] > FLOOR[room]] == []


def test_no_circle():
    graph = {}
    for room, target in arrows():
        graph.setdefault(room, set()).add(target)
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)


def test_losses_and_weights_do_not_meet():
    """Losses see features, adaptations see weights: an objective imports neither a model nor an adaptation."""
    assert {target for room, target in arrows() if room == "objectives"} <= {"errors"}


def test_a_report_reads_results_alone():
    assert not {"config", "objectives", "adaptation", "data", "models"} & {t for r, t in arrows() if r == "report"}
