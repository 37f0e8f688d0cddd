"""The help of `mulki-hf train`: what the parser says, without its imports."""

import json
import os
import re
import sys

import pytest
from support.launch import python, run

import mulki_hf.help
from mulki_hf.config.parser import make_parser
from mulki_hf.help import KEPT, SHIPPED, fingerprint, help_folder, help_text, made
from mulki_hf.program import program
from mulki_hf.resources import PACKAGE
from mulki_hf.train import main


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches"


@pytest.fixture
def another_version(tmp_path, monkeypatch):
    """What ships was made with another version of transformers, and has no options."""
    monkeypatch.setattr(mulki_hf.help, "SHIPPED", tmp_path / "options.json")
    (tmp_path / "options.json").write_text(json.dumps({"transformers": "5.0"}))


def test_what_ships_is_what_the_parser_says_today():
    assert json.loads(SHIPPED.read_text("utf-8")) == made(), "options have changed: make options"


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_the_page_is_the_parsers(capsys, monkeypatch, option, columns):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as end:
        main(["--config", "quickstart", option])
    assert end.value.code == 0
    assert capsys.readouterr().out == make_parser().format_help()


def test_it_opens_with_an_example():
    first, empty, usage, *_ = help_text().splitlines()
    assert (first, empty) == ("mulki-hf train --config quickstart", "") and usage.startswith("usage: mulki-hf train ")


def test_nothing_slow_is_imported_not_even_the_first_time():
    script = "import sys\nfrom mulki_hf.train import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    script += "print({'torch', 'transformers', 'datasets', 'numpy'} & {*sys.modules}, file=sys.stderr)"
    done = python(script, env=os.environ | {"COLUMNS": "91"})
    assert "--learning_rate" in done.stdout and done.stderr.strip() == "set()"
    assert not help_folder().exists()
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "-m", "mulki_hf.train", "--help"]
    launched = run(*launcher, env=os.environ | {"COLUMNS": "91"}).stdout
    assert launched == done.stdout.replace("mulki-hf train --config", "accelerate launch -m mulki_hf.train --config")


@pytest.mark.parametrize(
    ("called", "as_"),
    [
        ("/usr/bin/mulki-hf", "mulki-hf push"),
        (PACKAGE / "__main__.py", "python -m mulki_hf push"),
        (PACKAGE / "push.py", "python -m mulki_hf.push"),
        (PACKAGE / "train.py", "mulki-hf push"),
    ],
)
def test_commands_are_named_as_they_were_called(monkeypatch, called, as_):
    monkeypatch.setattr(sys, "argv", [str(called)])
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    assert program("push") == as_


def test_named_after_the_launcher(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(PACKAGE / "train.py")])
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert program("train") == "accelerate launch -m mulki_hf.train"
    assert help_text() == make_parser().format_help()
    assert "usage: accelerate launch -m mulki_hf.train --config" in help_text()


class TestWithAnotherVersion:
    """Made from the parser, once, and kept."""

    @pytest.fixture(autouse=True)
    def another(self, another_version):
        pass

    def test_it_is_made_once(self, monkeypatch):
        page = help_text()
        assert page == make_parser().format_help()
        monkeypatch.setattr(mulki_hf.help, "made", lambda *_: pytest.fail("made again"))
        assert help_text() == page
        monkeypatch.setenv("COLUMNS", "60")
        assert help_text() != page
        assert len([*help_folder().iterdir()]) == 1

    def test_an_older_torch(self, monkeypatch):
        """Has another optimizer by default."""
        monkeypatch.setattr(mulki_hf.help, "SHIPPED", SHIPPED)
        monkeypatch.setattr(mulki_hf.help, "OLDEST_TORCH", (99, 0))
        help_text()
        assert len([*help_folder().iterdir()]) == 1

    def test_other_code_is_made_anew(self, monkeypatch, tmp_path):
        before = fingerprint()
        (tmp_path / "help.py").write_text("")
        monkeypatch.setattr(mulki_hf.help, "__file__", str(tmp_path / "help.py"))
        code = fingerprint()
        monkeypatch.setattr(mulki_hf.help, "version", lambda name: "0")
        assert len({before, code, fingerprint()}) == 3

    def test_few_are_kept(self, monkeypatch):
        for number in range(KEPT + 2):
            monkeypatch.setattr(mulki_hf.help, "fingerprint", lambda number=number: str(number))
            help_text()
        assert len([*help_folder().iterdir()]) == KEPT

    def test_what_is_damaged_is_made_anew(self):
        page = help_text()
        (kept,) = help_folder().iterdir()
        kept.write_text("{")
        assert help_text() == page and json.loads(kept.read_text())

    def test_nowhere_to_keep_it(self, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert help_text() == make_parser().format_help()


class TestOfAMethodOfTheUsers:
    """Its options are among them, and are not kept."""

    @pytest.fixture
    def module(self, tmp_path, monkeypatch):
        source = "from dataclasses import dataclass, field\nfrom mulki_hf.objectives import Finetune\n"
        source += "@dataclass\nclass Fields:\n strange_weight: float = field(default=1.5, metadata={'help': 'Much.'})\n"
        (tmp_path / "strange.py").write_text(f"{source}class Strange(Finetune):\n arguments = Fields\n")
        monkeypatch.syspath_prepend(tmp_path)
        yield "strange:Strange"
        sys.modules.pop("strange", None)

    def test_named_by_an_option_or_a_recipe(self, module, tmp_path):
        plain, recipe = help_text(["--help"]), tmp_path / "recipe.yaml"
        recipe.write_text(f"method: {module}\n")
        for given in (["--method", module, "-h"], [f"--method={module}", "-h"], ["-h", "--config", str(recipe)]):
            text = help_text(given)
            assert re.search(r"\nStrange:\n +--strange_weight [^:]* Much\. \(default: 1\.5\)\n", text)
        assert not help_folder().exists()
        for given in ([], ["--method"], ["--method", "snd", "--config", str(recipe)], ["--config", str(tmp_path)]):
            assert help_text([*given, "--help"]) == plain

    def test_one_that_is_not_there(self):
        with pytest.raises(SystemExit, match="^error: method must .* no module 'nowhere'"):
            main(["--method", "nowhere:Strange", "--help"])
