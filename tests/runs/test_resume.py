"""Going on with a stream: in its own folder, or with one that began on another machine."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.interrupt import interrupted
from support.results import as_an_older_version, empty_results
from support.tiny import COLOURS, rows, save_tiny, stream_writer

from mulki_hf import MulKIConfig, load_stream
from mulki_hf.config import parser
from mulki_hf.config.parser import parse
from mulki_hf.config.paths import shareable_settings
from mulki_hf.config.recipes import write_recipe
from mulki_hf.errors import ConfigurationError
from mulki_hf.records import ReferenceRecord, TaskRecord
from mulki_hf.results import StreamResults
from mulki_hf.runs import resume
from mulki_hf.runs.records import shareable_results
from mulki_hf.runs.resume import Earlier, changed_data, check_data, find_earlier, start_results
from mulki_hf.train import main


CONNECTED = {"average_every": 1, "merge_alpha": 0.2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tasks_files):
    """The folder of a run that nothing interrupted, whose stage 4 matters."""
    folder = tmp_path_factory.mktemp("whole")
    save_tiny(folder / "tiny-clip")
    main(["--config", str(stream_writer(folder, str(folder), str(tasks_files))(**CONNECTED))])
    return folder / "out"


class TestResume:
    # Four steps; the crash after the last one is a crash during the evaluation that follows.
    @pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), 3, 4])
    def test_resumed_equals_uninterrupted(self, stream_yaml, whole, tmp_path, step):
        config = stream_yaml(**CONNECTED)
        interrupted(config, step)
        first_task = tmp_path / "out/task1-colours/model.safetensors"
        written = first_task.stat().st_mtime_ns
        main(["--config", str(config), "--resume"])
        assert first_task.stat().st_mtime_ns == written
        runs = (whole, tmp_path / "out")
        expected, resumed = (load_file(run / "task2-shapes/model.safetensors") for run in runs)
        for name in expected:
            torch.testing.assert_close(expected[name], resumed[name], rtol=0, atol=1e-6)
        results = [json.loads((run / "results.json").read_text()) for run in runs]
        assert results[0]["accuracy"] == results[1]["accuracy"]

    @pytest.mark.parametrize(
        "lora", [pytest.param({}, id="full", marks=pytest.mark.long), pytest.param({"lora_r": 2}, id="LoRA")]
    )
    def test_a_run_that_an_older_version_began(self, stream_yaml, tmp_path, lora):
        """Its results know neither of settings that came later nor of what cards say."""
        config = stream_yaml(**CONNECTED, **lora)
        main(["--config", str(config), "--output_dir", str(tmp_path / "whole")])
        interrupted(config, 3)
        as_an_older_version(tmp_path / "out")
        main(["--config", str(config), "--resume"])
        for name in ("model.safetensors", "prototypes.safetensors", "recipe.yaml"):
            runs = [(tmp_path / run / "task2-shapes" / name).read_bytes() for run in ("whole", "out")]
            assert runs[0].replace(b"/whole", b"/out") == runs[1]
        results = json.loads((tmp_path / "out/results.json").read_text())
        assert results["config"]["snd_gate"] == "sample" and results["about"]["towers"] == "both towers"
        with pytest.raises(SystemExit, match="resume: snd_gate was 'sample' and is now 'batch'"):
            as_an_older_version(tmp_path / "out")
            main(["--config", str(config), "--resume", "--snd_gate", "batch"])

    def test_half_written_checkpoint_is_passed_over(self, stream_yaml, tmp_path):
        config = stream_yaml(average_every=1)
        interrupted(config, 3)
        broken = tmp_path / "out/unfinished/task2-shapes/checkpoint-3"
        shutil.copytree(broken.with_name("checkpoint-2"), broken)
        (broken / "manifest.json").unlink()
        (broken / "model.safetensors").write_bytes(b"cut off")
        main(["--config", str(config), "--resume"])
        assert len(json.loads((tmp_path / "out/results.json").read_text())["accuracy"]) == 2

    @pytest.mark.parametrize(
        ("lost", "lora"),
        [
            ("weight_average", {}),
            ("*model.safetensors", {"lora_r": 2}),
            pytest.param("weight_average", {"lora_r": 2}, marks=pytest.mark.long),
            pytest.param("*model.safetensors", {}, marks=pytest.mark.long),
        ],
    )
    def test_a_checkpoint_without_weights_or_average_is_passed_over(self, stream_yaml, tmp_path, caplog, lost, lora):
        config = stream_yaml(average_every=1, save_steps=1, **lora)
        interrupted(config, 3)
        newest = tmp_path / "out/unfinished/task2-shapes/checkpoint-2"
        (gone,) = newest.glob(lost)
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        main(["--config", str(config), "--resume"])
        fault = "holds no weight_average" if lost == "weight_average" else f"{gone.name} is missing"
        assert "checkpoint-2" in caplog.text and fault in caplog.text and "checkpoint-1 instead" in caplog.text
        assert not newest.exists()

    def test_where_nothing_was_written_the_stream_begins(self, stream_yaml, tmp_path, caplog):
        main(["--config", str(stream_yaml()), "--resume", "--max_steps", "1"])
        assert "holds no run yet; the stream begins" in caplog.text
        assert len(json.loads((tmp_path / "out/results.json").read_text())["accuracy"]) == 2

    def test_resume_of_a_finished_run_changes_nothing(self, own_copy):
        folder, options = own_copy
        before = (folder / "results.json").read_text()
        main([*options, "--resume"])
        assert (folder / "results.json").read_text() == before

    def test_resume_refuses_another_configuration(self, own_copy):
        with pytest.raises(SystemExit, match="learning_rate was 0.001 and is now 0.5"):
            main([*own_copy[1], "--resume", "--learning_rate", "0.5"])


class TestWhatMustNotChange:
    @pytest.fixture
    def begun(self, stream_yaml, tmp_path):
        """Writes the results of a run after its first task, by a recipe; returns what goes on with another."""

        def begin(**recipe):
            stream, config = parse(["--config", str(stream_yaml(**recipe))])
            results = start_results(Earlier(), stream, config, load_stream(stream), None)
            results.measured({protocol: [10.0, 20.0] for protocol in stream.protocols})
            (tmp_path / "out").mkdir()
            results.save(tmp_path / "out")

            def go_on(**changes):
                stream, config = parse(["--config", str(stream_yaml(**recipe | changes)), "--resume"])
                return start_results(
                    find_earlier(tmp_path / "out", stream, None), stream, config, load_stream(stream), None
                )

            return go_on

        return begin

    def test_the_number_of_processes(self, begun, tmp_path, monkeypatch):
        go_on = begun()
        with monkeypatch.context() as patch:
            patch.setattr(MulKIConfig, "world_size", 2)
            with pytest.raises(ConfigurationError, match="processes was 1 and is now 2, and a step had 8 .* have 16"):
                go_on()
            shares = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
            config = go_on(**shares).config
            assert {"num_processes": 2, **shares}.items() <= config.items()
        with pytest.raises(ConfigurationError, match="gradient_accumulation_steps was 1 and is now 2"):
            go_on(**shares | {"per_device_train_batch_size": 4})
        assert go_on().config["num_processes"] == 1
        file = tmp_path / "out/results.json"
        file.write_text(file.read_text().replace('"num_processes": 1', '"num_processes": "1"'))
        go_on()
        as_an_older_version(tmp_path / "out")
        content = json.loads((tmp_path / "out/results.json").read_text())
        del content["config"]["num_processes"]
        (tmp_path / "out/results.json").write_text(json.dumps(content))
        assert go_on().config["num_processes"] == 1

    def test_a_method_that_relates_images_keeps_how_many_meet(self, begun, monkeypatch):
        go_on = begun(method="lwf")
        monkeypatch.setattr(MulKIConfig, "world_size", 2)
        with pytest.raises(ConfigurationError, match="accumulation_steps was 1 and is now 2, which has to stay"):
            go_on(per_device_train_batch_size=2, gradient_accumulation_steps=2)
        assert go_on(per_device_train_batch_size=4).config["num_processes"] == 2

    def test_batches_that_are_split_hold_all_processes_images(self, begun, monkeypatch):
        go_on = begun(accelerator_config={"split_batches": True})
        monkeypatch.setattr(MulKIConfig, "world_size", 2)
        assert go_on().config["num_processes"] == 2
        with pytest.raises(ConfigurationError, match="a step had 8 images and would have 4"):
            go_on(per_device_train_batch_size=4)

    def test_a_field_that_a_run_began_without_has_its_methods_default(self, begun, tmp_path):
        go_on = begun()
        content = json.loads((tmp_path / "out/results.json").read_text())
        del content["config"]["views_per_sample"], content["config"]["reference_per_sample"]
        (tmp_path / "out/results.json").write_text(json.dumps(content))
        with pytest.raises(ConfigurationError, match="views_per_sample was 0.0625 and is now 0.5"):
            go_on(views_per_sample=0.5)
        assert go_on().config["views_per_sample"] == 0.0625

    @pytest.mark.parametrize(
        "change",
        [
            {"accelerator_config": {"split_batches": True}},
            {"accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 2}}},
            {"optim_target_modules": "all-linear"},
            {"views_per_sample": 0.5},
            {"auto_find_batch_size": True},
            {"ignore_data_skip": True},
            {"average_tokens_across_devices": False},
        ],
    )
    def test_what_decides_steps_order_and_result(self, begun, change):
        go_on = begun()
        with pytest.raises(ConfigurationError, match=f"{next(iter(change))} was"):
            go_on(**change)

    @pytest.mark.parametrize("now", [["cil", "til"], ["til", "cil", "xtail"], ["xtail"]])
    def test_protocols(self, begun, now):
        """The rows so far are by those that it has, the headline first; whoever asks for fewer goes on with all."""
        go_on = begun(protocols="til,cil")
        for asked in (["til", "cil"], ["til"]):
            results = go_on(protocols=asked)
            assert results.protocols == results.config["protocols"] == ["til", "cil"]
        with pytest.raises(ConfigurationError, match="resume: protocols were til, cil and are now") as refused:
            go_on(protocols=now)
        assert f"are now {', '.join(now)};" in str(refused.value)

    @pytest.mark.parametrize("key", ["protocol", "protocols"])
    def test_the_protocol_of_an_older_version(self, begun, tmp_path, key):
        go_on = begun(protocols="cil")
        as_an_older_version(tmp_path / "out")
        assert go_on(**{"protocols": None, key: "cil"}).config["protocols"] == ["cil"]
        with pytest.raises(ConfigurationError, match="protocols were cil and are now til, cil;"):
            go_on(protocols="til,cil")

    def test_a_method_of_an_older_version_with_other_equations(self, begun, tmp_path):
        go_on = begun()
        results = StreamResults.load(tmp_path / "out")
        results.config |= {"relation_weight": 0.3}
        results.save(tmp_path / "out")
        with pytest.raises(ConfigurationError, match="resume: the run began with mulki as an older version had it"):
            go_on()

    def test_how_often_is_saved_evaluated_and_logged_may_change(self, begun):
        go_on = begun()
        go_on(save_strategy="epoch", eval_strategy="steps", eval_steps=3, logging_steps=1, save_total_limit=1)
        go_on(accelerator_config={"non_blocking": True})

    def test_but_not_where_it_chooses_the_result(self, begun):
        best = {"method": "finetune", "load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2}
        go_on = begun(**best)
        go_on(logging_steps=1)
        for change in ({"eval_steps": 1, "save_steps": 1}, {"metric_for_best_model": "accuracy"}):
            with pytest.raises(ConfigurationError, match="(eval_steps|greater_is_better) was"):
                go_on(**change)

    def test_nor_where_evaluations_lead_the_learning_rate(self, begun):
        plateau = {"lr_scheduler_type": "reduce_lr_on_plateau", "metric_for_best_model": "loss"}
        go_on = begun(**plateau, eval_strategy="steps", eval_steps=2)
        go_on(save_steps=4)
        with pytest.raises(ConfigurationError, match="eval_steps was 2"):
            go_on(eval_steps=1)


class TestData:
    """A stream goes on with the data that it began with."""

    def learned(self, tmp_path, **change) -> str:
        """What a record of the second task that was another says, if it is refused."""
        was = TaskRecord("b", "local files", list("pqrstuv"), ["a {}."], 8, 4, fingerprint="x")
        results = empty_results("a", "b")
        results.tasks[1] = was
        now = [results.tasks[0], dataclasses.replace(was, **change)]
        try:
            check_data(results, None, now, None)
        except ConfigurationError as error:
            return str(error)
        return ""

    def test_the_same(self, tmp_path):
        assert not self.learned(tmp_path)
        assert not self.learned(tmp_path, dataset="org/b", license="mit")
        # Older versions recorded none.
        assert not self.learned(tmp_path, fingerprint=None)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"class_names": list("pqrstuw")}, "of its class_names 'v' went and 'w' came"),
            ({"class_names": ["p"]}, "class_names 'q', 'r', 's', 't', 'u', ... (6 in all) went and none came"),
            ({"class_names": list("qprstuv")}, "class_names come in another order"),
            ({"templates": ["the {}."]}, "of its templates 'a {}.' went and 'the {}.' came"),
            ({"training_images": 9}, "training_images were 8 and are now 9"),
            ({"evaluation_images": 3}, "evaluation_images were 4 and are now 3"),
            ({"class_names": ["p" * 999, *list("qrstuv")]}, "went and 'pppp"),
            ({"fingerprint": "y"}, "as many images, but other ones, with other labels or in another order"),
        ],
    )
    def test_what_differs_is_said(self, tmp_path, change, message):
        said = self.learned(tmp_path, **change)
        assert len(said) < 400
        assert "resume: task 'b' is not what the run began with" in said and message in said

    def test_validation_data_where_both_read_them(self):
        """They stand behind a dash, and are read only where evaluations during training are asked for."""
        (was,) = empty_results("a").tasks
        for first, then, said in (
            ("x", "x-v", None),
            ("x-v", "x", None),
            ("x-v", "x-v", None),
            ("x-v", "x-w", "as many images, but other ones"),
            ("x-v", "y", "as many images, but other ones"),
            (None, "x-v", None),
        ):
            change = changed_data(*(dataclasses.replace(was, fingerprint=one) for one in (first, then)))
            assert change is None if said is None else said in change

    def test_reference_images(self):
        results = empty_results("a", "b")
        results.reference = ReferenceRecord("org/pictures", 100, fingerprint="x")
        check_data(results, None, results.tasks, ReferenceRecord("elsewhere", 100, fingerprint="x"))
        for now in (ReferenceRecord("org/pictures", 99), ReferenceRecord("org/pictures", 100, fingerprint="y")):
            with pytest.raises(ConfigurationError, match="the reference images are not what the run began with"):
                check_data(results, None, results.tasks, now)

    def test_a_folder_whose_classes_changed(self, stream_yaml, tasks_files, tmp_path):
        """Its recipe is the same as before."""
        data = shutil.copytree(tasks_files, tmp_path / "data")
        recipe = Path(stream_yaml())
        recipe.write_text(recipe.read_text().replace(str(tasks_files), str(data)))
        interrupted(recipe, 3)
        for split in ("train", "test"):
            rows(["stripe", "corner", "ring"], 8, 0).to_parquet(data / f"shapes-{split}.parquet")
        with pytest.raises(SystemExit, match="resume: task 'shapes' .* 'frame' went and 'ring' came"):
            main(["--config", str(recipe), "--resume"])


class TestFinishedTasks:
    """What was learned is gone on from as it is, from the disk alone, or not at all."""

    def test_a_missing_folder_is_not_looked_for_on_the_hub(self, stream_yaml, tmp_path, monkeypatch):
        """`alice/task1-colours` could be a stranger's repository."""
        monkeypatch.chdir(tmp_path)
        interrupted(stream_yaml(), 3, "--output_dir", "alice")
        shutil.rmtree("alice/task1-colours")
        monkeypatch.setattr("mulki_hf.stream.load_model", pytest.fail)
        with pytest.raises(SystemExit, match="alice/task1-colours is missing, but the next task starts from there"):
            main(["--config", "stream.yaml", "--resume", "--output_dir", "alice"])

    @pytest.mark.parametrize("lora", [{}, {"lora_r": 2}], ids=["full", "LoRA"])
    def test_a_damaged_one_is_learned_again(self, stream_yaml, tmp_path, caplog, lora):
        """From the one before it, here the original; what comes of it is what was there."""
        config = stream_yaml(**lora)
        interrupted(config, 3)
        name = "adapter/adapter_model.safetensors" if lora else "model.safetensors"
        weights = tmp_path / "out/task1-colours" / name
        whole, results = weights.read_bytes(), json.loads((tmp_path / "out/results.json").read_text())
        weights.write_bytes(whole[:-100])
        interrupted(config, 1, "--resume", stage="task1")
        assert f"{weights} is damaged" in caplog.text and "task 'colours' is learned again" in caplog.text
        assert json.loads((tmp_path / "out/results.json").read_text())["accuracy"] == []
        shutil.rmtree(tmp_path / "out/task1-colours")  # as a kill may leave it, between the old folder and the new one
        main(["--config", str(config), "--resume"])
        assert weights.read_bytes() == whole
        again = json.loads((tmp_path / "out/results.json").read_text())
        assert again["accuracy"][0] == results["accuracy"][0] and len(again["accuracy"]) == 2

    def test_where_the_one_before_it_is_gone_it_is_named_before_training(self, own_copy):
        folder, options = own_copy
        weights = folder / "task2-shapes/model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        shutil.rmtree(folder / "task1-colours")
        recipe = yaml.safe_load(Path(options[1]).read_text())
        recipe["tasks"].append(recipe["tasks"][0] | {"name": "again"})
        (folder.parent / "third.yaml").write_text(yaml.safe_dump(recipe))
        with pytest.raises(SystemExit, match=f"error: {weights} is damaged .*put it back"):
            main(["--config", str(folder.parent / "third.yaml"), *options[2:], "--resume", "--fill_rows", "false"])

    def test_a_folder_without_its_results_is_neither_overwritten_nor_begun_anew(self, own_copy):
        folder, options = own_copy
        (folder / "results.json").unlink()
        weights = folder / "task1-colours/model.safetensors"
        written = weights.stat().st_mtime_ns
        with pytest.raises(SystemExit, match="holds the results of a run"):
            main(options)
        with pytest.raises(SystemExit, match="finished tasks .task1-colours, task2-shapes. but no results.json"):
            main([*options, "--resume"])
        assert weights.stat().st_mtime_ns == written

    def test_a_damaged_checkpoint_is_passed_over(self, stream_yaml, whole, tmp_path, caplog):
        config = stream_yaml(**CONNECTED, save_steps=1)
        interrupted(config, 3)
        checkpoint = tmp_path / "out/unfinished/task2-shapes/checkpoint-2"
        (checkpoint / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:5000])
        main(["--config", str(config), "--resume", "--save_steps", "2"])
        assert f"{checkpoint}/model.safetensors is damaged" in caplog.text and "checkpoint-1 instead" in caplog.text
        runs = (whole, tmp_path / "out")
        expected, resumed = (load_file(run / "task2-shapes/model.safetensors") for run in runs)
        for name in expected:
            torch.testing.assert_close(expected[name], resumed[name], rtol=0, atol=1e-6)


