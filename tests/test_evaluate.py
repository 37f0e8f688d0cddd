"""Any CLIP on any stream, without training: through the command."""

import csv
import errno
import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from support.adapted import LORA
from support.hub import connected
from support.launch import python, ranks
from support.tiny import SHAPES, save_tiny, stream_writer
from transformers import BertConfig, Siglip2Config

from mulki_hf import train
from mulki_hf.evaluate import main
from mulki_hf.evaluation.evaluator import StreamEvaluator
from mulki_hf.report.checkpoint import picture_names
from mulki_hf.results import StreamResults
from mulki_hf.runs.terminal import Lines


ALL = ["til", "cil", "xtail"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, tasks_files):
    """A run by all protocols, to be read alone, beside its `stream.yaml`."""
    folder = tmp_path_factory.mktemp("run")
    save_tiny(folder / "tiny-clip")
    recipe = stream_writer(folder, str(folder), str(tasks_files))(
        protocols=ALL, method="finetune", learning_rate=1e-2, max_steps=6
    )
    train.main(["--config", str(recipe)])
    return folder / "out"


def as_if_by(folder: Path, protocol: str) -> StreamResults:
    """Rewrite the results as if the run had been evaluated by one protocol; returns what they were."""
    full = StreamResults.load(folder)
    results, own = StreamResults.load(folder), full.of(protocol)
    results.protocol, results.others = protocol, {}
    results.zero_shot, results.accuracy, results.metrics = own.zero_shot, own.accuracy, own.metrics
    results.config["protocols"] = [protocol]
    results.save(folder)
    for name in {*picture_names(full.protocols)} - {*picture_names([protocol])}:
        (folder / name).unlink()
    return full


@pytest.fixture
def by_til(run, tmp_path):
    """A copy of the run as if it had been evaluated by til alone; and what all protocols say."""
    shutil.copytree(run, tmp_path / "mine")
    return tmp_path / "mine", as_if_by(tmp_path / "mine", "til")


def matrices(results: StreamResults) -> dict:
    return {name: (own.zero_shot, own.accuracy, own.metrics) for name in ALL for own in [results.of(name)]}


