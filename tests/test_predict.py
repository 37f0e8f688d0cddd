"""`mulki-hf predict`: pictures of one's own, classes, answers, and what is written of them."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import load_dataset
from PIL import Image
from support.hub import SECRET, anonymous, connected
from support.tiny import COLOURS, SHAPES, picture
from transformers import pipeline

from mulki_hf.errors import ConfigurationError
from mulki_hf.predict import main
from mulki_hf.prediction import sheet
from mulki_hf.prediction.answers import Reader, Readers
from mulki_hf.prediction.classes import Classes, classes_for
from mulki_hf.prediction.pictures import find_pictures, read_picture
from mulki_hf.prediction.predictions import predict
from mulki_hf.prediction.stages import find_models, models_of
from mulki_hf.results import StreamResults
from mulki_hf.runs.sources import Run


def on_cpu() -> Accelerator:
    """A new one: training in this process resets what they share."""
    return Accelerator(cpu=True)


@pytest.fixture
def photos(tmp_path):
    """Six pictures of as many kinds; beside them what is none, and what is hidden."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "deeper/.hidden").mkdir(parents=True)
    for number, (name, kind) in enumerate({"a.png": "RGB", "b.PNG": "RGBA", "deeper/a.png": "L", "c.bmp": "1"}.items()):
        picture([*COLOURS.values()][number], number % 3, rng).convert(kind).save(folder / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(COLOURS["red"], 1, rng).save(folder / "turned.jpg", exif=exif)
    frames = [picture(colour, 0, rng) for colour in COLOURS.values()]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "notes.txt").write_text("no picture")
    shutil.copy(folder / "a.png", folder / "deeper/.hidden/a.png")
    shutil.copy(folder / "a.png", folder / "._a.png")
    return folder


def answered(folder) -> dict[str, dict[str, dict[str, float]]]:
    """By picture and model, the probability of each class."""
    content = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    return {
        one["image"]: {
            model: {answer["class"]: answer["probability"] for answer in said} for model, said in one["answers"].items()
        }
        for one in content["images"]
    }


class TestPictures:
    def test_are_found_at_any_depth_each_once_and_in_order(self, photos):
        names = ["a.png", "b.PNG", "c.bmp", "deeper/a.png", "moving.gif", "turned.jpg"]
        found = find_pictures([photos, photos / "a.png"])
        assert [path.relative_to(photos).as_posix() for path in found] == names
        assert find_pictures([photos / "notes.txt"]) == [photos / "notes.txt"]

    def test_are_read_as_rgb_turned_and_the_first_of_an_animation(self, photos):
        assert {read_picture(path).mode for path in find_pictures([photos])} == {"RGB"}
        with Image.open(photos / "turned.jpg") as image:
            pixels = np.asarray(image.convert("RGB"))
        assert np.array_equal(np.asarray(read_picture(photos / "turned.jpg")), np.rot90(pixels, -1))
        with Image.open(photos / "moving.gif") as image:
            assert np.array_equal(np.asarray(read_picture(photos / "moving.gif")), np.asarray(image.convert("RGB")))

    def test_that_are_not_there(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ConfigurationError, match="there is no '.*absent'"):
            find_pictures([tmp_path / "absent"])
        with pytest.raises(ConfigurationError, match="empty' has no pictures"):
            find_pictures([tmp_path / "empty"])