@pytest.fixture
def elsewhere(stream_yaml, tasks_files, tmp_path, monkeypatch):
    """After its first task a stream was put on the Hub from a machine with other folders; returns the files there."""
    stream, config = parse(["--config", str(stream_yaml())])
    results = start_results(Earlier(), stream, config, load_stream(stream), None)
    results.zero_shot = [10.0, 20.0]
    results.add({"til": [90.0, 30.0]})
    text = json.dumps(results.config)
    for folder in (tmp_path, tasks_files):
        text = text.replace(str(folder), "/elsewhere/deep/down")
    results.config = shareable_settings(json.loads(text))
    folder = tmp_path / "on-the-hub"
    folder.mkdir()
    results.save(folder)
    write_recipe(results.config, folder / "recipe.yaml")
    monkeypatch.setattr(resume, "pinned", lambda source, token: f"{source}@abc")
    monkeypatch.setattr(resume, "fetch_file", lambda source, name, token: folder / name)
    return folder


def resumed(stream_yaml, *options):
    stream, config = parse(["--config", str(stream_yaml()), "--resume_from_hub", "org/mulki-task1", *options])
    earlier = find_earlier(Path(config.output_dir), stream, None)
    assert earlier.source == "org/mulki-task1@abc"
    return start_results(earlier, stream, config, load_stream(stream), None), config


