"""A method of the user's own, as the page documents it, from the command and in Python."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.hub import connected
from support.launch import two_ranks
from support.tiny import tiny_model, tiny_task

import mulki_hf
from mulki_hf import ConfigurationError, MulKIConfig, MulKITrainer
from mulki_hf.objectives import MulKI, Objective, find_objective, method_name
from mulki_hf.results import StreamResults
from mulki_hf.train import main


PAGE = (Path(mulki_hf.__file__).parent / "objectives/README.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## A method of your own\n")[2]
MODULE, IN_PYTHON = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
OPTIONS = re.search(r"--method my_module:Near --near_weight 3", SECTION)[0].split()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory; what is imported from there is forgotten afterwards."""
    known = {*sys.modules}
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in {*sys.modules} - known:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def documented(place):
    (place / "my_module.py").write_text(MODULE)
    return place


class TestAsDocumented:
    def test_is_about_twenty_lines(self):
        assert len([line for line in MODULE.splitlines() if line]) <= 20

    def test_by_the_command(self, documented, stream_yaml):
        """Trained with its loss, described on the card, and kept in results, recipe and arguments."""
        config, out = str(stream_yaml(logging_steps=1)), documented / "out"
        main(["--config", config, *OPTIONS])
        main(["--config", config, "--method", "finetune", "--output_dir", str(documented / "plain")])
        results = StreamResults.load(out)
        assert results.finished == 2 and results.method == "my_module:Near" and results.config["near_weight"] == 3.0
        assert results.about.settings["near_weight"] == 3.0 and "mean ||v_S - v_O||^2" in results.about.summary
        folder = out / "task2-shapes"
        card, recipe = ((folder / name).read_text() for name in ("README.md", "recipe.yaml"))
        assert "[`my_module:Near`](#method), which is no part of mulki-hf." in card
        assert "mean ||v_S - v_O||^2" in card and re.search(r"near_weight.*3\.0", card)
        assert "- Near\n" in card.split("\n---\n")[0] and "my_module" not in card.split("\n---\n")[0]
        assert {"method": "my_module:Near", "near_weight": 3.0}.items() <= yaml.safe_load(recipe).items()
        own, plain = ((run / "task2-shapes/model.safetensors").read_bytes() for run in (out, documented / "plain"))
        assert own != plain

    def test_its_recipe_does_the_same_again(self, documented, stream_yaml, tasks_files):
        main(["--config", str(stream_yaml()), *OPTIONS])
        shutil.copytree(tasks_files, documented, dirs_exist_ok=True)  # it names them without their folder
        again = ["--config", str(documented / "out/task2-shapes/recipe.yaml"), "--output_dir", "again"]
        main([*again, "--use_cpu", "true", "--report_to", "none", "--dataloader_num_workers", "0"])
        files = [documented / out / "task2-shapes/model.safetensors" for out in ("out", "again")]
        assert files[0].read_bytes() == files[1].read_bytes()

    def test_goes_on_after_a_task(self, documented, stream_yaml, monkeypatch):
        """As if nothing had been, and with the same settings only."""
        config = ["--config", str(stream_yaml()), *OPTIONS]
        main([*config, "--output_dir", "whole"])

        def stop(*args):
            raise ConfigurationError("stopped")

        with monkeypatch.context() as patch, pytest.raises(SystemExit, match="stopped"):
            patch.setattr("mulki_hf.stream.Stream.close", stop)
            patch.setattr("mulki_hf.stream.Stream.remaining", lambda self: range(self.results.finished, 1))
            main(config)
        assert StreamResults.load(documented / "out").finished == 1
        with pytest.raises(SystemExit, match=r"resume: near_weight was 3\.0 and is now 2\.0"):
            main([*config, "--near_weight", "2", "--resume"])
        with pytest.raises(SystemExit, match="resume: method was 'my_module:Near' and is now 'finetune'"):
            main([*config[:2], "--method", "finetune", "--resume"])
        main([*config, "--resume"])
        files = [documented / out / "task2-shapes/model.safetensors" for out in ("out", "whole")]
        assert files[0].read_bytes() == files[1].read_bytes()

    def test_in_python(self, documented, processor):
        """Its part of the loss is what the formula says, and the class is found again by its name."""
        names = {"MulKIConfig": MulKIConfig, "MulKITrainer": MulKITrainer}
        names |= {"model": tiny_model(), "task": tiny_task(), "processor": processor}
        sys.path.insert(0, str(documented))
        source = IN_PYTHON.replace("near_weight=3.0", "near_weight=3.0, max_steps=2, report_to='none', logging_steps=1")
        exec(source.replace("max_steps", "use_cpu=True, dataloader_num_workers=0, disable_tqdm=True, max_steps"), names)
        args, trainer = names["args"], names["trainer"]
        assert (args.method, args.near_weight, args.output_dir) == ("my_module:Near", 3.0, "out")
        trainer.train()
        logged = [entry["loss_near"] for entry in trainer.state.log_history if "loss_near" in entry]
        assert logged[0] == pytest.approx(0, abs=1e-5) and logged[1] > 1e-5
        assert trainer.objective.args.near_weight == 3.0
        assert json.loads(json.dumps(args.to_dict()))["method"] == "my_module:Near"

    def test_goes_on_after_a_task_on_the_hub(self, documented, stream):
        """Where the user names it; the recipe alone imports nothing."""
        own, further = ["--method", "my_module:Near"], documented / "further"
        options = ["--resume_from_hub", "org/mulki-task1", "--output_dir", str(further)]
        options += ["--data_root", ".", "--use_cpu", "true"]
        with connected(stream.env | {"HF_HOME": str(documented / "home")}, stream.place):
            (stream.place / "my_module.py").write_text(MODULE)
            main(["--config", "stream.yaml", *OPTIONS, "--push_to_hub", "--hub_model_id", "org/mulki"])
            sys.modules.pop("my_module")
            with pytest.raises(SystemExit, match="its recipe's method 'my_module:Near' is code .* give --method"):
                main(options)
            assert "my_module" not in sys.modules and not further.exists()
            main([*options, *own])
        card = (stream.out / "task1-colours/README.md").read_text()
        assert "--resume_from_hub org/mulki-task1 --method my_module:Near --output_dir OUT" in card
        assert StreamResults.load(further).config["near_weight"] == 3.0
        files = [out / "task2-shapes/model.safetensors" for out in (stream.out, further)]
        assert files[0].read_bytes() == files[1].read_bytes()

    @pytest.mark.long
    @pytest.mark.xdist_group("ranks")
    def test_on_two_ranks(self, documented, stream_yaml):
        """Started in the module's folder, and nothing else is done to find it."""
        config = stream_yaml(max_steps=1, save_strategy="no")
        options = [*OPTIONS, "--optim", "sgd", "--learning_rate", "1", "--lr_scheduler_type", "constant"]
        main(["--config", str(config), "--output_dir", "one", *options])
        two_ranks(config, documented / "two", *options, "--per_device_train_batch_size", "4", cwd=documented)
        one, two = (load_file(documented / run / "task2-shapes/model.safetensors") for run in ("one", "two"))
        for name, value in one.items():
            torch.testing.assert_close(value, two[name], rtol=0, atol=3e-5)
        assert StreamResults.load(documented / "two").about.settings["near_weight"] == 3.0


