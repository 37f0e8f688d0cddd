"""The house: every room stands on a floor, and imports run downwards."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import mulki_hf
import mulki_hf.metrics
import mulki_hf.train


PACKAGE = Path(mulki_hf.__file__).parent
FLOORS = [
    {
        "durable",
        "errors",
        "extends",
        "fields",
        "finite",
        "manifest",
        "strict_yaml",
        "metrics",
        "program",
        "records",
        "resources",
        "results",
        "objectives",
        "embedded",
    },
    {"data", "models", "adaptation", "hub", "continual_metric"},
    {"config", "features", "evaluation", "report"},
    {"trainer", "runs", "help"},
    {"stream", "publish", "measuring", "preparing", "prediction", "page", "__init__"},
    {"__main__", "train", "prepare", "evaluate", "compare", "predict", "demo", "push", "list_recipes"},
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
    TopologicalSorter(graph).prepare()


def test_losses_and_weights_do_not_meet():
    """Losses see features, adaptations see weights: an objective imports neither a model nor an adaptation."""
    assert {target for room, target in arrows() if room == "objectives"} <= {"errors"}


def test_a_report_reads_results_alone():
    """With its records; `evaluation` for the sentences of the protocols, `hub` for what may leave the machine."""
    allowed = {"results", "records", "metrics", "resources", "errors", "durable", "evaluation", "hub"}
    assert {target for room, target in arrows() if room == "report"} <= allowed


def test_what_is_trained_has_one_home():
    """Nobody outside it asks for LoRA or for adapters."""
    files = [path for path in PACKAGE.rglob("*.py") if room_of(path) != "adaptation"]
    assert [path.name for path in files if re.search(r"lora_r|is_adapted|adapted", path.read_text("utf-8"))] == []


def test_public_names():
    for name in mulki_hf.__all__:
        assert getattr(mulki_hf, name).__name__ == name
    assert callable(mulki_hf.train.run) and mulki_hf.metrics.continual_metrics is mulki_hf.continual_metrics
