"""What the results say of where they come from, and what they don't."""

import re

import pytest
import torch
from accelerate import Accelerator
from support.hub import SECRET

from mulki_hf.runs.provenance import command_line, git_commit, hardware, library_versions, provenance


@pytest.fixture
def accelerator():
    return Accelerator(cpu=True)


class TestCommand:
    @pytest.mark.parametrize(
        "option",
        [["--hub_token", SECRET], [f"--hub_token={SECRET}"], ["--hub-token", SECRET], [f"--hub-token={SECRET}"]],
    )
    def test_no_token(self, accelerator, option):
        command = command_line(["--config", "quickstart", *option, "--seed", "3"], accelerator)
        assert SECRET not in command
        assert command.replace("-token", "_token").startswith(
            "python -m mulki_hf.train --config quickstart --hub_token"
        )
        assert command.endswith("--seed 3")

    def test_no_folders(self, accelerator):
        argv = ["--config", "/home/ann/my stream.yaml", "--output_dir=/data/ann/out", "--tasks"]
        argv.append("{name: a, dataset: /home/ann/pets, templates: ['cat and/or {}', 'a / b']}")
        command = command_line(argv, accelerator)
        assert "ann" not in command
        for kept in ("'my stream.yaml'", "--output_dir=out", "dataset: pets", "and/or {}", "a / b"):
            assert kept in command.replace("'\"'\"'", "'")

    def test_accelerate(self, accelerator, monkeypatch):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        assert command_line([], accelerator) == "accelerate launch -m mulki_hf.train"


def test_a_secret_in_any_other_place(accelerator):
    assert SECRET not in str(provenance(accelerator, ["--hub_model_id", f"x{SECRET}"], [None, SECRET]))


def test_git_commit():
    assert git_commit() is None or re.fullmatch(r"[0-9a-f]{40}( with local changes)?", git_commit())


def test_hardware_and_versions(accelerator):
    assert re.fullmatch(r"1 process on \d+ CPU cores", hardware(accelerator))
    # The build, `+cu130`, is not part of the version that pip knows.
    assert library_versions()["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