CLASS = "from mulki_hf.objectives import Objective\nclass Mine(Objective):\n def retention(self, batch): return {}\n"


def with_field(field: str, options: str = "") -> str:
    """A module with a method of one field."""
    arguments = f"from dataclasses import dataclass\n@dataclass{options}\nclass Fields:\n {field}\n"
    return f"{arguments}{CLASS} arguments = Fields\n"


FAULTS = {
    "no such method": ("magic", "", r"method must be one of mulki, .*, or module:Class .*, got 'magic'"),
    "no module": ("nowhere:Mine", "", "got 'nowhere:Mine': no module 'nowhere' in the working directory"),
    "no module inside": ("mine.inner:Mine", "", "got 'mine.inner:Mine': no module 'mine.inner' in"),
    "a path": ("./mine.py:Mine", "", "got './mine.py:Mine': write the module as `import` has it"),
    "no class": ("mine:", "", "got 'mine:': write the module"),
    "no such class": ("mine:Mine", "x = 1", "got 'mine:Mine': AttributeError: module 'mine' has no attribute 'Mine'"),
    "its imports": ("mine:Mine", "import numqy", "'mine' can't be imported: ModuleNotFoundError: .*'numqy'"),
    "its syntax": ("mine:Mine", "def", r"'mine' can't be imported: SyntaxError: .*mine\.py, line 1"),
    "it leaves": ("mine:Mine", "raise SystemExit(3)", "'mine' can't be imported: SystemExit: 3"),
    "no objective": ("mine:Mine", "class Mine: pass", "it is no Objective; derive it from"),
    "no class at all": ("mine:Mine", "Mine = 5", "it is no Objective"),
    "abstract": ("mine:Objective", CLASS, "the class has no retention yet"),
    "arguments": ("mine:Mine", CLASS + " arguments = {'a': 1}", "arguments must be a dataclass, got {'a': 1}"),
    "a field without default": ("mine:Mine", with_field("a: int"), "arguments need defaults, and a has none"),
    "a field that is there": ("mine:Mine", with_field("seed: int = 1"), "mine:Mine .*seed has the name of another"),
    "a task's": ("mine:Mine", with_field("templates: int = 1"), "templates has the name of another"),
    "a property": ("mine:Mine", with_field("device: str = 'x'"), "device has the name of another"),
    "an option": ("mine:Mine", with_field("config: str = 'x'"), "config has the name of another"),
    "a switch": ("mine:Mine", with_field("no_adding: bool = False"), "no_adding has the name of another"),
    "a type": ("mine:Mine", with_field("a: int | float = 1"), "can't be options: Only `Union.X, NoneType.`"),
    "no type": ("mine:Mine", with_field("a: 'Colour' = 1"), "can't be options: .*Colour"),
    "frozen": ("mine:Mine", with_field("a: int = 1", "(frozen=True)"), "a dataclass without frozen and slots"),
    "slots": ("mine:Mine", with_field("a: int = 1", "(slots=True)"), "a dataclass without frozen and slots"),
    "towers": ("mine:Mine", CLASS + " towers = 'left'", "train_towers must be one of both, vision, text, got 'left'"),
    "needs": ("mine:Mine", CLASS + " needs = frozenset({'x'})", "'mine:Mine' needs unknown x"),
    "bounds": ("mine:Mine", with_field("a: float = float('inf')"), "a must be finite, got inf"),
    "a value": ("mine:Mine", with_field("a: tuple = (1, 2)"), r"a must be made of numbers, .*got \(1, 2\)"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "source", "message"), FAULTS.values(), ids=FAULTS)
