"""`mulki-hf`: one command for all, and the recipes that ship."""

import sys
from types import SimpleNamespace

import pytest
from support.launch import run

from mulki_hf import __main__, __version__, compare, demo, evaluate, predict, push
from mulki_hf.__main__ import COMMANDS, main
from mulki_hf.resources import find_recipe, resource, shipped_recipes


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_the_overview_opens_with_an_example_and_has_a_line_for_each(capsys, argv):
    main(argv)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mulki-hf train --config quickstart"
    for name, (_, what) in COMMANDS.items():
        assert [line.split() for line in lines].count([name, *what.split()]) == 1
    assert max(map(len, lines)) <= 120


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"mulki-hf {__version__}\n"


def test_an_unknown_command_names_the_nearest():
    with pytest.raises(SystemExit, match="^error: there is no command 'trian'; did you mean 'train'"):
        main(["trian", "--config", "quickstart"])
    with pytest.raises(SystemExit, match=r"^error: there is no command 'xyzzy'; `mulki-hf --help` lists them: train, "):
        main(["xyzzy"])


def test_the_rest_is_the_commands_own(capsys):
    for name in ("train", "prepare", "evaluate", "compare", "push", "recipes"):
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0
        first, empty, usage, *_ = capsys.readouterr().out.splitlines()
        assert first.startswith(f"mulki-hf {name} ") and not empty and usage.startswith(f"usage: mulki-hf {name} ")


def test_errors_keep_their_status():
    with pytest.raises(SystemExit, match="^error: --config: no file 'nowhere'"):
        main(["train", "--config", "nowhere"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--config"], "argument --config: expected one argument"),
        (["train", "--elicit_wieght", "1"], "unrecognized arguments: --elicit_wieght 1"),
        (["prepare", "--config", "quickstart", "--every"], "unrecognized arguments: --every"),
        (["evaluate", "run", "--checkpoint"], "argument --checkpoint: expected one argument"),
        (["compare"], "the following arguments are required: RUN"),
        (
            ["predict", "run", "cat.png", "--all-tasks", "--checkpoint", "1"],
            "argument --checkpoint: not allowed with .*",
        ),
        (["predict", "run", "--use_cpu", "cat.png"], "argument --use_cpu.*: its value is true, .* got 'cat.png'"),
        (["demo", "run", "--port", "x"], "argument --port: invalid int value: 'x'"),
        (["push", "run", "--hub-private-repo", "x"], "argument --hub_private_repo.*: its value is true, .* got 'x'"),
        (["recipes", "quickstart", "--prnt"], "unrecognized arguments: --prnt"),
    ],
)
def test_wrong_usage_is_an_error_in_a_line(words, message):
    with pytest.raises(SystemExit, match=f"^error: {message}; see --help$"):
        main(words)


def test_options_of_several_words_have_hyphens_too():
    for door in (evaluate, compare, predict, demo, push):
        parser = door.make_parser()
        names = {name for action in parser._actions for name in action.option_strings}
        assert {name.replace("_", "-") for name in names if name.startswith("--")} <= names
        assert "--hub-token" in names
    asked = predict.make_parser().parse_intermixed_args(["run", "--use-cpu", "false", "a.png", "--batch-size", "3"])
    assert (asked.use_cpu, asked.images, asked.batch_size, asked.all_tasks) == (False, ["a.png"], 3, False)
    assert demo.make_parser().parse_args(["run", "--use_cpu"]).use_cpu is True


@pytest.mark.parametrize(("door", "work"), [(predict, "run"), (compare, "check_free"), (push, "push")])
def test_ctrl_c_in_a_module_of_its_own(monkeypatch, capsys, door, work):
    def stopped(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(door, work, stopped)
    with pytest.raises(SystemExit) as end:
        door.main(
            ["run", *(["a.png"] if door is predict else []), *(["--output_dir", "out"] if door is compare else [])]
        )
    assert end.value.code == 130 and capsys.readouterr().err == "stopped\n"


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def stopped(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "import_module", lambda *_: SimpleNamespace(main=stopped))
    with pytest.raises(SystemExit) as end:
        main(["compare", "out"])
    assert end.value.code == 130 and capsys.readouterr().err == "stopped\n"


def test_nothing_slow_is_imported_for_the_overview_and_recipes():
    script = "import sys; from mulki_hf.__main__ import main; main([]); main(['recipes'])\n"
    script += "print({'torch', 'transformers', 'numpy', 'yaml'} & {*sys.modules})"
    assert run(sys.executable, "-c", script).stdout.endswith("set()\n")


def test_as_a_module():
    assert run(sys.executable, "-m", "mulki_hf", "--version").stdout == f"mulki-hf {__version__}\n"
    run(sys.executable, "-m", "mulki_hf", "trian", status=1)


class TestRecipes:
    def test_each_has_a_line(self, capsys):
        main(["recipes"])
        printed = capsys.readouterr().out
        assert len(shipped_recipes()) >= 3
        for name, path in shipped_recipes().items():
            first = path.read_text().splitlines()[0]
            assert first.startswith("# ") and f"{name} " in printed and f"  {first[2:]}\n" in printed

    def test_printed_it_is_the_file(self, capsys):
        main(["recipes", "quickstart", "--print"])
        assert capsys.readouterr().out == resource("recipes/quickstart.yaml").read_text()

    def test_what_to_do_with_one(self, capsys):
        main(["recipes", "quickstart_snd"])
        printed = capsys.readouterr().out
        assert "mulki-hf train --config quickstart_snd\n" in printed
        assert "mulki-hf recipes quickstart_snd --print > " in printed
        assert str(find_recipe("quickstart_snd")) in printed

    def test_no_such(self):
        with pytest.raises(SystemExit, match="^error: no recipe 'quick' ships with the package; recipes: quickstart, "):
            main(["recipes", "quick", "--print"])
        with pytest.raises(SystemExit, match="^error: --print needs a name: quickstart, "):
            main(["recipes", "--print"])
