"""A token is in no file, message, traceback or command line; see also `test_publish`, for all that goes to the Hub."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.hub import SECRET, anonymous
from support.interrupt import interrupted
from support.launch import run

from mulki_hf import compare, demo, evaluate, predict, prepare, push, train
from mulki_hf.tokens import WARNING, without_tokens


OF_ITSELF = """
import subprocess, sys, threading
from pathlib import Path
from mulki_hf.program import ends_in_a_line

def show(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(bytes(1), b" ").decode()

@ends_in_a_line()
def main():
    print(show("self"), "and", sys.argv[2], flush=True)
    threading.Thread(target=lambda: print(show("self"))).start()
    try:
        raise ValueError("https://ann:password@host/ " + sys.argv[2])
    except ValueError as error:
        error.add_note(sys.argv[2])
        raise RuntimeError(sys.argv[2:]) from error

main()
"""


def test_what_others_see_of_a_process_and_what_it_says_when_it_fails(tmp_path):
    """A real one: its own arguments stay as they are, what the system shows does not, nor do chained exceptions."""
    words = ["--hub_token", SECRET, f"--hub-token={SECRET}", "--name", "value"]
    (tmp_path / "itself.py").write_text(OF_ITSELF)
    done = subprocess.run([sys.executable, tmp_path / "itself.py", *words], capture_output=True, text=True, timeout=60)
    shown, _, own = done.stdout.splitlines()[0].rpartition(" and ")
    stars = "*" * len(SECRET)
    assert shown.endswith(f"--hub_token {stars} --hub-token={stars} --name value ") and own == SECRET
    assert SECRET not in done.stdout.replace(own, "", 1)
    assert SECRET not in done.stderr and "password" not in done.stderr
    assert done.stderr.startswith(WARNING) and done.returncode == 1
    assert "RuntimeError: ['...', '--hub-token=...', '--name', 'value']" in done.stderr
    assert "ValueError: https://...@host/ ..." in done.stderr


COMMANDS = {
    train: ["--config", "quickstart"],
    evaluate: ["clip-nano"],
    predict: ["clip-nano", "a.png"],
    push: ["out"],
    compare: ["out"],
    demo: ["out"],
    prepare: ["--config", "quickstart"],
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
@pytest.mark.parametrize("words", [["--hub_tokn", SECRET], [f"--hub_tokn={SECRET}"], ["--hub_token", SECRET, SECRET]])
def test_no_refusal_repeats_it(command, words, capsys, tmp_path, monkeypatch):
    """As with a slip in the option's name, or with the token twice."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        command.main([*COMMANDS[command], *words])
    assert end.value.code not in (0, None)
    assert SECRET not in f"{end.value.code} {''.join(capsys.readouterr())}"


def test_what_is_a_token():
    assert without_tokens(f"a {SECRET}, b") == "a ..., b"
    assert without_tokens(f"https://ann:{SECRET}@host/x https://token@host") == "https://...@host/x https://...@host"
    for harmless in ("hf_hub_download(repo_id)", "from hf_transfer import x", "hf_cache", "ann@host", "a://b c@d"):
        assert without_tokens(harmless) == harmless


def test_no_file_of_a_run_holds_it(stream_yaml, tmp_path):
    """Of one that was stopped in a task: checkpoints, what Trainer pickles, what trackers write; in its recipe too."""
    config = stream_yaml(report_to="tensorboard", hub_token=SECRET)
    interrupted(config, 3)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    names = {path.name.partition(".out.")[0] for path in files}
    assert {"training_args.bin", "results.json", "recipe.yaml", "README.md", "trainer_state.json"} <= names
    assert any("tfevents" in path.name for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.long
class TestLaunched:
    """By `accelerate launch`, which prints the command of a run that failed, all options in it."""

    LAUNCH = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", 1, "--num_machines", 1)

    def failed(self, *words, **variables) -> str:
        env = anonymous({"PYTHONPATH": str(Path(train.__file__).parents[1]), "PATH": "/usr/bin:/bin"}) | variables
        missing = ["-m", "mulki_hf.train", "--config", "missing"]
        done = run(*self.LAUNCH, *words[:1], *missing, *words[1:], env=env, status=1)
        assert "error: --config" in done.stderr
        return done.stdout + done.stderr

    def test_the_environment_is_the_place_for_it(self):
        said = self.failed("--quiet", HF_TOKEN=SECRET) + self.failed("--debug", HF_TOKEN=SECRET)
        assert SECRET not in said and "CalledProcessError" in said

    def test_told_to_be_quiet_it_prints_no_command(self):
        said = self.failed("--quiet", "--hub_token", SECRET)
        assert SECRET not in said and "CalledProcessError" not in said and WARNING in said
