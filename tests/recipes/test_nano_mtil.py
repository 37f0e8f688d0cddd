"""The benchmark's runner: on tiny streams, on a stand-in for training, and on what the repository compares."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import run as runner
import table
import yaml
from grid import GRID, Grid
from one_run import trial_name
from records import Records
from support.launch import run as command
from support.nano_mtil import CONTENT, FEW, FOLDER, write_grid

from mulki_hf.config.parser import parse
from mulki_hf.config.paths import shareable_settings
from mulki_hf.config.recipes import decisive
from mulki_hf.results import StreamResults


@pytest.mark.long
class TestReally:
    """Streams that are learned, as a person does it."""

    @pytest.fixture(scope="class")
    def learned(self, tmp_path_factory, tasks_files):
        """Grid, folder of runs, and what the command printed."""
        folder = tmp_path_factory.mktemp("nano")
        path = write_grid(folder, tasks_files, seeds=[0], methods=FEW, ablation=None)
        words = ["--grid", path, "--output_dir", folder / "runs", "--workers", 2]
        printed = command(sys.executable, FOLDER / "run.py", "grid", *words).stdout
        return path, folder / "runs", printed

    def test_each_method_order_and_seed_is_a_run(self, learned):
        path, output, printed = learned
        assert "4 runs, 0 of them finished; 2 at a time" in printed and "[4/4]" in printed
        records = Records.load(output, path)
        found = [(run.label, run.order) for run in records.runs]
        assert found == [("zero_shot", 1), ("tuned", 1), ("joint", 1), ("tuned", 2)]
        zero_shot, tuned, joint, other = records.runs
        assert tuned.over(zero_shot) == {"method": "finetune", "weight_decay": 0.1}
        assert (tuned.steps, joint.steps, zero_shot.steps) == (2, 2, None)
        assert [len(run.accuracy) for run in (zero_shot, tuned, joint)] == [0, 2, 1]
        assert joint.metrics["transfer"] is None and zero_shot.metrics["forgetting"] == 0
        assert (tuned.tasks, other.tasks) == (["colours", "shapes"], ["shapes", "colours"])

    def test_finished_runs_leave_figures_alone(self, learned):
        assert not list(learned[1].glob("*/*/*/*/*.safetensors"))

    def test_what_is_finished_is_not_learned_again(self, learned, capsys, monkeypatch):
        path, output, _ = learned
        monkeypatch.setattr(runner.subprocess, "Popen", pytest.fail)
        with pytest.raises(SystemExit) as end:
            runner.main(["grid", "--grid", str(path), "--output_dir", str(output)])
        assert end.value.code == 0 and "4 runs, 4 of them finished" in capsys.readouterr().out

    def test_the_tables_can_be_made_again_of_the_record_alone(self, learned, tmp_path):
        path, output, _ = learned
        made = [tmp_path / name for name in ("runs.md", "runs.json", "runs.png", "again.md", "again.json")]
        options = ["--grid", str(path), "--output", str(made[0]), "--record", str(made[1]), "--picture", str(made[2])]
        table.main([str(output), *options])
        table.main([str(made[1]), "--output", str(made[3]), "--record", str(made[4])])
        assert made[0].read_bytes() == made[3].read_bytes() and made[1].read_bytes() == made[4].read_bytes()
        assert "| joint     | 1    | -" in made[0].read_text() and made[2].read_bytes()[1:4] == b"PNG"
        # A run a line.
        assert len(made[1].read_text().splitlines()) == 4 + 5

    def test_the_record_says_all_that_a_run_needs_to_be_learned_again(self, learned, tmp_path):
        path, output, _ = learned
        table.main([str(output), "--grid", str(path), "--record", str(tmp_path / "runs.json"), "--output", os.devnull])
        record = json.loads((tmp_path / "runs.json").read_text())
        for run in record["runs"]:
            recipe = record["settings"] | run["settings"] | {name: run[name] for name in ("method", "seed")}
            recipe["tasks"] = [recipe["tasks"][name] for name in run["tasks"]]
            (tmp_path / "again.yaml").write_text(yaml.safe_dump(recipe))
            stream, config = parse(
                ["--config", str(tmp_path / "again.yaml"), "--output_dir", "out", "--use_cpu", "true"]
            )
            learned_with = StreamResults.load(output / "grid" / run["label"] / f"order{run['order']}-seed{run['seed']}")
            again, then = dataclasses.asdict(stream) | config.to_dict(), learned_with.config
            assert decisive(shareable_settings(again)) == decisive(shareable_settings(then))
            made = record["versions"] | run["versions"]
            assert made == learned_with.versions | {"git_commit": learned_with.provenance["git_commit"]}

    def test_runs_with_other_settings_are_refused(self, learned, tmp_path, tasks_files):
        _, output, _ = learned
        changed = FEW | {"tuned": FEW["tuned"] | {"base": {"weight_decay": 0.2}}}
        path = write_grid(tmp_path, tasks_files, methods=changed, seeds=[0], ablation=None)
        shutil.copytree(learned[0].parent / "tiny-clip", tmp_path / "tiny-clip", dirs_exist_ok=True)
        for name in CONTENT["orders"]:
            shutil.copy(learned[0].parent / name, tmp_path)
        for act in (runner.main, table.main):
            words = ["grid", "--output_dir", str(output)] if act is runner.main else [str(output)]
            with pytest.raises(
                SystemExit, match="order1-seed0 is of another grid: weight_decay was 0.1 and is now 0.2"
            ):
                act([*words, "--grid", str(path)])


@pytest.fixture
def handlers():
    """Those of signals, put back afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class TestQueue:
    def test_a_failed_run_is_named_and_stops_no_other(self, grid_yaml, stub, tmp_path, capsys):
        words = ["grid", "--grid", str(grid_yaml()), "--output_dir", str(tmp_path / "runs"), "--methods", "tuned,mulki"]
        with pytest.raises(SystemExit) as end:
            runner.main([*words, "--seeds", "0", "--workers", "1"])
        assert end.value.code == 1
        said = capsys.readouterr()
        assert "[1/4] tuned, order 1, seed 0: failed" in said.out
        assert "[4/4] mulki, order 2, seed 0: Transfer 10.0, Avg 40.0, Last 50.0" in said.out
        assert "failed: tuned, order 2, seed 0; the end of" in said.err
        assert f"  boom on {runner.cores()} thread(s)" in said.err

    def test_the_same_command_tries_what_failed_again(self, grid_yaml, stub, tmp_path):
        words = ["grid", "--grid", str(grid_yaml()), "--output_dir", str(tmp_path / "runs"), "--seeds", "0"]
        unfinished = tmp_path / "runs/grid/tuned/order1-seed0/unfinished/cache"
        unfinished.mkdir(parents=True)
        for _ in range(2):
            with pytest.raises(SystemExit, match="1"):
                runner.main([*words, "--methods", "tuned", "--orders", "1"])
        started = stub.read_text().splitlines()
        assert len(started) == 2 and all(line.endswith("--resume") for line in started)

    def test_once_it_is_stopped_no_run_begins(self, grid_yaml, stub, tmp_path):
        """Not even one that a worker has taken already."""
        words = ["grid", "--grid", str(grid_yaml()), "--output_dir", str(tmp_path / "runs"), "--methods", "joint"]
        args = runner.arguments(words)
        queue = runner.Queue(Grid.load(args.grid).runs("grid", args.methods, args.seeds, args.orders), args)
        assert len(queue.runs) == 2
        queue._stop()
        assert set(queue.work()) == set(queue.runs)
        assert not stub.exists()

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
    def test_a_signal_ends_what_is_learned_and_begins_nothing(
        self, grid_yaml, stub, tmp_path, capsys, handlers, number, status
    ):
        signal.signal(number, lambda *_: pytest.fail("nobody minded the signal"))
        # A terminal that is closed says so more than once.
        kill = "; ".join([f"kill -{number} {os.getpid()}"] * (2 if number == signal.SIGHUP else 1))
        words = ["grid", "--grid", str(grid_yaml()), "--output_dir", str(tmp_path / "runs"), "--methods", "joint"]
        killer = subprocess.Popen(["/bin/sh", "-c", f"while [ ! -e '{stub}' ]; do sleep 0.05; done; sleep 0.3; {kill}"])
        began = time.monotonic()
        with pytest.raises(SystemExit) as end:
            runner.main([*words, "--workers", "1"])
        killer.wait()
        # A run would take ten minutes.
        assert end.value.code == status and time.monotonic() - began < 120
        assert len(stub.read_text().splitlines()) == 1
        assert "asked to stop" in (tmp_path / "runs/grid/joint/order1-seed0.log").read_text()
        assert "the same command goes on" in capsys.readouterr().err

    def test_behind_nohup_the_terminal_may_go(self, handlers):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with runner.hanging_up():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN

    def test_a_signal_that_reaches_another_thread_is_minded_as_well(self, grid_yaml, stub, tmp_path, handlers):
        """Which thread the kernel gives it to is nobody's choice."""
        signal.signal(signal.SIGTERM, lambda *_: pytest.fail("nobody minded the signal"))

        def kill():
            while not stub.exists():
                time.sleep(0.05)
            time.sleep(0.3)
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

        killer, began = threading.Thread(target=kill), time.monotonic()
        words = ["grid", "--grid", str(grid_yaml()), "--output_dir", str(tmp_path / "runs"), "--methods", "joint"]
        killer.start()
        with pytest.raises(SystemExit, match="143"):
            runner.main([*words, "--workers", "1"])
        killer.join()
        assert time.monotonic() - began < 120
        assert len(stub.read_text().splitlines()) == 1

    def test_tuning_is_on_validation_splits_in_a_folder_for_each_trial(self, grid_yaml, stub, tmp_path):
        with pytest.raises(SystemExit, match="1"):
            runner.main(
                ["tuning", "--grid", str(grid_yaml()), "--output_dir", str(tmp_path / "runs"), "--workers", "1"]
            )
        started = stub.read_text().splitlines()
        assert len(started) == 2 and all("--evaluate_on validation" in line for line in started)
        assert {log.parent.name for log in (tmp_path / "runs/tuning/tuned").glob("*/order1-seed0.log")} == {
            "learning_rate=0.001",
            "learning_rate=0.0003",
        }


