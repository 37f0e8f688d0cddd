"""A stream's life, from YAML to checkpoints, on a tiny model."""

import json
import re
from typing import ClassVar

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file
from support.interrupt import interrupted
from support.launch import refused
from support.tiny import COLOURS, rows, save_tiny, stream_writer
from transformers import AutoProcessor, CLIPModel, CLIPProcessor, pipeline

from mulki_hf import StreamEvaluator, load_stream
from mulki_hf.config.parser import parse
from mulki_hf.features.task_features import TaskFeatures
from mulki_hf.models.loading import load_model, load_processor
from mulki_hf.report.checkpoint import picture_names
from mulki_hf.results import StreamResults
from mulki_hf.train import main


def reference(method: str, tasks_files, tmp_path) -> dict[str, str]:
    """The settings of reference data for a method that reads some."""
    images = {"reference_dataset": "parquet", "reference_data_files": str(tasks_files / "shapes-train.parquet")}
    (tmp_path / "texts.txt").write_text("a small bird\na green house\n")
    texts = {"reference_texts": str(tmp_path / "texts.txt")}
    return {"snd": images, "zscl": images | texts}.get(method, {})


class TestRun:
    def test_output_folder(self, finished):
        names = {path.name for path in finished.iterdir()}
        assert names == {"results.json", "accuracy_matrix.png", "curves.png", "task1-colours", "task2-shapes"}
        results = json.loads((finished / "results.json").read_text())
        assert list(results) == [
            "method", "protocol", "tasks", "base", "reference", "zero_shot", "accuracy", "metrics", "config",
            "provenance", "versions", "about", "artefact", "others", "stages", "elsewhere", "warnings",
        ]  # fmt: skip
        assert [task["name"] for task in results["tasks"]] == ["colours", "shapes"]
        assert len(results["zero_shot"]) == 2
        assert [len(row) for row in results["accuracy"]] == [2, 2]
        assert results["metrics"]["transfer"] == pytest.approx(results["accuracy"][0][1])
        assert results["config"]["learning_rate"] == 1e-3

    def test_pictures_are_those_of_the_last_task(self, finished):
        for name in ("accuracy_matrix.png", "curves.png"):
            with Image.open(finished / name) as picture:
                assert min(picture.size) > 100
            assert (finished / name).read_bytes() == (finished / "task2-shapes" / name).read_bytes()

    def test_checkpoint_is_a_plain_clip(self, finished):
        folder = finished / "task2-shapes"
        names = {path.name for path in folder.iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "prototypes.safetensors"} <= names
        assert "preprocessor_config.json" in names
        assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
        model = CLIPModel.from_pretrained(folder)
        for loader in (AutoProcessor, CLIPProcessor):
            assert type(loader.from_pretrained(folder)).__name__ == "CLIPProcessor"
        assert model.config.model_type == "clip"
        classifier = pipeline("zero-shot-image-classification", model=str(folder))
        answer = classifier(rows(["red"], 1, 0)[0]["image"], candidate_labels=list(COLOURS))
        assert {entry["label"] for entry in answer} == set(COLOURS)
        prototypes = load_file(folder / "prototypes.safetensors")
        assert prototypes["textual"].shape == prototypes["visual"].shape == (3, 24)

    def test_last_row_is_the_last_checkpoints(self, finished):
        stream, _ = parse(["--config", str(finished.parent / "stream.yaml")])
        folder = str(finished / "task2-shapes")
        evaluate = StreamEvaluator(load_stream(stream), load_processor(folder), Accelerator(cpu=True))
        row = json.loads((finished / "results.json").read_text())["accuracy"][-1]
        assert evaluate(load_model(folder), learned=2, description="reloaded") == pytest.approx(row)

    def test_card_tells_the_stream_and_no_paths(self, finished, tasks_files):
        card = (finished / "task1-colours" / "README.md").read_text()
        assert "zero-shot-image-classification" in card
        assert "shapes" in card
        assert str(finished.parent) not in card and str(tasks_files) not in card

    def test_same_seed_same_result(self, finished, stream_yaml, tmp_path):
        main(["--config", str(stream_yaml()), "--output_dir", str(tmp_path / "again")])
        first, second = (
            load_file(folder / "task2-shapes/model.safetensors") for folder in (finished, tmp_path / "again")
        )
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_single_task(self, stream_yaml, tmp_path):
        recipe = stream_yaml()
        content = yaml.safe_load(recipe.read_text())
        content["tasks"] = content["tasks"][:1]
        recipe.write_text(yaml.safe_dump(content))
        main(["--config", str(recipe)])
        assert json.loads((tmp_path / "out/results.json").read_text())["metrics"]["transfer"] is None

    @pytest.mark.parametrize("method", ["finetune", "snd", "zscl", "lwf", "wise_ft"])
    def test_other_methods(self, stream_yaml, tmp_path, tasks_files, method):
        overrides = {"method": method} | reference(method, tasks_files, tmp_path)
        main(["--config", str(stream_yaml(**overrides))])
        results = json.loads((tmp_path / "out/results.json").read_text())
        assert results["method"] == method
        # They have no use for prototypes: the training images are not encoded for them.
        assert not results["about"]["prototypes"] and not list((tmp_path / "out").rglob("prototypes.safetensors"))

    @pytest.mark.long
    def test_compiled(self, stream_yaml, monkeypatch):
        """The stream's own accelerator comes first, and Trainer's shares its state."""
        compiled = []
        compile_ = torch.compile

        def noted(model, *args, **kwargs):
            compiled.append(kwargs["backend"])
            return compile_(model, *args, **kwargs)

        monkeypatch.setattr(torch, "compile", noted)
        AcceleratorState._reset_state()
        config = stream_yaml(torch_compile=True, torch_compile_backend="aot_eager", max_steps=2)
        try:
            main(["--config", str(config)])
        finally:
            AcceleratorState._reset_state()
        assert compiled == ["aot_eager"] * 2

    def test_tasks_of_a_size_see_orders_and_reference_images_of_their_own(self, stream_yaml, tasks_files, monkeypatch):
        drawn = []
        training_samples = TaskFeatures.training_samples

        def noted(self):
            samples = training_samples(self)
            drawn.append((samples.drawn, self.args.data_seed))
            return samples

        monkeypatch.setattr(TaskFeatures, "training_samples", noted)
        files = {split: str(tasks_files / f"shapes-{split}.parquet") for split in ("train", "test")}
        tasks = [{"name": name, "dataset": "parquet", "data_files": files} for name in ("one", "two", "three")]
        reference = {"reference_dataset": "parquet", "reference_data_files": str(tasks_files / "colours-train.parquet")}
        main(["--config", str(stream_yaml(tasks=tasks, method="snd", max_steps=1, **reference))])
        again = [pairing for pairing, _ in drawn]
        assert len({seed for _, seed in drawn}) == 3
        assert not any((again[a] == again[b]).all() for a, b in ((0, 1), (0, 2), (1, 2)))

    def test_tensorboard_logs_stay(self, stream_yaml, tmp_path):
        main(["--config", str(stream_yaml(report_to="tensorboard", logging_steps=1))])
        assert list((tmp_path / "out/runs").glob("events.out.tfevents*"))
        assert not (tmp_path / "out/unfinished").exists()


