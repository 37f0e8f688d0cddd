"""The command's help: what the parser says, without its imports where it was said before."""

import os
import re
import sys

import pytest
from support.launch import python, run

import mulki_hf.help
from mulki_hf.config.parser import make_parser
from mulki_hf.help import KEPT, fingerprint, help_folder, help_text
from mulki_hf.train import main


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_it_is_what_the_parser_says(capsys, option):
    """At first and when it is read again."""
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(["--config", "quickstart", option])
        assert end.value.code == 0
        assert capsys.readouterr().out == make_parser().format_help()


def test_the_second_time_nothing_slow_is_imported():
    script = "import sys\nfrom mulki_hf.train import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    script += "print({'torch', 'transformers', 'datasets'} & {*sys.modules}, file=sys.stderr)"
    first, second = (python(script, env=os.environ | {"COLUMNS": "91"}) for _ in range(2))
    assert first.stdout == second.stdout and "--learning_rate" in second.stdout
    assert "torch" in first.stderr and second.stderr.strip() == "set()"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "-m", "mulki_hf.train", "--help"]
    assert run(*launcher, env=os.environ | {"COLUMNS": "91"}).stdout == first.stdout


def test_other_widths_and_other_code_have_texts_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "60")
    narrow = help_text()
    monkeypatch.setenv("COLUMNS", "120")
    assert help_text() != narrow and len([*help_folder().iterdir()]) == 2
    before = fingerprint()
    (tmp_path / "help.py").write_text("")
    monkeypatch.setattr(mulki_hf.help, "__file__", str(tmp_path / "help.py"))
    code = fingerprint()
    monkeypatch.setattr(mulki_hf.help, "version", lambda name: "0")
    assert len({before, code, fingerprint()}) == 3


def test_few_are_kept(monkeypatch):
    for width in range(60, 62 + KEPT):
        monkeypatch.setenv("COLUMNS", str(width))
        assert help_text() == make_parser().format_help()
    assert len([*help_folder().iterdir()]) == KEPT


def test_nowhere_to_keep_it(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert help_text() == make_parser().format_help()


class TestOfAMethodOfTheUsers:
    """Its options are among them, whatever has been kept, and are not kept themselves."""

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
        assert len([*help_folder().iterdir()]) == 1
        for given in ([], ["--method"], ["--method", "snd", "--config", str(recipe)], ["--config", str(tmp_path)]):
            assert help_text([*given, "--help"]) == plain

    def test_one_that_is_not_there(self):
        with pytest.raises(SystemExit, match="^error: method must .* no module 'nowhere'"):
            main(["--method", "nowhere:Strange", "--help"])