class TestRun:
    def test_its_matrix_again_to_the_last_bit(self, run, tmp_path, capsys):
        main([str(run), "--output_dir", str(tmp_path / "again")])
        results, was = StreamResults.load(tmp_path / "again"), StreamResults.load(run)
        assert matrices(results) == matrices(was)
        assert results.tasks == was.tasks and results.stages is None and not results.elsewhere
        assert {path.name for path in (tmp_path / "again").iterdir()} == {"results.json", *picture_names(ALL)}
        assert results.provenance["command"].startswith("python -m mulki_hf.evaluate out --output_dir again")
        printed = capsys.readouterr().out
        assert printed.count("| zero-shot |") == 3 and "| xtail" in printed and str(tmp_path / "again") in printed

    def test_gets_the_protocols_that_it_lacks(self, by_til, capsys):
        folder, full = by_til
        tasks = {path: path.read_bytes() for path in folder.glob("task*/**/*") if path.is_file()}
        main([str(folder), "--protocols", "xtail,til,cil"])
        results = StreamResults.load(folder)
        assert results.protocols == ["til", "xtail", "cil"] == results.config["protocols"]
        assert matrices(results) == matrices(full)
        assert results.provenance == full.provenance
        assert {path: path.read_bytes() for path in folder.glob("task*/**/*") if path.is_file()} == tasks
        assert (folder / "curves_cil.png").is_file() and not (folder / "unfinished").exists()
        main([str(folder), "--protocols", "cil"])
        assert "has all of these already" in capsys.readouterr().out

    def test_gets_the_cells_that_it_lacks(self, by_til):
        folder, full = by_til
        results = StreamResults.load(folder)
        results.accuracy[0][1], results.zero_shot[0], results.metrics = None, None, {}
        results.save(folder)
        main([str(folder)])
        assert StreamResults.load(folder).accuracy == full.accuracy
        assert StreamResults.load(folder).zero_shot == full.zero_shot
        assert StreamResults.load(folder).metrics == full.metrics

    def test_goes_on_afterwards_by_the_command_that_began_it(self, by_til, run):
        """Its second task, by the protocol that it knows and the one that came later."""
        folder, full = by_til
        results = StreamResults.load(folder)
        results.accuracy, results.metrics = results.accuracy[:1], {}
        results.save(folder)
        shutil.rmtree(folder / "task2-shapes")
        main([str(folder), "--protocols", "til,cil"])
        command = ["--config", str(run.parent / "stream.yaml"), "--protocols", "til", "--output_dir", str(folder)]
        train.main([*command, "--resume"])
        results = StreamResults.load(folder)
        assert results.accuracy == full.accuracy and results.of("cil").accuracy == full.of("cil").accuracy

    def test_on_another_stream(self, run, tmp_path, tasks_files, capsys):
        other = stream_writer(tmp_path, str(tmp_path), str(tasks_files))
        recipe = other(tasks=[shapes(tasks_files, "forms"), shapes(tasks_files, "figures")], protocols=["til", "xtail"])
        main([str(run), "--config", str(recipe), "--output_dir", str(tmp_path / "there")])
        results, was = StreamResults.load(tmp_path / "there"), StreamResults.load(run)
        assert results.names == ["forms", "figures"] and results.stage_names == was.names and results.elsewhere
        assert results.tasks_learned == 0 and results.method == "finetune"
        # The same images as those of the run's second task.
        assert [row[0] for row in results.accuracy] == [row[1] for row in was.accuracy]
        assert results.metrics == {"last": pytest.approx(was.accuracy[1][1])}
        assert not (tmp_path / "out").exists()
        printed = capsys.readouterr().out
        assert "| after     | forms" in printed and "mean" in printed and "transfer" not in printed
        with pytest.raises(SystemExit, match="protocols: cil is about the tasks"):
            main([str(run), "--config", str(recipe), "--protocols", "til,cil", "--output_dir", str(tmp_path / "x")])
        assert not (tmp_path / "x").exists()

    def test_on_a_longer_stream(self, run, tmp_path, tasks_files):
        recipe = run.parent / "stream.yaml"
        longer = stream_writer(tmp_path, str(tmp_path), str(tasks_files))
        tasks = [*StreamResults.load(run).config["tasks"], shapes(tasks_files, "forms")]
        main([str(run), "--config", str(longer(tasks=tasks, protocols=ALL)), "--output_dir", str(tmp_path / "there")])
        results, was = StreamResults.load(tmp_path / "there"), StreamResults.load(run)
        assert results.stages is None and results.finished == 2 and len(results.tasks) == 3 and not results.metrics
        for name in ("til", "cil"):  # more classes compete by xtail
            assert [row[:2] for row in results.of(name).accuracy] == was.of(name).accuracy
        assert recipe.is_file()

    @pytest.mark.parametrize("method", ["zero_shot", "joint"])
    def test_of_a_method_without_a_stage_a_task(self, run, tmp_path, method):
        command = ["--config", str(run.parent / "stream.yaml"), "--method", method, "--max_steps", "2"]
        train.main([*command, "--output_dir", str(tmp_path / "mine")])
        full = as_if_by(tmp_path / "mine", "xtail")
        main([str(tmp_path / "mine"), "--protocols", "til,cil", "--output_dir", str(tmp_path / "it")])
        main([str(tmp_path / "mine"), "--protocols", "til,cil"])
        assert matrices(StreamResults.load(tmp_path / "mine")) == matrices(full)
        it = StreamResults.load(tmp_path / "it")
        assert it.accuracy == full.of("til").accuracy and it.metrics == full.of("til").metrics

    def test_with_a_base_that_was_moved(self, run, tmp_path):
        shutil.copytree(run, tmp_path / "mine")
        results = StreamResults.load(tmp_path / "mine")
        results.config["model_name_or_path"] = str(tmp_path / "gone")
        results.save(tmp_path / "mine")
        words = [str(tmp_path / "mine"), "--output_dir", str(tmp_path / "it"), "--protocols", "til"]
        with pytest.raises(SystemExit, match="gone', which is not on this machine; give its place with --base"):
            main(words)
        main([*words, "--base", str(run.parent / "tiny-clip")])
        assert StreamResults.load(tmp_path / "it").zero_shot == StreamResults.load(run).zero_shot

    def test_without_a_checkpoint(self, by_til):
        folder, full = by_til
        before = (folder / "results.json").read_bytes()
        shutil.rmtree(folder / "task1-colours")
        for more in ([], ["--output_dir", str(folder.parent / "it")]):
            with pytest.raises(
                SystemExit, match="has no checkpoint of task 1, 'colours'.*: mulki-hf evaluate (.*)$"
            ) as no:
                main([str(folder), "--protocols", "cil", *more])
        assert (folder / "results.json").read_bytes() == before
        way_out = str(no.value).rpartition(" ")[2]
        assert way_out == str(folder / "task2-shapes")
        main([way_out, "--protocols", "cil", "--output_dir", str(folder.parent / "it")])
        assert StreamResults.load(folder.parent / "it").zero_shot == full.of("cil").accuracy[1]

    def test_with_gaps_whose_checkpoint_is_gone(self, by_til, capsys):
        """They stay; what is asked of other checkpoints is answered."""
        folder, full = by_til
        results = StreamResults.load(folder)
        results.accuracy[0][1] = results.accuracy[1][0] = None
        results.save(folder)
        shutil.rmtree(folder / "task1-colours")
        main([str(folder), "--per_class", "shapes", "--checkpoint", "shapes"])
        assert (folder / "classes/per_class_shapes_task2-shapes.csv").is_file()
        assert StreamResults.load(folder).accuracy == [[full.accuracy[0][0], None], full.accuracy[1]]
        capsys.readouterr()
        main([str(folder)])
        printed = capsys.readouterr().out
        assert "Left empty after colours, for want of a checkpoint: " in printed and "has all of these" not in printed
        with pytest.raises(SystemExit, match="has no checkpoint of task 1, .*bring it back, or evaluate one that"):
            main([str(folder), "--per_class", "shapes", "--checkpoint", "1"])