class TestAnswers:
    @pytest.mark.parametrize(("checkpoint", "place"), [("last", "task2-shapes"), ("1", "task1-colours"), ("0", None)])
    def test_equal_the_pipeline_of_transformers(self, finished, photos, tmp_path, checkpoint, place):
        names = ["red", "stripe", "polar bear"]
        options = ["--class_names", ",".join(names), "--templates", "a {}, I think.", "--checkpoint", checkpoint]
        main([str(finished), str(photos), *options, "--output_dir", str(tmp_path / "out"), "--use_cpu"])
        model = str(finished / place if place else finished.parent / "tiny-clip")
        classify = pipeline("zero-shot-image-classification", model=model)
        own = answered(tmp_path / "out")
        assert len(own) == 6
        for path, said in own.items():
            expected = classify(path, candidate_labels=names, hypothesis_template="a {}, I think.")
            (answers,) = said.values()
            assert answers == pytest.approx({one["label"]: one["score"] for one in expected}, abs=1e-5)

    @pytest.mark.parametrize("task", ["colours", "shapes"])
    def test_are_right_as_often_as_evaluation_says(self, finished, tasks_files, tmp_path, task):
        rows = load_dataset("parquet", data_files=str(tasks_files / f"{task}-test.parquet"), split="train")
        names = rows.features["label"].names
        for number, row in enumerate(rows):
            (tmp_path / names[row["label"]]).mkdir(exist_ok=True)
            row["image"].save(tmp_path / names[row["label"]] / f"{number}.png")
        models, results = find_models(str(finished)), StreamResults.load(finished)
        classes = classes_for(results, None, task, None)
        paths = find_pictures([tmp_path])
        said = predict("run", models.stages, paths, classes, on_cpu(), count=1).answers
        right = [np.mean([answers[path][0][0] == path.parent.name for path in paths]) for answers in said.values()]
        column = results.names.index(task)
        assert [*said] == ["zero-shot", "after colours", "after shapes"]
        expected = [row[column] for row in (results.zero_shot, *results.accuracy)]
        assert [100 * share for share in right] == pytest.approx(expected)

    def test_do_not_depend_on_the_batch(self, finished, photos):
        stages, paths = find_models(str(finished)).stages, find_pictures([photos])
        classes = Classes.of([*COLOURS, *SHAPES], ["a {}.", "one {}"])
        one, all_at_once = (predict("run", stages, paths, classes, on_cpu(), size, count=99) for size in (1, 64))
        for stage, answers in one.answers.items():
            for path, said in answers.items():
                assert dict(said) == pytest.approx(dict(all_at_once.answers[stage][path]), abs=1e-5)
                assert sum(share for _, share in said) == pytest.approx(1)

    def test_an_equal_name_of_two_tasks_is_one_class_and_its_better_score_counts(self, finished, photos):
        classes = Classes(((("red", "blue"), ("a {}.",)), (("blue", "frame"), ("{} on black",))))
        stage = find_models(str(finished)).stage("last")
        reader, image = Reader(stage, on_cpu()), read_picture(photos / "a.png")
        (shares,) = reader.probabilities([image], reader.classifier(classes), classes)
        assert classes.names == ["red", "blue", "frame"]
        pixels = reader.processor.image_processor([image], return_tensors="pt")["pixel_values"]
        classifier = reader.classifier(classes)
        red, blue, other_blue, frame = classifier.logits(classifier.features(pixels))[0]
        scores = torch.stack([red, torch.maximum(blue, other_blue), frame]) * reader.model.logit_scale.exp()
        assert torch.allclose(shares, scores.softmax(0), atol=1e-6)

    def test_come_from_the_hub(self, pushed, photos, tmp_path, capsys):
        with connected(pushed.env, pushed.place):
            main(["org/mulki-task2", str(photos), "--all_tasks", "--output_dir", str(tmp_path / "hub"), "--use_cpu"])
        assert "left out: " in capsys.readouterr().err  # the model from before any training was a folder
        asked = ["org/mulki-task2", str(photos), "--all_tasks", "--use_cpu", "--hub_token", SECRET]
        with connected(anonymous(pushed.env), pushed.place):
            base = StreamResults.load(pushed.out).config["model_name_or_path"]
            main([*asked, "--base", base, "--output_dir", str(tmp_path / "whole")])
        main([str(pushed.out), str(photos), "--all_tasks", "--output_dir", str(tmp_path / "disk"), "--use_cpu"])
        hub, disk = answered(tmp_path / "hub"), answered(tmp_path / "disk")
        assert answered(tmp_path / "whole") == disk
        assert hub == {path: {k: v for k, v in said.items() if k != "zero-shot"} for path, said in disk.items()}
        assert [*hub[str(photos / "a.png")]] == ["after colours", "after shapes"]