class TestRepository:
    """What the repository compares."""

    def test_every_run_can_be_parsed(self, tmp_path):
        grid = Grid.load()
        for row in grid.methods.values():
            # Before tuning nothing is.
            row.chosen = row.chosen or (row.trials and row.trials[0])
        runs = [*grid.runs("tuning"), *grid.runs("grid", seeds=[0]), *grid.runs("ablation", seeds=[0])]
        for run in runs:
            run.resolved(tmp_path)
        assert {run.label for run in runs} == {*grid.methods, *grid.ablation.variants}

    def test_each_method_is_tuned_as_well_as_the_others(self):
        for label, row in Grid.load().methods.items():
            if label not in ("zero_shot", "mulki_gentle"):  # nothing to tune; a trial of another row
                fields = {name for trial in row.trials for name in trial}
                assert len(row.trials) >= 6 and {"learning_rate", "text_learning_rate"} <= fields, label

    def test_mulki_has_no_more_trials_than_a_baseline(self):
        counts = {label: len(row.trials or ()) for label, row in Grid.load().methods.items()}
        assert all(counts["mulki"] <= counts[label] for label in ("finetune", "lwf", "wise_ft", "zscl", "snd"))

    def test_the_figures_that_are_shown_are_those_of_the_grid(self):
        """What was chosen is the best trial, what the grid ran with is what was chosen, and the page says what the
        record does.
        """
        grid, records = Grid.load(), Records.load(FOLDER / "results.json", GRID)
        tried = table.rows(records.stage("tuning"))
        for label, row in grid.methods.items():
            if row.trials:
                assert {run.trial for run in tried[label]} == {trial_name(trial) for trial in row.trials}, label
                assert table.best_trial(tried[label]).trial == trial_name(row.chosen), label
        gentle = trial_name(grid.methods["mulki_gentle"].base)
        assert gentle == max(tried["mulki"], key=lambda run: run.metrics["transfer"]).trial
        ran = [(run.label, run.order, run.seed) for run in records.stage("grid")]
        assert sorted(ran) == sorted((run.label, run.order, run.seed) for run in grid.runs("grid"))
        assert "the grid ran with" not in table.chosen(records.stage("tuning"), records.stage("grid"))
        assert not records.changed_data()
        assert (FOLDER / "results.md").read_text(encoding="utf-8") == table.tables(records) + "\n"
        assert table.comparison(records.stage("grid")) in (FOLDER / "README.md").read_text(encoding="utf-8")

    def test_ten_tasks_in_two_orders_that_are_no_mirror_images(self):
        recipes = [yaml.safe_load((FOLDER / f"order_{number}.yaml").read_text()) for number in (1, 2)]
        first, second = ([task["name"] for task in recipe["tasks"]] for recipe in recipes)
        assert len(first) == 10 and first not in (second, second[::-1])
        assert all(task["validation_split"].startswith("validation") for task in recipes[0]["tasks"])