class TestOneModel:
    def test_as_the_method_zero_shot_leaves_it(self, run, tmp_path, monkeypatch, capsys):
        recipe = run.parent / "stream.yaml"
        train.main(["--config", str(recipe), "--method", "zero_shot", "--output_dir", str(tmp_path / "zero")])
        monkeypatch.chdir(tmp_path)
        main([str(run.parent / "tiny-clip"), "--config", str(recipe)])
        results, wanted = StreamResults.load("evaluated-tiny-clip"), StreamResults.load("zero")
        assert matrices(results) == matrices(wanted)
        assert (results.method, results.stages, results.base.name) == ("zero_shot", [], "tiny-clip")
        assert results.elsewhere and "evaluated as it is" in results.about.summary
        assert results.config["model_name_or_path"] == str(run.parent / "tiny-clip")
        assert "| model     | colours | shapes | mean |" in capsys.readouterr().out

    def test_a_checkpoint_has_its_row_of_the_run(self, run, tmp_path):
        main([str(run / "task1-colours"), "--output_dir", str(tmp_path / "one")])
        results, was = StreamResults.load(tmp_path / "one"), StreamResults.load(run)
        for name in ALL:
            assert results.of(name).zero_shot == was.of(name).accuracy[0]
        assert results.base.name == "task1-colours" and "stage 1, colours" in results.about.summary

    def test_an_embedded_model(self, run, tmp_path):
        options = ["--config", str(run.parent / "stream.yaml"), "--protocols", "til"]
        main(["clip-nano", *options, "--output_dir", str(tmp_path / "nano")])
        results = StreamResults.load(tmp_path / "nano")
        assert results.base.embedded and results.base.name == "clip-nano"
        assert results.zero_shot[0] > 50

    def test_in_bf16(self, run, tmp_path):
        """As a run in that precision measures it; and not into one of another."""
        recipe = str(run.parent / "stream.yaml")
        train.main(["--config", recipe, "--method", "zero_shot", "--bf16", "--output_dir", str(tmp_path / "zero")])
        main([str(run.parent / "tiny-clip"), "--config", recipe, "--bf16", "--output_dir", str(tmp_path / "it")])
        assert matrices(StreamResults.load(tmp_path / "it")) == matrices(StreamResults.load(tmp_path / "zero"))
        assert StreamResults.load(tmp_path / "it").config["bf16"] is True
        with pytest.raises(SystemExit, match="bf16 was False in the run and is now True"):
            main([str(run), "--bf16"])

    def test_an_earlier_evaluation_is_replaced_when_told(self, run, tmp_path):
        words = [str(run / "task1-colours"), "--output_dir", str(tmp_path / "one")]
        main([*words, "--confusion", "shapes"])
        before = StreamResults.load(tmp_path / "one")
        with pytest.raises(SystemExit, match="holds results already: choose another, or replace them with --overwrite"):
            main([*words, "--protocols", "til"])
        assert StreamResults.load(tmp_path / "one") == before
        main([*words, "--protocols", "til", "--overwrite"])
        assert {path.name for path in (tmp_path / "one").iterdir()} == {"results.json", *picture_names(["til"])}