class TestMemory:
    """A model stays while there is room; each question asks all of them."""

    @pytest.mark.parametrize(("models_that_fit", "loads"), [(0, 9), (1, 7), (9, 3)])
    def test_what_fits_stays(self, finished, photos, monkeypatch, models_that_fit, loads):
        stages, image = find_models(str(finished)).stages, read_picture(photos / "a.png")
        size, loaded = Reader(stages[0], on_cpu()).bytes, []
        read = type(stages[0]).load
        monkeypatch.setattr(type(stages[0]), "load", lambda stage: loaded.append(stage.name) or read(stage))
        readers, classes = (
            Readers(stages, on_cpu(), memory=models_that_fit * size),
            Classes.of(["red", "blue"], ["a {}."]),
        )
        answers = [[readers.answer(stage, image, classes) for stage in stages] for _ in range(3)]
        assert len(loaded) == loads
        for later in answers[1:]:
            assert all(torch.equal(one, other) for one, other in zip(answers[0], later, strict=True))

    def test_of_classes_the_last_few_are_kept(self, finished, photos, monkeypatch):
        stage, image = find_models(str(finished)).stages[0], read_picture(photos / "a.png")
        readers, asked = Readers([stage], on_cpu()), []
        read = Reader.classifier
        monkeypatch.setattr(Reader, "classifier", lambda *args: asked.append(args[2] is None) or read(*args))
        questions = [Classes.of([f"class {number}", "other"], ["a {}."]) for number in range(10)]
        for classes in (*questions, questions[-1], questions[0]):
            readers.answer(stage, image, classes)
        assert asked == [True] * 10 + [False, True]


