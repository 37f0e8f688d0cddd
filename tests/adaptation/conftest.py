"""A first task learned with LoRA, to go on from."""

import pytest
from support.adapted import merged_model
from support.tiny import tiny_model, tiny_processor
from support.training import short_run, trainer_of

from mulki_hf.adaptation.adapters import save_adapter
from mulki_hf.adaptation.lora import add_lora


TRAINING = {"lora_r": 2, "learning_rate": 1e-2, "average_every": 2}


@pytest.fixture
def lora_args(make_args):
    def make(**overrides):
        return make_args(**TRAINING | overrides)

    return make


@pytest.fixture(scope="session")
def first_task(tmp_path_factory):
    """A model that learned a task, merged, and the folder of its adapter; to be read alone."""
    folder = tmp_path_factory.mktemp("first-task")
    args = short_run(folder / "trainer", **TRAINING)
    model = add_lora(tiny_model(), args)
    trainer_of(model, args, tiny_processor()).train()
    save_adapter(model, folder / "adapter", "tiny", "v1")
    return merged_model(model).eval(), folder / "adapter"


@pytest.fixture
def trained(first_task, lora_args):
    """A model that goes on from there."""
    return add_lora(tiny_model(), lora_args(), first_task[1])
