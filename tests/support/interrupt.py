"""A run that is stopped as a crash would stop it."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import TrainerCallback

from mulki_hf import MulKITrainer
from mulki_hf.train import main


def interrupted(config, step: int, *options, stage: str = "task2") -> None:
    """Run `config` and stop, as a crash would, in the second task: after `step`, at the latest after training."""
    init, make_connections = MulKITrainer.__init__, MulKITrainer.make_connections

    class Crash(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if stage in args.output_dir and state.global_step == step < state.max_steps:
                raise KeyboardInterrupt

    def with_a_crash(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.add_callback(Crash())

    def crash_at_the_end(self):
        if stage in self.args.output_dir:
            raise KeyboardInterrupt
        make_connections(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MulKITrainer, "__init__", with_a_crash)
        patch.setattr(MulKITrainer, "make_connections", crash_at_the_end)
        with pytest.raises(SystemExit, match="130"):
            main(["--config", str(config), *options])


def same(one: Path, two: Path) -> None:
    """Two runs of the tiny stream ended alike: weights of both tasks to the bit, and every accuracy."""
    for task in ("task1-colours", "task2-shapes"):
        first, second = (load_file(folder / task / "model.safetensors") for folder in (one, two))
        assert first.keys() == second.keys()
        assert all((first[name] == second[name]).all() for name in first)
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (one, two))
    assert (first["zero_shot"], first["accuracy"]) == (second["zero_shot"], second["accuracy"])
