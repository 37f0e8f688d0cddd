"""A grid of tiny streams, and a stand-in for training."""

import sys

import pytest
from support.nano_mtil import write_grid
from support.results import empty_results


@pytest.fixture
def grid_yaml(tmp_path, tasks_files):
    return lambda **changes: write_grid(tmp_path, tasks_files, **changes)


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """In place of Python a program that writes results at once, of a method that fails, or waits for its end."""
    results = empty_results("a", "b", method="mulki", zero_shot=[5.0, 6.0])
    for row in ([50.0, 10.0], [40.0, 60.0]):
        results.add({"til": row}, seconds=1.0, steps=1)
    (tmp_path / "canned").mkdir()
    results.save(tmp_path / "canned")
    program = tmp_path / "python"
    program.write_text(
        f"""#!/bin/sh
        words="$*"
        while [ "$1" != --output_dir ]; do shift; done
        # Before it says that it has started: from then on it may be asked to stop.
        case "$words" in *"--method joint "*) trap 'echo asked to stop; exit 143' TERM;; esac
        echo "$words" >> "{tmp_path}/started"
        case "$words" in
        *"--method finetune "*) echo "boom on $OMP_NUM_THREADS thread(s)"; exit 3;;
        *"--method joint "*) sleep 600 & wait;;
        esac
        mkdir -p "$2/task1-a" && cp "{tmp_path}/canned/results.json" "$2"
        """
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return tmp_path / "started"