def test_own_recipe_with_own_folders_goes_on(elsewhere, stream_yaml):
    results, config = resumed(stream_yaml)
    assert (results.finished, results.zero_shot) == (1, [10.0, 20.0])
    # From here on it is this machine's configuration.
    assert results.config["output_dir"] == config.output_dir


def test_names_like_paths_go_to_the_hub_and_back(stream_yaml, tasks_files, tiny_folder, tmp_path, monkeypatch):
    """By recipe and results; only what is a path is shortened, and found again in the folder that the user gives."""
    names = ["/m/0k4j", "/", "w /o x", "</script>"]
    files = {split: str(tasks_files / f"colours-{split}.parquet") for split in ("train", "test")}
    tasks = [{"name": "colours", "dataset": "parquet", "data_files": files, "class_names": names}]
    tasks.append({"name": "shapes", "dataset": "parquet", "data_files": files, "templates": ["~/{}", "../{} a/b"]})
    stream, config = parse(["--config", str(stream_yaml(tasks=tasks, templates=["/a {} ~/x"]))])
    results = start_results(Earlier(), stream, config, load_stream(stream), None)
    results.zero_shot = [10.0, 20.0]
    results.add({"til": [90.0, 30.0]})
    hub, there = tmp_path / "on-the-hub", tmp_path / "there"
    hub.mkdir()
    shared = shareable_results(results)
    shared.save(hub)
    write_recipe(shared.config, hub / "recipe.yaml")
    assert not [path for path in hub.iterdir() if str(tmp_path) in (text := path.read_text()) or "pytest-of" in text]
    shutil.copytree(tasks_files, there)
    shutil.copytree(tiny_folder, there / "tiny-clip")
    monkeypatch.setattr(resume, "pinned", lambda source, token: f"{source}@abc")
    for module in (resume, parser):
        monkeypatch.setattr(module, "fetch_file", lambda source, name, token: hub / name)
    options = ["--resume_from_hub", "org/mulki-task1", "--data_root", str(there), "--use_cpu", "true"]
    stream, config = parse([*options, "--output_dir", str(tmp_path / "further")])
    earlier = find_earlier(tmp_path / "further", stream, None)
    taken_up = start_results(earlier, stream, config, load_stream(stream), None)
    assert [(task.class_names, task.templates) for task in taken_up.tasks] == [
        (names, ["/a {} ~/x"]),
        (list(COLOURS), ["~/{}", "../{} a/b"]),
    ]
    assert taken_up.config["model_name_or_path"] == str(there / "tiny-clip")
    # What it would put on the Hub in its turn is the same.
    assert shareable_results(taken_up).config["tasks"] == shared.config["tasks"]


def test_a_licence_can_still_be_given(elsewhere, stream_yaml):
    assert resumed(stream_yaml)[0].base.license is None
    assert resumed(stream_yaml, "--license", "mit")[0].base.license == "mit"


def test_another_configuration_is_refused(elsewhere, stream_yaml):
    with pytest.raises(ConfigurationError, match="resume_from_hub: seed was 42 and is now 7"):
        resumed(stream_yaml, "--seed", "7")


def test_the_recipe_alone_can_not_find_a_local_model(elsewhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "on-the-hub")
    stream, config = parse(["--config", str(elsewhere / "recipe.yaml"), "--resume_from_hub", "org/mulki-task1"])
    with pytest.raises(ConfigurationError, match="started from 'tiny-clip', a folder on another machine; give it with"):
        find_earlier(tmp_path / "out", stream, None)


def test_results_of_other_tasks_are_refused(elsewhere, stream_yaml):
    content = json.loads((elsewhere / "results.json").read_text())
    content["tasks"][1]["name"] = "forms"
    (elsewhere / "results.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="the results are of the tasks"):
        resumed(stream_yaml)