class TestAllAtOnce:
    def test_one_stage_of_as_many_steps_as_the_tasks_have(self, stream_yaml, tmp_path):
        recipe = stream_yaml(method="joint", max_steps=3, protocols=["til", "cil"])
        main(["--config", str(recipe)])
        results = StreamResults.load(tmp_path / "out")
        (stage,) = results.stages
        assert (stage.name, stage.steps, len(results.accuracy)) == ("joint", 6, 1)
        assert stage.training_images == sum(task.training_images for task in results.tasks)
        mean = pytest.approx(sum(results.accuracy[0]) / 2)
        assert results.metrics["avg"] == mean and results.metrics["last"] == mean
        assert {name for name, value in results.metrics.items() if value is not None} == {"avg", "last"}
        folder = tmp_path / "out/task1-joint"
        life, config = parse(["--config", str(recipe)])
        evaluator = StreamEvaluator(load_stream(life), load_processor(folder), Accelerator(cpu=True), batch_size=8)
        assert evaluator.by_protocol(load_model(folder), 2, "", ["til", "cil"]) == {
            "til": results.accuracy[0],
            "cil": results.others["cil"].accuracy[0],
        }
        card = (folder / "README.md").read_text()
        assert "trained on **2 tasks at once**" in card and "joint: " not in card
        assert {path.name for path in (tmp_path / "out").iterdir()} >= {"task1-joint", "curves.png", "results.json"}

    def test_goes_on_inside_the_stage(self, stream_yaml, tmp_path):
        whole = stream_yaml(method="joint", max_steps=3, output_dir=str(tmp_path / "whole"))
        main(["--config", str(whole)])
        part = stream_yaml(method="joint", max_steps=3, output_dir=str(tmp_path / "part"))
        interrupted(part, 3, stage="task1")
        main(["--config", str(part), "--resume"])
        weights = [load_file(tmp_path / f"{name}/task1-joint/model.safetensors") for name in ("whole", "part")]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    def test_can_not_follow_a_checkpoint_from_the_hub(self, stream_yaml, tmp_path):
        refused(stream_yaml(method="joint", resume_from_hub="org/mulki-task1"), tmp_path, "resume_from_hub: .*'joint'")


