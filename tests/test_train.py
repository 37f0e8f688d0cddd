"""The command from YAML to checkpoints, on a tiny model, in this process and in subprocesses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file
from support.tiny import COLOURS, rows
from transformers import AutoProcessor, CLIPModel, CLIPProcessor, pipeline

from mulki_hf import MulKITrainer, StreamEvaluator, load_stream
from mulki_hf.adaptation.averaging import AveragingCallback
from mulki_hf.config.parser import make_parser, parse
from mulki_hf.config.recipes import find_recipe
from mulki_hf.errors import ConfigurationError
from mulki_hf.models.loading import load_model, load_processor
from mulki_hf.train import main


@pytest.fixture
def finished(stream_yaml, tmp_path):
    main(["--config", str(stream_yaml())])
    return tmp_path / "out"


class TestRun:
    def test_output_folder(self, finished):
        names = {path.name for path in finished.iterdir()}
        assert names == {"results.json", "accuracy_matrix.png", "curves.png", "task1-colours", "task2-shapes"}
        results = json.loads((finished / "results.json").read_text())
        assert list(results) == [
            "method", "protocol", "tasks", "base", "reference", "zero_shot", "accuracy", "metrics", "config",
            "provenance", "versions", "about", "artefact", "others",
        ]  # fmt: skip
        assert [task["name"] for task in results["tasks"]] == ["colours", "shapes"]
        assert len(results["zero_shot"]) == 2
        assert [len(row) for row in results["accuracy"]] == [2, 2]
        assert results["metrics"]["transfer"] == pytest.approx(results["accuracy"][0][1])
        assert results["config"]["learning_rate"] == 1e-3

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

    def test_last_row_is_the_last_checkpoints(self, finished, stream_yaml):
        stream, _ = parse(["--config", str(stream_yaml())])
        folder = str(finished / "task2-shapes")
        evaluate = StreamEvaluator(load_stream(stream), load_processor(folder), Accelerator(cpu=True))
        row = json.loads((finished / "results.json").read_text())["accuracy"][-1]
        assert evaluate(load_model(folder), learned=2, description="reloaded") == pytest.approx(row)

    def test_card_tells_the_stream_and_no_paths(self, finished, tmp_path):
        card = (finished / "task1-colours" / "README.md").read_text()
        assert "zero-shot-image-classification" in card
        assert "shapes" in card
        assert str(tmp_path) not in card

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

    @pytest.mark.parametrize("method", ["finetune", "snd"])
    def test_other_methods(self, stream_yaml, tmp_path, method):
        overrides = {"method": method}
        if method == "snd":
            overrides |= {
                "reference_dataset": "parquet",
                "reference_data_files": str(tmp_path / "shapes-train.parquet"),
            }
        main(["--config", str(stream_yaml(**overrides))])
        assert json.loads((tmp_path / "out/results.json").read_text())["method"] == method

    def test_tensorboard_logs_stay(self, stream_yaml, tmp_path):
        main(["--config", str(stream_yaml(report_to="tensorboard", logging_steps=1))])
        assert list((tmp_path / "out/runs/task1-colours").rglob("events.out.tfevents*"))
        assert not (tmp_path / "out/unfinished").exists()


class TestResume:
    def interrupted(self, config, step: int, monkeypatch):
        """Run `config` and stop, as a crash would, in the second task: after `step`, at the latest after training."""
        on_step_end, make_connections = AveragingCallback.on_step_end, MulKITrainer.make_connections

        def crash(self, args, state, control, **kwargs):
            on_step_end(self, args, state, control, **kwargs)
            if "task2" in args.output_dir and state.global_step == step < state.max_steps:
                raise KeyboardInterrupt

        def crash_at_the_end(self):
            if "task2" in self.args.output_dir:
                raise KeyboardInterrupt
            make_connections(self)

        with monkeypatch.context() as patch:
            patch.setattr(AveragingCallback, "on_step_end", crash)
            patch.setattr(MulKITrainer, "make_connections", crash_at_the_end)
            with pytest.raises(KeyboardInterrupt):
                main(["--config", str(config)])

    # Four steps; the crash after the last one is a crash during the evaluation that follows.
    @pytest.mark.parametrize("step", [1, 3, 4])
    def test_resumed_equals_uninterrupted(self, stream_yaml, tmp_path, monkeypatch, step):
        config = stream_yaml(average_every=1, merge_alpha=0.2)
        main(["--config", str(config), "--output_dir", str(tmp_path / "whole")])
        self.interrupted(config, step, monkeypatch)
        first_task = tmp_path / "out/task1-colours/model.safetensors"
        written = first_task.stat().st_mtime_ns
        main(["--config", str(config), "--resume"])
        assert first_task.stat().st_mtime_ns == written
        whole, resumed = (load_file(tmp_path / run / "task2-shapes/model.safetensors") for run in ("whole", "out"))
        for name in whole:
            torch.testing.assert_close(whole[name], resumed[name], rtol=0, atol=1e-6)
        results = [json.loads((tmp_path / run / "results.json").read_text()) for run in ("whole", "out")]
        assert results[0]["accuracy"] == results[1]["accuracy"]

    def test_half_written_checkpoint_is_passed_over(self, stream_yaml, tmp_path, monkeypatch):
        config = stream_yaml(average_every=1)
        self.interrupted(config, 3, monkeypatch)
        broken = tmp_path / "out/unfinished/task2-shapes/checkpoint-3"
        shutil.copytree(broken.with_name("checkpoint-2"), broken)
        (broken / "trainer_state.json").unlink()
        (broken / "model.safetensors").write_bytes(b"cut off")
        main(["--config", str(config), "--resume"])
        assert len(json.loads((tmp_path / "out/results.json").read_text())["accuracy"]) == 2

    def test_resume_of_a_finished_run_changes_nothing(self, stream_yaml, finished):
        before = (finished / "results.json").read_text()
        main(["--config", str(stream_yaml()), "--resume"])
        assert (finished / "results.json").read_text() == before

    def test_resume_refuses_another_configuration(self, stream_yaml, finished):
        with pytest.raises(SystemExit, match="learning_rate was 0.001 and is now 0.5"):
            main(["--config", str(stream_yaml()), "--resume", "--learning_rate", "0.5"])

    def test_used_folder_is_refused_and_overwritten_on_request(self, stream_yaml, finished):
        note = finished / "notes.txt"
        note.write_text("mine")
        with pytest.raises(SystemExit, match="holds the results of a run"):
            main(["--config", str(stream_yaml())])
        main(["--config", str(stream_yaml(max_steps=2)), "--overwrite"])
        assert json.loads((finished / "results.json").read_text())["config"]["max_steps"] == 2
        assert note.read_text() == "mine"


class TestCommandLine:
    def test_command_line_overrides_yaml_and_types_convert(self, stream_yaml):
        stream, config = parse(
            ["--config", str(stream_yaml()), "--max_steps", "7", "--no_adding", "--protocol", "xtail"]
        )
        assert config.learning_rate == 1e-3
        assert (config.max_steps, config.adding, stream.protocol) == (7, False, "xtail")

    def test_tasks_from_the_command_line(self, stream_yaml):
        stream, _ = parse(["--config", str(stream_yaml()), "--tasks", "{name: a, dataset: b}", "{name: c, dataset: d}"])
        assert [task.name for task in stream.task_configs()] == ["a", "c"]

    def test_unknown_yaml_key_names_the_nearest(self, stream_yaml):
        with pytest.raises(ConfigurationError, match="unknown key 'elicit_wieght'; did you mean 'elicit_weight'"):
            parse(["--config", str(stream_yaml(elicit_wieght=1))])

    def test_unknown_option(self, stream_yaml):
        with pytest.raises(SystemExit) as stop:
            parse(["--config", str(stream_yaml()), "--elicit_wieght", "1"])
        assert stop.value.code != 0

    def test_every_option_is_explained_in_a_group(self):
        parser = make_parser()
        assert not [action.option_strings for action in parser._actions if not action.help]
        titles = {group.title for group in parser._action_groups}
        assert {"Stream", "Method", "MulKI (four stages)", "Select-and-Distill"} <= titles

    def test_recipes_are_found_by_name(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert find_recipe("quickstart").is_file()
        with pytest.raises(ConfigurationError, match="recipes: .*quickstart"):
            find_recipe("no-such-recipe")

    def test_the_wheel_takes_every_recipe_and_the_card_along(self):
        project = Path(__file__).parents[1]
        content = tomllib.loads((project / "pyproject.toml").read_text())
        included = content["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
        shipped = [*(project / "recipes").glob("*.yaml"), *(project / "model_cards").glob("*.jinja")]
        assert len(shipped) >= 3
        for path in shipped:
            relative = path.relative_to(project).as_posix()
            assert included[relative] == f"mulki_hf/{relative}"

    def test_bad_input_exits_with_one_line(self, stream_yaml):
        command = [sys.executable, "-m", "mulki_hf.train", "--config", str(stream_yaml(merge_alpha=2))]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert run.returncode == 1
        assert run.stderr.strip().splitlines()[-1] == "error: merge_alpha must be in [0, 1), got 2"
        assert "Traceback" not in run.stderr
        assert Path(command[-1]).is_file()
