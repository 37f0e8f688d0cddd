"""Streams in Python, as the front page and the package's own page have them, and what a notebook wants beyond."""

import ast
import base64
import io
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from datasets import Dataset, DatasetDict, load_dataset
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from support.hub import connected
from support.results import empty_results
from support.tiny import COLOURS, SHAPES, rows, save_tiny, tiny_task
from transformers import CLIPModel, EarlyStoppingCallback, TrainerCallback

import mulki_hf
from mulki_hf import ConfigurationError, MulKITrainer, Report, StreamConfig, StreamResults, Task, run
from mulki_hf.config.parser import parse
from mulki_hf.data.labels import labels_of
from mulki_hf.errors import PushError, TrainingError
from mulki_hf.stream import Stream


PAGE = (Path(mulki_hf.__file__).parent / "README.md").read_text(encoding="utf-8")
FRONT = (Path(mulki_hf.__file__).parents[1] / "README.md").read_text(encoding="utf-8")
TEN_LINES = re.findall(r"```python\n(.*?)```", FRONT.partition("\n## Python\n")[2], flags=re.DOTALL)[0]
STREAM, NEXT_MONTH, STOPPED_EARLY, STEPS, TRAINER = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)

QUICK = "use_cpu=True, report_to='none', dataloader_num_workers=0, disable_tqdm=True, per_device_train_batch_size=16"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Small data and a small model for those that the pages name."""
    folder = tmp_path_factory.mktemp("python")
    save_tiny(folder / "clip")
    for name, names in {"pets": COLOURS, "dtd": SHAPES, "gtsrb": ["red", "frame"]}.items():
        (folder / name).mkdir()
        for split, count in {"train": 10, "test": 3}.items():
            rows([*names], count, seed=count).to_parquet(folder / name / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module")
def notebook(place):
    """Runs a cell of a page as a notebook does: returns what its last line is; what it makes stays for the next."""
    names = {}

    def cell(source: str):
        for there, here in {
            "timm/oxford-iiit-pet": place / "pets",
            "tanganke/dtd": place / "dtd",
            "tanganke/gtsrb": place / "gtsrb",
            "openai/clip-vit-base-patch16": place / "clip",
        }.items():
            source = source.replace(f'"{there}"', repr(str(here)))
        source = re.sub(r'output_dir="([\w-]+)"', rf'output_dir="{place}/\1", {QUICK}', source)
        source = source.replace("num_train_epochs=3", "max_steps=2").replace("max_steps=1000", "max_steps=2")
        *body, last = ast.parse(source).body
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        exec(compile(ast.Module([last], []), "cell", "exec"), names)

    cell.names = names
    return cell


EARLY = STOPPED_EARLY.replace("num_train_epochs=50", "num_train_epochs=7").replace("patience=3", "patience=1")


@pytest.fixture
def begun(notebook):
    """The notebook after its first cell, also where the test of that is another worker's."""
    if "results" not in notebook.names:
        notebook(TEN_LINES)
    return notebook


@pytest.fixture
def stopped_early(begun):
    """The same after the cell that stops early."""
    if "config" not in begun.names:
        begun(EARLY)
    return begun


class TestAsDocumented:
    """In the pages' order, one notebook."""

    def test_is_about_ten_lines(self):
        lines = [line for line in TEN_LINES.splitlines() if line and not line.startswith(("from ", "import "))]
        assert len(lines) <= 10 and TEN_LINES == STREAM

    def test_a_stream(self, notebook, place, capsys):
        shown = notebook(TEN_LINES)
        results = notebook.names["results"]
        assert results.names == ["pets", "textures"] and [len(row) for row in results.accuracy] == [2, 2]
        assert results == StreamResults.load(place / "my-stream")
        assert "task 2/2 textures" in capsys.readouterr().out
        assert f"| {results.metrics['transfer']:.1f} " in repr(shown)
        pictures = re.findall(r"!\[[\w ]+\]\(data:image/png;base64,(.+?)\)", shown._repr_markdown_())
        for picture in pictures:
            assert min(Image.open(io.BytesIO(base64.b64decode(picture))).size) > 100
        assert len(pictures) == 2 and shown._repr_markdown_().startswith(repr(shown))
        CLIPModel.from_pretrained(place / "my-stream/task2-textures")

    def test_a_task_next_month(self, begun):
        notebook = begun
        before = notebook.names["results"].accuracy
        notebook(NEXT_MONTH)
        results = notebook.names["results"]
        assert results.names == ["pets", "textures", "signs"] and len(results.accuracy) == 3
        assert [row[:2] for row in results.accuracy[:2]] == before

    def test_stopped_early(self, stopped_early):
        assert StreamResults.load(stopped_early.names["config"].output_dir).finished == 1

    def test_step_by_step(self, stopped_early, place):
        notebook = stopped_early
        notebook(f"config.output_dir, stream.tasks = '{place}/by-steps', tasks[:1]\nconfig.eval_strategy = 'no'")
        notebook("config.load_best_model_at_end, config.max_steps = False, 1")
        notebook(STEPS)
        assert notebook.names["folder"].name == "task1-pets" and notebook.names["folder"].is_dir()

    def test_one_task(self, notebook, capsys):
        notebook(TRAINER)
        assert "eval_accuracy" in capsys.readouterr().out


