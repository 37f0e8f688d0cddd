"""Nothing that somebody pickled does anything: safetensors alone are read, or tensors alone where a user asks."""

import io
import json
import shutil
import tarfile

import numpy as np
import peft
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.hostile import Trap
from support.hub import connected
from support.interrupt import interrupted
from support.tiny import tiny_model
from transformers import CLIPModel

from mulki_hf import StreamConfig, evaluate, load_stream, predict
from mulki_hf.errors import ConfigurationError
from mulki_hf.manifest import MANIFEST, write_manifest
from mulki_hf.models.loading import load_model, load_processor
from mulki_hf.runs.checkpoints import chosen_checkpoint, last_checkpoint
from mulki_hf.runs.subjects import find_subject
from mulki_hf.train import main


@pytest.fixture
def trap(tmp_path):
    return Trap(tmp_path)


def pickled(folder, content: bytes) -> None:
    """The model in a folder has its weights as a pickle alone."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(content)


def archive_of(state) -> bytes:
    with io.BytesIO() as file:
        torch.save(state, file)
        return file.getvalue()


def on_hub(hub, repo_id: str, folder) -> None:
    hub.publish(repo_id, {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")})


KINDS = {"archive": Trap.archive, "plain": Trap.plain}


class TestModels:
    @pytest.fixture
    def place(self, tiny_folder, hub, hub_env, tmp_path, request):
        """Makes of the tiny folder, as it is then, what can be named: the folder, or a repository."""

        def place(where: str) -> str:
            if where == "hub":
                on_hub(hub, "org/model", tiny_folder)
            return {"hub": "org/model", "folder": str(tiny_folder)}[where]

        with connected(hub_env, tmp_path):
            yield place

    @pytest.mark.parametrize("where", ["folder", "hub"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_pickle_is_not_read_unasked_and_does_nothing_then(self, place, tiny_folder, trap, where, kind):
        pickled(tiny_folder, KINDS[kind](trap))
        name = place(where)
        with pytest.raises(ConfigurationError, match="weights as a pickle alone .*, give --pickled_weights"):
            load_model(name)
        with pytest.raises(ConfigurationError, match="its pickle holds more than tensors, or is damaged"):
            load_model(name, pickled=True)
        assert not trap.sprung

    @pytest.mark.parametrize("where", ["folder", "hub"])
    def test_whoever_asks_gets_its_tensors(self, place, tiny_folder, where):
        weights = tiny_model().state_dict()
        pickled(tiny_folder, archive_of(weights))
        loaded = load_model(place(where), pickled=True).state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in weights.items())

    def test_safetensors_go_first(self, place, tiny_folder, trap):
        (tiny_folder / "pytorch_model.bin").write_bytes(trap.archive())
        for where in ("folder", "hub"):
            assert load_model(place(where), pickled=True) and load_model(place(where))
        assert not trap.sprung

    def test_nobody_is_asked_to_convert_them(self, place, tiny_folder, hub, monkeypatch):
        """A Space would open a pull request, and transformers take what lies there."""
        monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
        pickled(tiny_folder, archive_of(tiny_model().state_dict()))
        hub.publish("org/model", {"model.safetensors": b"somebody's"}, revision="refs/pr/1")
        with pytest.raises(ConfigurationError, match="give --pickled_weights"):
            load_model(place("hub"))
        assert not hub.seen("GET", "discussions|commits|refs/pr")

    @pytest.mark.parametrize("where", ["folder", "hub"])
    def test_no_code_comes_along(self, place, tiny_folder, trap, where, monkeypatch):
        """Neither with a configuration or tokenizer that names some, nor is anybody asked in a terminal."""
        monkeypatch.setattr("builtins.input", None)
        (tiny_folder / "code.py").write_text(f"open({str(trap.mark)!r}, 'w')")
        classes = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor", "AutoImageProcessor")
        for file in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
            path = tiny_folder / file
            content = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(content | {"auto_map": dict.fromkeys(classes, "code.Any")}))
        name = place(where)
        assert load_model(name) and load_processor(name)
        content = json.loads((tiny_folder / "config.json").read_text())
        (tiny_folder / "config.json").write_text(json.dumps(content | {"model_type": "somebodys"}))
        for load in (load_model, load_processor):
            with pytest.raises(ConfigurationError, match="can't load"):
                load(place(where))
        assert not trap.sprung

    @pytest.mark.parametrize("where", ["folder", "hub"])
    def test_a_configuration_chooses_no_other_files(self, place, tiny_folder, trap, where):
        (tiny_folder / "adapter_model.bin").write_bytes(trap.archive())
        content = json.loads((tiny_folder / "config.json").read_text())
        (tiny_folder / "config.json").write_text(json.dumps(content | {"transformers_weights": "adapter_model.bin"}))
        with pytest.raises(ConfigurationError, match="config.json of .* names a file of weights"):
            load_model(place(where))
        (tiny_folder / "config.json").write_text(json.dumps(content))
        adapter = {"peft_type": "LORA", "base_model_name_or_path": "org/other", "target_modules": ["q_proj"]}
        (tiny_folder / "adapter_config.json").write_text(json.dumps(adapter))
        with pytest.raises(ConfigurationError, match="has an adapter beside its weights"):
            load_model(place(where))
        assert not trap.sprung


class TestCommands:
    """The option reaches the loader, whatever asks."""

    @pytest.fixture
    def pickled_folder(self, tiny_folder):
        pickled(tiny_folder, archive_of(tiny_model().state_dict()))
        return tiny_folder

    def test_train(self, pickled_folder, stream_yaml, tmp_path):
        with pytest.raises(SystemExit, match="tiny-clip' has its weights as a pickle alone"):
            main(["--config", str(stream_yaml())])
        main(["--config", str(stream_yaml(pickled_weights=True, max_steps=1))])
        # What a stream leaves is none, and says nothing of it.
        assert CLIPModel.from_pretrained(tmp_path / "out/task2-shapes", use_safetensors=True)
        assert "pickled" not in (tmp_path / "out/task2-shapes/recipe.yaml").read_text()

    def test_evaluate_and_predict(self, pickled_folder, stream_yaml, tmp_path, capsys):
        Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
        commands = {
            evaluate.main: ["--config", str(stream_yaml()), "--output_dir", str(tmp_path / "evaluated")],
            predict.main: [str(tmp_path / "a.png"), "--class_names", "cat,dog", "--use_cpu"],
        }
        for command, options in commands.items():
            with pytest.raises(SystemExit, match="MODEL: .* has its weights as a pickle alone"):
                command([str(pickled_folder), *options])
            command([str(pickled_folder), *options, "--pickled_weights"])


class TestAdapters:
    @pytest.fixture
    def adapter(self, tmp_path, tiny_folder):
        model = peft.get_peft_model(tiny_model(), peft.LoraConfig(target_modules=["q_proj"]))
        model.save_pretrained(tmp_path / "adapter")
        config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
        (tmp_path / "adapter/adapter_config.json").write_text(
            json.dumps(config | {"base_model_name_or_path": str(tiny_folder)})
        )
        return tmp_path / "adapter"

    @pytest.mark.parametrize("where", ["folder", "hub"])
    def test_pickled_ones_are_refused(self, adapter, hub, hub_env, trap, tmp_path, where):
        with connected(hub_env, tmp_path):
            if where == "hub":
                on_hub(hub, "org/good", adapter)
            assert find_subject("org/good" if where == "hub" else str(adapter)).original()
            (adapter / "adapter_model.safetensors").unlink()
            (adapter / "adapter_model.bin").write_bytes(trap.archive())
            if where == "hub":
                on_hub(hub, "org/adapter", adapter)
            subject = find_subject("org/adapter" if where == "hub" else str(adapter))
            with pytest.raises(ConfigurationError, match="has no adapter_model.safetensors; nothing else is read"):
                subject.original()
        assert not trap.sprung

    def test_none_chooses_a_module_to_import(self, adapter, tmp_path, monkeypatch, trap):
        (tmp_path / "somebodys.py").write_text(f"open({str(trap.mark)!r}, 'w')")
        monkeypatch.syspath_prepend(tmp_path)
        config = json.loads((adapter / "adapter_config.json").read_text())
        config |= {"megatron_core": "somebodys", "megatron_config": {"a": 1}}
        config |= {"auto_mapping": {"base_model_class": "CLIPModel", "parent_library": "somebodys"}}
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigurationError, match="can't use the adapter"):
            find_subject(str(adapter)).original()
        assert not trap.sprung


class TestData:
    def test_no_script_is_run(self, tmp_path, trap):
        """Older versions of `datasets` had such."""
        (tmp_path / "data").mkdir()
        (tmp_path / "data/data.py").write_text(f"open({str(trap.mark)!r}, 'w')")
        with pytest.raises(ConfigurationError, match="can't load split"):
            load_stream(StreamConfig(tasks=[{"name": "t", "dataset": str(tmp_path / "data")}]))
        assert not trap.sprung

    def test_pickles_beside_images_are_bytes(self, tmp_path, trap):
        """In an archive of webdataset's; of its kinds the one that is unpickled is so for tensors alone."""
        with io.BytesIO() as file, tarfile.open(tmp_path / "data.tar", "w") as archive:
            Image.new("RGB", (8, 8)).save(file, "PNG")
            for number in range(2):
                members = {"png": file.getvalue(), "cls": str(number).encode(), "pickle": trap.plain()}
                for suffix, content in (members | {"pyd": trap.plain(), "pkl": trap.plain()}).items():
                    info = tarfile.TarInfo(f"{number}.{suffix}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        task = {"name": "t", "dataset": "webdataset", "data_files": str(tmp_path / "data.tar"), "eval_split": "train"}
        task |= {"image_column": "png", "label_column": "cls", "class_names": ["a", "b"]}
        (loaded,) = load_stream(StreamConfig(tasks=[task]))
        assert len(loaded.train) == 2 and not trap.sprung


class TestOfTheHub:
    """A checkpoint that a stream is to go on from."""

    def test_its_weights_are_safetensors(self, pushed, finished, trap, tmp_path):
        files = pushed.hub.files("org/mulki-task1")
        rest = {name: content for name, content in files.items() if name not in ("model.safetensors", MANIFEST)}
        pushed.hub.repositories.pop("org/evil-task1", None)
        pushed.hub.publish("org/evil-task1", rest | {"pytorch_model.bin": trap.archive(), "training_args.bin": b"x"})
        options = ["--resume_from_hub", "org/evil-task1", "--output_dir", str(tmp_path / "new")]
        with (
            connected(pushed.env | {"HF_HOME": str(tmp_path / "home")}, tmp_path),
            pytest.raises(SystemExit, match="'org/evil-task1@.*holds no weights; nothing but safetensors is read"),
        ):
            main(["--config", str(finished.parent / "stream.yaml"), *options])
        assert not trap.sprung and not (tmp_path / "new").exists()
        # Nor do pickles come to this machine.
        assert not pushed.hub.seen("GET", r"evil-task1/resolve/.*\.bin")


class TestCheckpoints:
    """Those of Trainer's, which pickles."""

    @pytest.fixture
    def checkpoint(self, tmp_path):
        """Files of the right kinds, as of step 2, in a folder of their own."""
        folder = tmp_path / "work/checkpoint-2"
        (folder / "more").mkdir(parents=True)
        save_file({"weight": torch.ones(2)}, folder / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"):
            torch.save({"state": torch.ones(2), "numpy": np.random.default_rng(0).random(2)}, folder / name)
        (folder / "trainer_state.json").write_text('{"global_step": 2}')
        write_manifest(folder)
        assert last_checkpoint(folder.parent) == str(folder)
        return folder

    @pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_trap_in_one_does_nothing(self, checkpoint, trap, caplog, file, kind):
        (checkpoint / file).write_bytes(KINDS[kind](trap))
        write_manifest(checkpoint)
        with pytest.raises(ConfigurationError, match=rf"{file} is damaged \((cut off|it holds more than tensors)"):
            chosen_checkpoint(str(checkpoint), str(checkpoint.parent))
        assert last_checkpoint(checkpoint.parent) is None and "so the task begins anew" in caplog.text
        assert not trap.sprung

    @pytest.mark.parametrize("what", [".", "optimizer.pt", "more"])
    def test_none_is_taken_from_outside_the_run(self, checkpoint, tmp_path, caplog, what):
        """By a link in its place, or in the place of a part of it."""
        part = checkpoint / what
        shutil.move(part, tmp_path / "elsewhere")
        part.symlink_to(tmp_path / "elsewhere")
        assert last_checkpoint(checkpoint.parent) is None
        assert f"{part} is a link that leads out of" in caplog.text

    def test_a_run_may_lie_behind_a_link(self, checkpoint, tmp_path):
        (tmp_path / "run").symlink_to(checkpoint.parent)
        assert last_checkpoint(tmp_path / "run") == str(tmp_path / "run/checkpoint-2")

    def test_a_run_begins_its_task_anew(self, stream_yaml, tmp_path, trap, caplog):
        """And the arguments that Trainer pickles are read by nobody."""
        config = stream_yaml()
        interrupted(config, 3)
        (checkpoint,) = (tmp_path / "out").glob("unfinished/task2-*/checkpoint-2")
        (checkpoint / "training_args.bin").write_bytes(trap.plain())
        (checkpoint / "optimizer.pt").write_bytes(trap.archive())
        write_manifest(checkpoint)
        main(["--config", str(config), "--resume"])
        assert "optimizer.pt is damaged (it holds more than tensors and plain values" in caplog.text
        assert not trap.sprung