def test_a_reference_text_that_is_too_long_is_named_before_anything_is_computed(stream_yaml, tasks_files, tmp_path):
    given = reference("zscl", tasks_files, tmp_path)
    (tmp_path / "texts.txt").write_text("short\n" + "word " * 200)
    recipe = stream_yaml(method="zscl", **given)
    refused(recipe, tmp_path, "reference_texts: reference text 'word word.* tokens, the model reads")


def test_an_evaluation_alone_is_overwritten_whole(stream_yaml, tmp_path):
    main(["--config", str(stream_yaml(method="zero_shot", protocols=["til", "cil"]))])
    assert (tmp_path / "out/curves_cil.png").exists()
    main(["--config", str(stream_yaml(method="zero_shot", protocols=["til"])), "--overwrite"])
    assert not (tmp_path / "out/curves_cil.png").exists()


def test_no_training_has_the_metrics_of_a_model_that_never_changes(stream_yaml, tmp_path):
    recipe = stream_yaml(method="zero_shot", protocols=["til", "cil", "xtail"])
    main(["--config", str(recipe)])
    results = StreamResults.load(tmp_path / "out")
    assert (results.accuracy, results.stages, results.finished) == ([], [], 0)
    assert results.metrics["transfer"] == results.zero_shot[1]
    mean = pytest.approx(sum(results.zero_shot) / 2)
    assert results.metrics["last"] == mean and results.metrics["avg"] == mean
    # After all tasks the same classes compete by both, after the first one only its own and the image's.
    cil, xtail = (results.others[name] for name in ("cil", "xtail"))
    assert cil.metrics["last"] == xtail.metrics["last"]
    assert cil.zero_shot == results.zero_shot
    main(["--config", str(recipe), "--resume"])
    assert StreamResults.load(tmp_path / "out").metrics == results.metrics


class TestProtocols:
    """Several from one run, which was interrupted and went on."""

    PROTOCOLS: ClassVar = ["til", "cil", "xtail"]

    @pytest.fixture(scope="class")
    def several(self, tmp_path_factory, tasks_files):
        folder = tmp_path_factory.mktemp("several")
        save_tiny(folder / "tiny-clip")
        config = stream_writer(folder, str(folder), str(tasks_files))()
        interrupted(config, 3, "--protocols", "til,cil,xtail")
        main(["--config", str(config), "--protocols", "til", "cil", "xtail", "--resume"])
        return folder / "out"

    def test_the_headline_is_what_it_is_alone(self, several, finished):
        runs = [StreamResults.load(folder) for folder in (several, finished)]
        for name in ("protocol", "zero_shot", "accuracy", "metrics"):
            assert getattr(runs[0], name) == getattr(runs[1], name)
        assert runs[0].protocols == self.PROTOCOLS and runs[1].protocols == ["til"]

    def test_each_row_is_its_checkpoints(self, several):
        results = StreamResults.load(several)
        stream, _ = parse(["--config", str(several.parent / "stream.yaml")])
        for learned, name in enumerate(("tiny-clip", "out/task1-colours", "out/task2-shapes")):
            folder = str(several.parent / name)
            evaluate = StreamEvaluator(load_stream(stream), load_processor(folder), Accelerator(cpu=True))
            rows = evaluate.by_protocol(load_model(folder), learned, "reloaded", self.PROTOCOLS)
            for protocol, row in rows.items():
                own = results.of(protocol)
                assert [own.zero_shot, *own.accuracy][learned] == pytest.approx(row)
        # It matters who competes: with more rivals there are no more hits.
        assert sum(results.of("xtail").zero_shot) < sum(results.zero_shot)

    def test_every_folder_shows_each(self, several):
        for folder in (several, several / "task1-colours", several / "task2-shapes"):
            assert {*picture_names(self.PROTOCOLS)} == {path.name for path in folder.glob("*.png")}
            assert StreamResults.load(folder).protocols == self.PROTOCOLS
        card = (several / "task2-shapes/README.md").read_text()
        assert "### Protocol `cil`" in card and "curves_xtail.png" in card
        for protocol in self.PROTOCOLS:
            last = StreamResults.load(several).of(protocol).metrics["last"]
            assert re.search(rf"^\| {protocol} +\| .*\| {last:.1f} ", card, re.MULTILINE)

    def test_its_recipe_asks_for_them(self, several):
        recipe = yaml.safe_load((several / "task2-shapes/recipe.yaml").read_text())
        assert recipe["protocols"] == self.PROTOCOLS and "protocol" not in recipe

    def test_it_ends_with_the_metrics_of_each(self, several, capsys):
        config = ["--config", str(several.parent / "stream.yaml"), "--protocols", "til,cil,xtail"]
        main([*config, "--resume"])
        printed = capsys.readouterr().out
        assert [line.split()[1] for line in printed.splitlines() if line.startswith(("| til", "| cil", "| xtail"))] == (
            self.PROTOCOLS
        )