class TestAdapter:
    @pytest.fixture(scope="class")
    def lora(self, tmp_path_factory, tasks_files):
        folder = tmp_path_factory.mktemp("lora")
        save_tiny(folder / "tiny-clip")
        train.main(["--config", str(stream_writer(folder, str(folder), str(tasks_files))(**LORA))])
        return folder / "out"

    def test_on_its_base_is_the_model_of_its_task(self, lora, tmp_path):
        main([str(lora / "task2-shapes/adapter"), "--output_dir", str(tmp_path / "it")])
        results = StreamResults.load(tmp_path / "it")
        assert results.zero_shot == StreamResults.load(lora).accuracy[1]
        assert results.base.name == "task2-shapes/adapter"

    def test_away_from_its_run(self, lora, tmp_path):
        shutil.copytree(lora / "task2-shapes/adapter", tmp_path / "moved")
        words = [str(tmp_path / "moved"), "--config", str(lora.parent / "stream.yaml")]
        words += ["--output_dir", str(tmp_path / "it")]
        with pytest.raises(SystemExit, match="belongs to 'tiny-clip', which is no folder here .* --base"):
            main(words)
        main([*words, "--base", str(lora.parent / "tiny-clip")])
        assert StreamResults.load(tmp_path / "it").zero_shot == StreamResults.load(lora).accuracy[1]
        (tmp_path / "moved/adapter_model.safetensors").write_bytes(b"cut off")
        with pytest.raises(SystemExit, match="MODEL: can't use the adapter .*moved': Safetensor"):
            main([*words, "--base", str(lora.parent / "tiny-clip"), "--overwrite"])

    def test_without_peft(self, lora, tmp_path, monkeypatch):
        shutil.copytree(lora / "task2-shapes/adapter", tmp_path / "moved")
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(SystemExit, match='a PEFT adapter, needs the package peft: run pip install "mulki-hf'):
            main([str(tmp_path / "moved"), "--config", str(lora.parent / "stream.yaml")])


class TestOnTheHub:
    def test_a_checkpoint_of_a_run(self, published_lora, tmp_path):
        """With its tasks, which lie in a folder that the person names."""
        was = StreamResults.load(published_lora.out)
        with connected(published_lora.env | {"HF_HOME": str(tmp_path / "home")}, tmp_path):
            with pytest.raises(SystemExit, match="MODEL 'org/mulki-task1@.* data_files of task 'colours'"):
                main(["org/mulki-task1"])
            main(["org/mulki-task1", "--data_root", str(published_lora.place), "--use_cpu"])
            assert StreamResults.load("evaluated-mulki-task1").zero_shot == was.accuracy[0]
            assert StreamResults.load("evaluated-mulki-task1").base.hub_id == "org/mulki-task1"

    def test_an_adapter_and_what_is_not_there(self, published_lora, tmp_path):
        was = StreamResults.load(published_lora.out)
        with connected(published_lora.env | {"HF_HOME": str(tmp_path / "home")}, published_lora.place):
            words = ["--config", "stream.yaml", "--output_dir", str(tmp_path / "it")]
            main(["org/mulki-task2-lora", *words])
            assert StreamResults.load(tmp_path / "it").zero_shot == was.accuracy[1]
            with pytest.raises(SystemExit, match="error: MODEL 'org/nothing': .*not"):
                main(["org/nothing", *words, "--overwrite"])