def files(name: str, folder: Path) -> dict[str, str]:
    return {split: str(folder / f"{name}-{split}.parquet") for split in ("train", "test")}


@pytest.fixture
def given(tasks_files, tiny_folder):
    """The stream of two tasks, each a Task."""

    def make(**fields) -> StreamConfig:
        tasks = []
        for name, names in {"colours": COLOURS, "shapes": SHAPES}.items():
            data = load_dataset("parquet", data_files=files(name, tasks_files))
            tasks.append(Task(name, [*names], ["a {}."], data["train"], data["test"]))
        return StreamConfig(**{"model_name_or_path": str(tiny_folder), "tasks": tasks} | fields)

    return make


class TestTasksOfOnesOwn:
    def test_are_learned_as_those_of_a_mapping(self, given, tasks_files, make_args, tmp_path):
        """Bit for bit, and with the same fingerprint; of their data nothing is kept."""
        entries = [
            {"name": name, "dataset": "parquet", "data_files": files(name, tasks_files), "templates": ["a {}."]}
            for name in ("colours", "shapes")
        ]
        mapped = run(given(tasks=entries), make_args(output_dir=str(tmp_path / "mapped")))
        results = run(given(), make_args(output_dir=str(tmp_path / "own")))
        assert results.accuracy == mapped.accuracy
        assert [task.fingerprint for task in results.tasks] == [task.fingerprint for task in mapped.tasks]
        weights = [load_file(tmp_path / f"{run}/task2-shapes/model.safetensors") for run in ("own", "mapped")]
        assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
        content = json.loads((tmp_path / "own/results.json").read_text())
        assert content["config"]["tasks"] == [
            {"name": "colours", "dataset": "in memory"},
            {"name": "shapes", "dataset": "in memory"},
        ]
        assert {task["dataset"] for task in content["tasks"]} == {"local files"}

    def test_go_on_with_the_same_data_alone(self, given, make_args):
        args = make_args(max_steps=1)
        results = run(given(), args)
        assert run(given(resume=True), args).accuracy == results.accuracy
        other = tiny_task("shapes", [*SHAPES], templates=["a {}."], seed=7)
        with pytest.raises(ConfigurationError, match="task 'shapes' is not what the run began with: .* other ones"):
            run(given(tasks=[given().tasks[0], other], resume=True), args)
        recipe = yaml.safe_load((Path(args.output_dir) / "task1-colours/recipe.yaml").read_text())
        with pytest.raises(
            ConfigurationError, match="task 'colours': dataset 'in memory' stands for data .* in Python"
        ):
            mulki_hf.load_stream(given(tasks=recipe["tasks"]))

    def test_have_their_images_checked(self, given):
        broken = Dataset.from_dict({"image": ["none.png"] * 3, "label": [0, 1, 2]})
        task = Task("shapes", [*SHAPES], ["a {}."], broken, rows([*SHAPES], 2, 0))
        with pytest.raises(ConfigurationError, match=r"task 'shapes', train data: 3 unreadable image\(s\)"):
            mulki_hf.load_stream(given(tasks=[task]))

    def test_without_an_image_that_can_not_be_read(self, given, tmp_path, caplog):
        pictures = rows([*SHAPES], 1, 0)
        for row, picture in enumerate(pictures["image"]):
            picture.save(tmp_path / f"{row}.png")
        (tmp_path / "0.png").write_bytes(b"none")
        paths = Dataset.from_dict({"image": [str(tmp_path / f"{row}.png") for row in range(3)], "label": [0, 1, 2]})
        task = Task("shapes", [*SHAPES], ["a {}."], paths, rows([*SHAPES], 2, 0))
        (task,) = mulki_hf.load_stream(given(tasks=[task], unreadable_images="skip"))
        assert labels_of(task.train).tolist() == [1, 2] and task.train[0]["image"].size == (16, 16)
        assert "1 unreadable image(s) left out" in caplog.text

    def test_for_tuning(self, given):
        task = tiny_task(validation=rows([*COLOURS], 2, 5))
        (loaded,) = mulki_hf.load_stream(given(tasks=[task], evaluate_on="validation"))
        assert len(loaded.evaluation) == 8 and loaded.validation is None
        with pytest.raises(ConfigurationError, match="task 'colours': evaluate_on is validation but"):
            mulki_hf.load_stream(given(evaluate_on="validation"))

    @pytest.mark.parametrize("entry", ["pets", None, DatasetDict()])
    def test_neither_task_nor_mapping(self, given, entry):
        message = (
            "tasks, entry 2.*(must be a mapping with at least name and dataset or, in Python, a Task|name is missing)"
        )
        with pytest.raises(ConfigurationError, match=message):
            mulki_hf.load_stream(given(tasks=[tiny_task(), entry]))