def test_a_starting_model_that_is_not_finite_is_refused(stream_yaml, tiny_folder, tmp_path):
    model = load_model(tiny_folder)
    with torch.no_grad():
        model.visual_projection.weight[0, 0] = float("nan")
    model.save_pretrained(tiny_folder)
    refused(stream_yaml(), tmp_path, "model_name_or_path: .*tiny-clip' has weights that are not finite, visual_proj")


class TestOwnSettings:
    """A task's own learning rate, steps and evaluation templates."""

    OWN: ClassVar = {"learning_rate": 0.0, "max_steps": 2, "eval_templates": ["x {}", "{}"], "templates": ["a {}."]}

    def run(self, stream_yaml, tmp_path, name: str, **recipe) -> StreamResults:
        written = stream_yaml(output_dir=str(tmp_path / name), method="finetune", max_steps=3, **recipe)
        main(["--config", str(written)])
        return StreamResults.load(tmp_path / name)

    def test_they_are_those_of_its_task_alone(self, stream_yaml, tmp_path):
        tasks = yaml.safe_load(stream_yaml().read_text())["tasks"]
        results = self.run(stream_yaml, tmp_path, "own", tasks=[tasks[0] | self.OWN, tasks[1]])
        assert [task.steps for task in results.tasks] == [2, 3]
        assert [task.settings for task in results.tasks] == [{"learning_rate": 0.0, "max_steps": 2}, {}]
        # Without a learning rate nothing moves; what the second task begins with is the model of before.
        weights = [load_file(path / "model.safetensors") for path in sorted((tmp_path / "own").glob("task*"))]
        start = CLIPModel.from_pretrained(tmp_path / "tiny-clip").state_dict()
        assert all(torch.equal(value, start[name]) for name, value in weights[0].items())
        assert any(not torch.equal(value, start[name]) for name, value in weights[1].items())
        card = (tmp_path / "own/task2-shapes/README.md").read_text()
        assert "Tasks with settings of their own: `learning_rate` 0 for colours; `max_steps` 2 for colours." in card
        assert "evaluated with 2 templates, in `results.json`" in card

    def test_accuracies_are_of_the_evaluation_templates(self, stream_yaml, tmp_path):
        tasks = yaml.safe_load(stream_yaml().read_text())["tasks"]
        own = self.run(stream_yaml, tmp_path, "own", tasks=[tasks[0] | self.OWN, tasks[1]])
        stream, _ = parse(["--config", str(stream_yaml(tasks=[tasks[0] | {"templates": ["x {}", "{}"]}, tasks[1]]))])
        folder = str(tmp_path / "own/task1-colours")
        evaluate = StreamEvaluator(load_stream(stream), load_processor(folder), Accelerator(cpu=True))
        assert evaluate(load_model(folder), 1, "by others") == pytest.approx(own.accuracy[0])

    def test_resumed_they_must_be_the_same(self, stream_yaml, tmp_path):
        tasks = yaml.safe_load(stream_yaml().read_text())["tasks"]
        self.run(stream_yaml, tmp_path, "own", tasks=[tasks[0] | self.OWN])
        changed = stream_yaml(
            output_dir=str(tmp_path / "own"),
            method="finetune",
            max_steps=3,
            tasks=[tasks[0] | self.OWN | {"max_steps": 1}],
        )
        with pytest.raises(SystemExit, match="^error: resume: max_steps of task 'colours' was 2 and is now 1"):
            main(["--config", str(changed), "--resume"])

    def test_joint_sums_the_steps_and_says_what_it_passes_over(self, stream_yaml, tmp_path, caplog):
        tasks = yaml.safe_load(stream_yaml().read_text())["tasks"]
        written = stream_yaml(method="joint", max_steps=3, tasks=[tasks[0] | self.OWN, tasks[1]])
        main(["--config", str(written)])
        assert StreamResults.load(tmp_path / "out").learned[0].steps == 5
        assert (
            "task 'colours': method 'joint' learns all tasks at once, so that learning_rate of its own" in caplog.text
        )