class TestClasses:
    def read(self, path: Path) -> list[list[str]]:
        with path.open(newline="") as file:
            return list(csv.reader(file))

    def test_of_a_runs_last_checkpoint(self, run, tmp_path, capsys):
        words = ["--output_dir", str(tmp_path / "it"), "--protocols", "xtail,til"]
        main([str(run), *words, "--per_class", "shapes", "colours", "--confusion", "shapes"])
        results, printed = StreamResults.load(tmp_path / "it"), capsys.readouterr().out
        header, *counts = self.read(tmp_path / "it/classes/confusion_shapes_task2-shapes.csv")
        assert header == ["class", *SHAPES, "other tasks"] and [row[0] for row in counts] == [*SHAPES]
        numbers = [[int(cell) for cell in row[1:]] for row in counts]
        assert [sum(row) for row in numbers] == [3, 3, 3]
        assert 100 * sum(numbers[i][i] for i in range(3)) / 9 == pytest.approx(results.accuracy[1][1])
        _, *classes = self.read(tmp_path / "it/classes/per_class_shapes_task2-shapes.csv")
        assert [(row[0], int(row[1]), int(row[2])) for row in classes] == [
            (name, 3, numbers[i][i]) for i, name in enumerate(SHAPES)
        ]
        assert (tmp_path / "it/classes/confusion_shapes_task2-shapes.png").stat().st_size > 1000
        assert "shapes, xtail: after shapes" in printed and "colours, xtail: after shapes" in printed
        assert "| stripe | 3 " in printed

    def test_of_another_one_into_the_run(self, by_til):
        folder, full = by_til
        before = (folder / "results.json").read_bytes()
        asked = (("0", "zero-shot"), ("zero-shot", "zero-shot"), ("1", "task1-colours"), ("colours", "task1-colours"))
        for checkpoint, name in (*asked, ("last", "task2-shapes")):
            main([str(folder), "--per_class", "colours", "--checkpoint", checkpoint])
            _, *rows = self.read(folder / f"classes/per_class_colours_{name}.csv")
            right = 100 * sum(int(row[2]) for row in rows) / sum(int(row[1]) for row in rows)
            row = full.zero_shot if name == "zero-shot" else full.accuracy[int(name[4]) - 1]
            assert right == pytest.approx(row[0])
        assert (folder / "results.json").read_bytes() == before
        train.main(
            ["--config", str(Path(full.config["output_dir"]).parent / "stream.yaml"), "--overwrite"]
            + ["--output_dir", str(folder), "--method", "zero_shot"]
        )
        assert not (folder / "classes").exists()