class TestOnTheHub:
    def test_goes_on_elsewhere_in_python(self, given, make_args, stream, tmp_path):
        """With the same data; a recipe alone says that it can't load them."""
        settings = {"max_steps": 1, "output_dir": str(tmp_path / "whole")}
        with connected(stream.env, stream.place):
            whole = run(given(), make_args(**settings, push_to_hub=True, hub_model_id="org/own"))
            card = ModelCard.load("org/own-task1").text
            with pytest.raises(ConfigurationError, match="dataset of task 'colours' was given in Python, as a Task"):
                parse(["--resume_from_hub", "org/own-task1", "--data_root", str(tmp_path), "--output_dir", "x"])
            args = make_args(**settings | {"output_dir": str(tmp_path / "further")})
            further = run(given(resume_from_hub="org/own-task1"), args)
        assert further.accuracy == whole.accuracy
        assert "data that the run was given in Python" in card and "--resume_from_hub" not in card


class Seen(TrainerCallback):
    """Which trainers it was in, and of how many of its kind it is."""

    made = 0

    def __init__(self):
        self.began = []
        type(self).made += 1

    def on_train_begin(self, args, state, control, **kwargs):
        self.began.append(Path(args.output_dir).name)


class TestCallbacks:
    def test_of_every_task(self, given, make_args):
        one, classes, made = Seen(), type("Class", (Seen,), {}), []
        run(given(), make_args(max_steps=1), callbacks=[one, classes, lambda: made.append(Seen()) or made[-1]])
        assert one.began == ["task1-colours", "task2-shapes"]
        # Each is made once more before the run begins, to see what it is.
        assert [callback.began for callback in made if callback.began] == [["task1-colours"], ["task2-shapes"]]
        assert classes.made > 2

    @pytest.mark.parametrize(
        ("callbacks", "message"),
        [
            (Seen(), "callbacks must be a list, got <"),
            (["early"], "callbacks: 'early' is neither a TrainerCallback nor a class or function that makes one"),
            ([dict], "callbacks: <class 'dict'> is neither"),
            ([EarlyStoppingCallback()], "EarlyStoppingCallback needs metric_for_best_model .* got None and no"),
        ],
    )
    def test_that_are_none(self, given, make_args, callbacks, message, tmp_path):
        with pytest.raises(ConfigurationError, match=message):
            run(given(), make_args(), callbacks=callbacks)
        assert not (tmp_path / "trainer").exists()


WATCHED = {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "accuracy", "max_steps": 9}
WATCHED |= {"save_strategy": "steps", "save_steps": 1}