class TestWritten:
    def test_files_and_table(self, finished, photos, tmp_path, capsys):
        (photos / "broken.jpg").write_bytes(b"\xff\xd8 no more")
        out = tmp_path / "out"
        main([str(finished), str(photos), "--all_tasks", "--top", "2", "--output_dir", str(out), "--use_cpu"])
        printed = capsys.readouterr().out
        assert "| image" in printed and "| zero-shot" in printed and "| after shapes" in printed
        assert "7 classes in 'a {}.', 'a photo of a {}.'" in printed and "1 left out" in printed
        with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
            rows = [*csv.DictReader(file)]
        own = answered(out)
        assert [row["image"] for row in rows] == [*own] and len(rows) == 6
        for row in rows:
            for model, said in own[row["image"]].items():
                assert [row[f"{model}: class {place}"] for place in (1, 2)] == [*said]
                assert float(row[f"{model}: probability 1"]) == pytest.approx([*said.values()][0], abs=1e-6)
        content = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
        assert [*content["unreadable"]] == [str(photos / "broken.jpg")]
        assert [group["class_names"] for group in content["classes"]] == [[*COLOURS], [*SHAPES]]
        with Image.open(out / "contact_sheet.png") as image:
            assert image.width > 3 * sheet.BAR and len(image.getcolors(1 << 24)) > 100

    def test_nothing_is_overwritten_unasked(self, finished, photos, tmp_path):
        command = [str(finished), str(photos), "--output_dir", str(tmp_path / "out"), "--use_cpu"]
        main(command)
        before = (tmp_path / "out/predictions.json").read_bytes()
        with pytest.raises(SystemExit, match=r"error: output_dir .* holds predictions.csv.* --overwrite"):
            main([*command, "--checkpoint", "zero-shot"])
        assert (tmp_path / "out/predictions.json").read_bytes() == before
        main([*command, "--checkpoint", "zero-shot", "--overwrite"])
        assert (tmp_path / "out/predictions.json").read_bytes() != before

    def test_pages_of_an_earlier_call_go_and_others_stay(self, finished, photos, tmp_path, monkeypatch):
        monkeypatch.setattr(sheet, "per_page", lambda predictions: 2)
        out = tmp_path / "out"
        command = [str(finished), "--output_dir", str(out), "--use_cpu", "--class_names", "red,blue"]
        main([*command, str(photos)])
        assert len(sheet.pages_in(out)) == 3
        shutil.copy(photos / "a.png", out / "contact_sheet-7.png")
        main([*command, str(photos / "a.png"), "--overwrite"])
        assert [page.name for page in sheet.pages_in(out)] == ["contact_sheet-7.png", "contact_sheet.png"]
        for path in out.iterdir():
            if path.name != "contact_sheet-7.png":
                path.unlink()
        with pytest.raises(SystemExit, match=r"error: output_dir .* holds contact_sheet-7.png already"):
            main([*command, str(photos)])

    def test_a_place_that_can_not_be_written_is_refused_first(self, finished, photos, tmp_path, monkeypatch):
        monkeypatch.setattr("mulki_hf.prediction.stages.find_models", None)
        command = [str(finished), str(photos), "--use_cpu", "--output_dir"]
        with pytest.raises(SystemExit, match="^error: output_dir .*a.png' is a file, not a folder"):
            main([*command, str(photos / "a.png")])

    def test_a_disk_that_takes_nothing(self, finished, photos, tmp_path):
        (tmp_path / "predictions.json").symlink_to("/dev/full")
        command = [str(finished), str(photos), "--use_cpu", "--overwrite", "--output_dir", str(tmp_path)]
        with pytest.raises(SystemExit, match="^error: can't write .*No space left on device: .* same command again$"):
            main(command)

    def test_what_is_no_news_is_said(self, finished, photos, tmp_path, monkeypatch, capsys):
        """One class is certain; and pictures that the sheet has no room for."""
        monkeypatch.setattr(sheet, "PAGES", 1)
        monkeypatch.setattr(sheet, "per_page", lambda predictions: 4)
        main([str(finished), str(photos), "--class_names", "red", "--use_cpu", "--output_dir", str(tmp_path / "out")])
        said = capsys.readouterr()
        assert said.err.startswith("warning: one class alone is always 100 %: ") and "; 1 class in " in said.out
        assert said.out.splitlines()[-1] == "contact_sheet.png is the last page: 2 of 6 pictures are on none"

    def test_a_sheet_of_many_has_pages_up_to_a_limit(self, finished, photos, tmp_path, monkeypatch):
        monkeypatch.setattr(sheet, "PAGES", 2)
        for number in range(30):
            shutil.copy(photos / "a.png", photos / f"more-{number}.png")
        classes, stage = Classes.of(["red", "猫" * 20], ["a {}."]), find_models(str(finished)).stages[0]
        paths = find_pictures([photos])[:-6]
        predictions = predict("run", [stage], paths, classes, on_cpu())
        assert [page.name for page in sheet.draw_sheets(predictions, tmp_path)] == [
            "contact_sheet.png",
            "contact_sheet-2.png",
        ]

    def test_characters_that_no_font_has_are_written_by_number(self, monkeypatch):
        assert sheet.legible("Ärger\nλόγος") == ("Ärger λόγος", ["DejaVu Sans"])
        monkeypatch.setattr(sheet.font_manager.fontManager, "ttflist", [])
        sheet._family_of.cache_clear()
        assert sheet.legible("猫 cat")[0] == "\\u732b cat"
        sheet._family_of.cache_clear()