class TestRefusals:
    """Before anything is loaded that takes long; nothing is written."""

    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "MODEL, what is evaluated, comes first"),
            (["--config", "x"], "MODEL, what is evaluated, comes first"),
            (["clip-nano"], "tasks: 'clip-nano' belongs to no run .* name a stream with --config"),
            (["no/such/thing"], "MODEL: 'no/such/thing' is no folder, no id on the Hub"),
            (["bert", "STREAM"], "MODEL: 'bert' is a 'bert' model; supported are CLIP, SigLIP"),
            (["naflex", "STREAM"], "MODEL: 'naflex' is a SigLIP 2 .* take one of a fixed resolution"),
            (["empty", "STREAM"], "MODEL: the folder 'empty' holds no model"),
            (["clip-nano", "STREAM", "--learning_rate", "1"], "--learning_rate has no say in an evaluation"),
            (["clip-nano", "STREAM", "--resume"], "--resume has no say in an evaluation"),
            (["clip-nano", "STREAM", "--no-connecting"], "--no_connecting has no say in an evaluation"),
            (["clip-nano", "STREAM", "--model_revision=x"], "--model_revision: the model is the command's first word"),
            (
                ["clip-nano", "STREAM", "--confusion", "shape"],
                "confusion: the stream has no task .shape., only",
            ),
            (["clip-nano", "STREAM", "--protocols", "tal"], "protocols must be of til, cil, xtail, got 'tal'"),
            (["clip-nano", "STREAM", "--base", "x/y"], "base 'x/y' is for an adapter or for a run"),
            (["clip-nano", "STREAM", "--checkpoint", "1"], "checkpoint says whose answers --per_class and --confusion"),
            (["clip-nano", "STREAM", "--checkpoint", "1", "--confusion", "shapes"], "checkpoint: 'clip-nano' is one"),
            (
                ["RUN", "--checkpoint", "3", "--confusion", "shapes"],
                "checkpoint '3': .* has last, zero-shot, 0 .zero-shot., 1 .colours., 2 .shapes.$",
            ),
            (["RUN", "--checkpoint", "forms", "--confusion", "shapes"], "checkpoint 'forms': .* has last, zero-shot"),
            (["RUN", "--data_root", "x"], "data_root is for the tasks of a checkpoint on the Hub"),
            (["RUN", "--output_dir", "RUN"], "holds a run that was trained: an evaluation goes to a folder of its own"),
            (["RUN", "--output_dir", "taken"], "output_dir '.*taken' holds 'mine.txt', which no evaluation wrote"),
            (["RUN", "--output_dir", "taken/mine.txt"], "is a file, not a folder"),
            (["RUN", "--evaluate_on", "validation"], "task 'colours', .*the task has no validation_split"),
            (["clip-nano", "STREAM", "--config", "nothing"], "no file 'nothing', and no recipe of that name"),
        ],
    )
    def test_what_can_be_mended(self, run, tmp_path, words, message):
        for name, config in (("bert", BertConfig()), ("naflex", Siglip2Config())):
            if name in words:
                config.save_pretrained(name)
        Path("empty").mkdir()
        Path("taken").mkdir()
        Path("taken/mine.txt").write_text("mine")
        there = sorted(path for path in tmp_path.rglob("*"))
        stream = ["--config", str(run.parent / "stream.yaml")]
        words = [part for word in words for part in (stream if word == "STREAM" else [word])]
        with pytest.raises(SystemExit, match=f"(?s)error: .*{message}"):
            main([str(run) if word == "RUN" else word for word in words])
        assert sorted(path for path in tmp_path.rglob("*")) == there

    def test_a_run_that_is_being_trained(self, by_til):
        folder, _ = by_til
        (folder / "unfinished").mkdir()
        with FileLock(folder / "unfinished/lock"), pytest.raises(SystemExit, match="a run is writing there"):
            main([str(folder), "--protocols", "cil"])

    def test_a_run_that_has_learned_nothing_yet(self, by_til):
        folder, _ = by_til
        results = StreamResults.load(folder)
        results.accuracy, results.metrics = [], {}
        results.save(folder)
        with pytest.raises(SystemExit, match="is a run none of whose tasks is finished"):
            main([str(folder), "--protocols", "cil"])

    def test_other_data_than_the_runs(self, by_til):
        folder, _ = by_til
        results = StreamResults.load(folder)
        results.tasks[1].fingerprint = "0" * 16
        results.save(folder)
        before = (folder / "results.json").read_bytes()
        with pytest.raises(SystemExit, match="task 'shapes' is not what the run was evaluated on: as many images"):
            main([str(folder), "--protocols", "cil"])
        assert (folder / "results.json").read_bytes() == before

    def test_somebodys_picture_in_the_run(self, by_til):
        folder, _ = by_til
        (folder / "curves_cil.png").write_text("mine")
        with pytest.raises(SystemExit, match="holds curves_cil.png, which the run did not draw"):
            main([str(folder), "--protocols", "cil"])
        assert (folder / "curves_cil.png").read_text() == "mine"