class TestEarlyStopping:
    def stream(self, given, **fields) -> StreamConfig:
        """Validation data that no training makes better: after the first evaluation nothing is."""
        tasks = [
            Task(
                task.name, task.class_names, task.templates, task.train, task.evaluation, validation=rows([first], 4, 3)
            )
            for task, first in zip(given().tasks, ("red", "stripe"), strict=True)
        ]
        return given(tasks=tasks, **fields)

    @pytest.mark.parametrize("method", ["mulki", "finetune"])
    def test_counts_anew_with_every_task(self, given, make_args, method, monkeypatch):
        seen = []
        monkeypatch.setattr(
            EarlyStoppingCallback, "on_train_begin",
            lambda self, *args, **kwargs: seen.append(self.early_stopping_patience_counter),
        )  # fmt: skip
        best = {"load_best_model_at_end": True} if method == "finetune" else {}
        args = make_args(method=method, learning_rate=0.0, **WATCHED, **best)
        results = run(self.stream(given), args, callbacks=[EarlyStoppingCallback(2)])
        assert [task.steps for task in results.tasks] == [3, 3] and seen == [0, 0]

    def test_a_resumed_run_stops_where_it_would_have(self, given, make_args, monkeypatch):
        """Interrupted while it waits, and after it had stopped."""
        args, stop = make_args(method="finetune", learning_rate=0.0, **WATCHED), EarlyStoppingCallback(3)
        for step in (3, 4):
            args.output_dir = f"{args.output_dir}-{step}"

            class Crash(TrainerCallback):
                def on_save(self, args, state, control, step=step, **kwargs):
                    if state.global_step == step and "task2" in args.output_dir:
                        raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                run(self.stream(given), args, callbacks=[stop, Crash()])
            results = run(self.stream(given, resume=True), args, callbacks=[stop])
            assert [task.steps for task in results.tasks] == [4, 4]

    def test_is_of_the_validation_data(self, given, make_args, monkeypatch):
        looked_at = []
        evaluate = MulKITrainer.evaluate

        def noted(self, *args, **kwargs):
            looked_at.append(len(self.eval_dataset))
            return evaluate(self, *args, **kwargs)

        monkeypatch.setattr(MulKITrainer, "evaluate", noted)
        run(self.stream(given), make_args(**WATCHED | {"max_steps": 1}))
        assert looked_at == [4, 4]

    def test_a_validation_split(self, given, make_args, tasks_files):
        """In a mapping it is read only where evaluations during training are asked for."""
        entry = {"name": "colours", "dataset": "parquet", "data_files": files("colours", tasks_files)}
        entry |= {"train_split": "train[:75%]", "validation_split": "train[75%:]", "max_eval_samples": 5}
        stream, config = (
            given(tasks=[entry]),
            make_args(**WATCHED | {"max_steps": 1}, load_best_model_at_end=True, method="finetune"),
        )
        (task,) = Stream.open(stream, config).tasks
        assert len(task.validation) == 5 and len(task.evaluation) == 5
        (task,) = Stream.open(stream, make_args()).tasks
        assert task.validation is None

    def test_not_by_the_figures_that_are_reported(self, given, make_args):
        with pytest.raises(
            ConfigurationError, match=r"callbacks must not hold Early.*: task 'colours' .*a Task: validation"
        ):
            run(given(), make_args(**WATCHED), callbacks=[lambda: EarlyStoppingCallback(2)])


def test_another_precision_in_the_same_notebook(given, make_args, tmp_path):
    args = [make_args(max_steps=1, output_dir=str(tmp_path / name), bf16=name == "half") for name in ("half", "full")]
    for config in args:
        assert run(given(), config).finished == 2


def test_what_python_raises_is_no_exit(given, make_args):
    with pytest.raises(ConfigurationError, match="model_name_or_path"):
        run(given(model_name_or_path="no/such/model"), make_args())


def test_report_of_what_has_not_begun():
    report = Report(empty_results("digits"))
    assert report._repr_markdown_() == repr(report) and "digits" in repr(report)


@pytest.mark.parametrize("kind", [ConfigurationError, TrainingError, PushError])
def test_a_notebook_shows_the_message_alone(kind):
    """IPython asks an error for this in place of a traceback."""
    error = kind("task 'pets': no column 'photo'")
    error.add_note("nothing was written yet")
    assert error._render_traceback_() == [f"{kind.__name__}: task 'pets': no column 'photo'", "nothing was written yet"]