class TestModels:
    def test_a_clip_of_no_run_needs_class_names(self, tiny_folder, photos, capsys):
        command = [str(tiny_folder), str(photos / "a.png"), "--use_cpu"]
        with pytest.raises(SystemExit, match="error: class_names: a model that is of no run needs them"):
            main(command)
        main([*command, "--class_names", "red,blue"])
        assert "tiny-clip; 2 classes in 'a photo of a {}.'" in capsys.readouterr().out

    def test_a_tasks_folder_answers_as_of_then(self, finished):
        models = find_models(str(finished / "task1-colours"))
        assert [stage.name for stage in models.stages] == ["zero-shot", "after colours"]
        assert find_models(str(finished)).stage("colours").name == "after colours"

    def test_what_is_gone_is_left_out_and_said(self, own_copy, photos, capsys):
        shutil.rmtree(own_copy[0] / "task1-colours")
        main([str(own_copy[0]), str(photos / "a.png"), "--all_tasks", "--use_cpu"])
        captured = capsys.readouterr()
        assert "| zero-shot" in captured.out and "after colours" not in captured.out
        assert "left out: " in captured.err and "task 1" in captured.err
        with pytest.raises(SystemExit, match="error: checkpoint '1': .* has no checkpoint of task 1"):
            main([str(own_copy[0]), str(photos / "a.png"), "--checkpoint", "1", "--use_cpu"])

    def test_a_run_without_any(self, finished, tmp_path):
        results = StreamResults.load(finished)
        results.config["model_name_or_path"] = str(tmp_path / "gone")
        with pytest.raises(ConfigurationError, match="has no model that can be asked"):
            models_of(Run("run", results, folder=tmp_path))

    def test_an_adapter_answers_as_the_model_it_is_merged_into(self, published_lora, photos):
        """Which is the one in the folder around it."""
        task = published_lora.out / "task1-colours"
        classes = Classes.of([*COLOURS], ["a {}."])
        with connected(published_lora.env, published_lora.place):
            stages = [find_models(str(folder)).stage("last") for folder in (task / "adapter", task)]
            adapter, whole = (
                predict("run", [stage], find_pictures([photos]), classes, on_cpu(), count=9).answers for stage in stages
            )
        for path, said in next(iter(whole.values())).items():
            assert dict(next(iter(adapter.values()))[path]) == pytest.approx(dict(said), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint", "3"], r"checkpoint '3': .* has last, zero-shot, 0 .zero-shot., 1 .colours., 2 .shapes.$"),
        (["--task", "greek"], "task 'greek': the run has the tasks colours, shapes"),
        (["--class_names", " , "], "there is no name"),
        (["--class_names", "absent.txt"], "class_names: there is no file 'absent.txt'"),
        (["--templates", "a photo"], "template 'a photo' has no {}"),
        (["--class_names", "w" * 100], "has 1.. tokens, the model reads 77"),
        (["--top", "0"], "top must be >= 1"),
    ],
)
def test_options_that_are_refused(finished, photos, options, message):
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        main([str(finished), str(photos), "--use_cpu", *options])


def test_models_that_are_none(tmp_path, photos):
    for name, message in ((str(tmp_path / "no/where"), "is no folder"), (str(photos), "holds no model")):
        with pytest.raises(SystemExit, match=f"^error: .*{message}"):
            main([name, str(photos), "--class_names", "a,b"])


def test_class_names_of_a_file_and_templates_of_a_task(finished, tmp_path):
    (tmp_path / "names.txt").write_text("﻿polar bear\n\ncat, striped\npolar bear\n", encoding="utf-8")
    results = StreamResults.load(finished)
    classes = classes_for(results, str(tmp_path / "names.txt"), "colours", None)
    assert classes.groups == ((("polar bear", "cat, striped"), ("a {}.",)),)
    assert classes_for(results, "cat,dog", None, None).templates == ["a photo of a {}."]


def test_unreadable_pictures_can_be_an_error(finished, photos, caplog):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    command = ["--use_cpu", "true", str(finished), str(photos / "broken.jpg")]
    with pytest.raises(SystemExit, match=r"error: images: .*broken.jpg can't be read: .*--unreadable_images skip"):
        main([*command, "--unreadable_images", "error"])
    with pytest.raises(SystemExit, match=r"error: images: none can be read: .*broken.jpg"):
        main(command)
    main([*command, str(photos / "a.png")])
    assert "broken.jpg" in caplog.text