def test_one_bar_for_all_models(run, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(Lines, "show", lambda self, share, texts, now=False: said.append((share, texts[-1])))
    main([str(run), "--output_dir", str(tmp_path / "it"), "--protocols", "til"])
    shares = [share for share, _ in said]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert said[-1][1] == "model 3/3 shapes" and "model 1/3 zero-shot" in [text for _, text in said]


def test_an_interruption_loses_nothing(by_til, monkeypatch, capsys):
    """What was measured is kept, and the same command measures the rest."""
    folder, full = by_til
    there = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    cells, measured = StreamEvaluator.cells, []

    def interrupted(self, model, learned, description, *args):
        if len(measured) == stop_at:
            raise KeyboardInterrupt
        measured.append(description)
        return cells(self, model, learned, description, *args)

    monkeypatch.setattr(StreamEvaluator, "cells", interrupted)
    for stop_at, said in ((0, "nothing was written; start again"), (2, "2 of 3 models are measured, and in the res")):
        with pytest.raises(SystemExit, match="130"):
            main([str(folder), "--protocols", "cil"])
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"stopped: {said}")
        changed = {path.name for path in folder.rglob("*") if path.is_file() and path.read_bytes() != there.get(path)}
        assert changed == ({"results.json"} if stop_at else set())
    cil = StreamResults.load(folder).of("cil")
    assert (cil.zero_shot, cil.accuracy) == (full.of("cil").zero_shot, [full.of("cil").accuracy[0], [None, None]])
    stop_at = None
    main([str(folder), "--protocols", "cil"])
    assert measured == ["zero-shot", "colours", "shapes"]
    assert StreamResults.load(folder).of("cil") == full.of("cil") and (folder / "curves_cil.png").is_file()


def test_an_earlier_evaluation_stays_until_the_new_one_is_written(run, tmp_path, monkeypatch, capsys):
    words = [str(run / "task1-colours"), "--output_dir", str(tmp_path / "one")]
    main([*words, "--confusion", "shapes"])
    there = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full_disk(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="No space left .*then give the same command"):
        patch.setattr("mulki_hf.measuring.write_classes", full_disk)
        main([*words, "--per_class", "shapes", "--overwrite"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == there
    main([*words, "--per_class", "shapes", "--overwrite"])
    assert [path.name for path in (tmp_path / "one/classes").iterdir()] == ["per_class_shapes_task1-colours.csv"]
    assert not (tmp_path / "one/unfinished").exists()


def test_help_needs_no_torch():
    printed = python(
        "import sys; from mulki_hf.evaluate import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'datasets' not in sys.modules"
    ).stdout
    assert "mulki-hf evaluate my-stream --protocols til,cil,xtail" in printed and "--confusion" in printed


@pytest.mark.xdist_group("ranks")
def test_two_ranks_give_the_figures_of_one(by_til, tmp_path):
    """12 and 9 images, which two ranks can't share out evenly."""
    folder, full = by_til
    words = ["-m", "mulki_hf.evaluate", folder, "--protocols", "til,cil,xtail", "--confusion", "shapes"]
    printed = ranks([*words, "--use_cpu", "--per_device_eval_batch_size", "2"], tmp_path / "log")
    assert "on 2 process(es)" in printed[0] and "process(es)" not in printed[1]
    assert matrices(StreamResults.load(folder)) == matrices(full)
    with (folder / "classes/confusion_shapes_task2-shapes.csv").open() as file:
        counts = [[int(cell) for cell in row[1:]] for row in [*csv.reader(file)][1:]]
    assert [sum(row) for row in counts] == [3, 3, 3]
    assert 100 * sum(counts[i][i] for i in range(3)) / 9 == pytest.approx(full.accuracy[1][1])


def shapes(files, name: str) -> dict:
    return {
        "name": name,
        "dataset": "parquet",
        "data_files": {split: f"{files}/shapes-{split}.parquet" for split in ("train", "test")},
    }