def test_what_can_not_be_used_is_refused_before_training(place, stream_yaml, method, source, message):
    """In a line, from the options as from the recipe."""
    (place / "mine.py").write_text(source)
    for given in (["--config", str(stream_yaml()), "--method", method], ["--config", str(stream_yaml(method=method))]):
        with pytest.raises(SystemExit, match=f"^error: .*{message}"):
            main(given)
        sys.modules.pop("mine", None)
    assert not (place / "out").exists()


def test_its_own_check_names_field_and_value(documented, stream_yaml):
    with pytest.raises(SystemExit, match="^error: near_weight must be >= 0, got -1"):
        main(["--config", str(stream_yaml()), "--method", "my_module:Near", "--near_weight", "-1"])
    with pytest.raises(SystemExit, match="stream.yaml: near_weight must be a number, got 'much'"):
        main(["--config", str(stream_yaml(near_weight="much", method="my_module:Near"))])
    with pytest.raises(SystemExit, match="unknown key 'near_wieght'; did you mean 'near_weight'"):
        main(["--config", str(stream_yaml(near_wieght=1, method="my_module:Near"))])


class TestClass:
    def test_ones_own_and_ours(self, documented):
        near = find_objective("my_module:Near")
        assert find_objective(near) is near and method_name(near) == "my_module:Near"
        assert method_name(MulKI) == "mulki" and find_objective(MulKI) is find_objective("mulki")

    def test_must_be_found_by_its_name(self, make_args):
        class Hidden(Objective):
            def retention(self, batch):
                return {}

        with pytest.raises(ConfigurationError, match=r"Hidden': .* define it at a module's top"):
            make_args(method=Hidden)

    @pytest.mark.parametrize("given", [5, None, object(), int, Objective])
    def test_anything_else_is_refused(self, make_args, given):
        with pytest.raises(ConfigurationError, match="method must"):
            make_args(method=given)

    def test_for_what_a_file_says_nothing_is_imported(self, place):
        (place / "mine.py").write_text("raise SystemExit('imported')")
        with pytest.raises(ConfigurationError, match="nobody has imported 'mine' here"):
            find_objective("mine:Mine", load=False)
        assert "mine" not in sys.modules
