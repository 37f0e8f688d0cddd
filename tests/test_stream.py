"""A stream's life, from YAML to checkpoints, on a tiny model."""

import json

import pytest
import torch
import yaml
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file
from support.tiny import COLOURS, rows
from transformers import AutoProcessor, CLIPModel, CLIPProcessor, pipeline

from mulki_hf import StreamEvaluator, load_stream
from mulki_hf.config.parser import parse
from mulki_hf.models.loading import load_model, load_processor
from mulki_hf.train import main


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

    @pytest.mark.parametrize("method", ["finetune", "snd"])
    def test_other_methods(self, stream_yaml, tmp_path, tasks_files, method):
        overrides = {"method": method}
        if method == "snd":
            overrides |= {
                "reference_dataset": "parquet",
                "reference_data_files": str(tasks_files / "shapes-train.parquet"),
            }
        main(["--config", str(stream_yaml(**overrides))])
        assert json.loads((tmp_path / "out/results.json").read_text())["method"] == method

    def test_tensorboard_logs_stay(self, stream_yaml, tmp_path):
        main(["--config", str(stream_yaml(report_to="tensorboard", logging_steps=1))])
        assert list((tmp_path / "out/runs/task1-colours").rglob("events.out.tfevents*"))
        assert not (tmp_path / "out/unfinished").exists()
