"""What the results say of where they come from, and what they don't."""

import re
import subprocess
from dataclasses import dataclass
from typing import Annotated

import pytest
import torch
import yaml
from accelerate import Accelerator
from support.hub import SECRET

from mulki_hf.hub.shareable import PATH
from mulki_hf.objectives import Finetune
from mulki_hf.runs.provenance import command_line, git_commit, hardware, library_versions, provenance


@dataclass
class ListingArguments:
    listed: Annotated[str, PATH] | None = None
    said: str = ""


class Listing(Finetune):
    NAME = f"{__name__}:Listing"
    arguments = ListingArguments


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

    def test_is_for_a_shell_and_names_pass_untouched(self, accelerator):
        task = "{name: a, dataset: /home/ann/pets, class_names: [/m/0k4j, /, 'w /o  x'], templates: ['~/{} /x/y']}"
        block = 'name: b\ndataset: org/b\nclass_names: ["it\'s", /m/1]\n'
        rest = [
            "--lora_targets",
            r".*/x\.\d+|/y",
            "--templates",
            "/a/b {}",
            "tab\t'{}' \\n",
            "--config=/home/ann/c.yaml",
        ]
        command = command_line(
            ["--tasks", task, block, *rest, "--reference_data_files", '["/home/ann/x"]'], accelerator
        )
        assert "\n" not in command and "ann" not in command
        words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True)
        _, _, _, _, first, *others = words.stdout.split("\0")[:-1]
        shared = yaml.safe_load(task) | {"dataset": "pets"}
        assert yaml.safe_load(first) == shared and "\n" not in first
        assert others == [block, *rest[:-1], "--config=c.yaml", "--reference_data_files", "[x]"]

    def test_no_folders_of_a_method_of_the_users(self, accelerator):
        argv = ["--listed", "/home/ann/names.txt", "--method", Listing.NAME, "--said=/home/ann/x"]
        command = command_line(argv, accelerator, Listing.NAME)
        assert command.endswith(f"--listed names.txt --method {Listing.NAME} --said=/home/ann/x")

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
