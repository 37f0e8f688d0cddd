"""Weight space in training: what comes out wherever it ends, and what is evaluated on the way."""

import copy
from types import SimpleNamespace

import pytest
import torch
from support.tiny import tiny_model
from support.training import trainer_of
from transformers import EarlyStoppingCallback, TrainerCallback

from mulki_hf.adaptation import adapt
from mulki_hf.adaptation.lora import add_lora


class Stop(TrainerCallback):
    """Ends training after a step, as early stopping does; keeps the weights before and after each step."""

    def __init__(self, step: int):
        self.step = step
        self.path = []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.path.append(copy.deepcopy(model.state_dict()))

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.path.append(copy.deepcopy(model.state_dict()))
        control.should_training_stop = state.global_step == self.step


@pytest.mark.parametrize(("stop", "taken"), [(3, [0, 3]), (10, [0, 10]), (13, [0, 10, 13])])
def test_training_that_stops_early_is_not_thrown_away(make_args, processor, stop, taken):
    callback = Stop(stop)
    args = make_args(max_steps=40, average_every=10, merge_alpha=0.0)
    trainer = trainer_of(tiny_model(), args, processor, callbacks=[callback])
    trainer.train()
    assert len(callback.path) == stop + 1
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, sum(callback.path[step][name] for step in taken) / len(taken))


def test_going_on_after_a_shorter_run_averages_as_if_uninterrupted(make_args, processor):
    """The first run is shorter than the distance of two samples."""
    states = []
    schedule = {"average_every": 6, "lr_scheduler_type": "constant", "save_strategy": "steps", "save_steps": 4}
    for lengths in ([12], [4, 12]):
        for number, steps in enumerate(lengths):
            args = make_args(max_steps=steps, output_dir=make_args().output_dir + str(len(lengths)), **schedule)
            trainer = trainer_of(tiny_model(), args, processor)
            trainer.train(resume_from_checkpoint=number > 0)
        states.append(trainer.model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=1e-6)


def test_a_retry_with_a_smaller_batch_begins_its_average_again(make_args, processor):
    """auto_find_batch_size: the first try ran out of memory after two samples."""
    callback, tries = Stop(4), []
    args = make_args(auto_find_batch_size=True, max_steps=4, average_every=1, merge_alpha=0.0)
    trainer = trainer_of(tiny_model(), args, processor, callbacks=[callback])
    compute_loss = trainer.compute_loss

    def too_large(model, inputs, **kwargs):
        if len(inputs["labels"]) == 8 and trainer.state.global_step == 2:
            tries.append(len(callback.path))
            raise RuntimeError("CUDA out of memory.")
        return compute_loss(model, inputs, **kwargs)

    trainer.compute_loss = too_large
    trainer.train()
    path = callback.path[tries[0] :]
    assert len(tries) == 1 and len(path) == 5
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, sum(state[name] for state in path) / 5)


class Look(TrainerCallback):
    """What was evaluated, and the student behind it."""

    def __init__(self):
        self.losses = []
        self.weights = []

    def on_evaluate(self, args, state, control, metrics=None, model=None, **kwargs):
        self.losses.append(metrics["eval_loss"])
        self.weights.append({name: p.detach().clone() for name, p in model.named_parameters()})

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.raw = {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("lora", [{}, {"lora_r": 2}], ids=["full", "LoRA"])
@pytest.mark.parametrize("steps", [3, 4])
def test_evaluation_in_training_is_of_what_would_be_returned(make_args, processor, lora, steps):
    """And leaves the weights in training as they are."""
    settings = {"learning_rate": 1e-2, "average_every": 2, "merge_alpha": 0.2} | lora
    args = make_args(max_steps=steps, eval_strategy="steps", eval_steps=1, **settings)
    student = add_lora(tiny_model(), args) if lora else tiny_model()
    look = Look()
    teachers = {} if lora else {"previous_model": tiny_model(1)}
    trainer = trainer_of(student, args, processor, callbacks=[look], **teachers)
    trainer.train()
    assert len(look.losses) == steps
    assert trainer.evaluate()["eval_loss"] == pytest.approx(look.losses[steps - 1], rel=1e-4)
    assert all(torch.equal(value, look.weights[steps - 1][name]) for name, value in look.raw.items())
    assert any(not torch.equal(look.raw[name], p) for name, p in trainer.model.named_parameters())


def test_early_stopping_returns_the_model_that_it_measured(make_args, processor):
    args = make_args(
        max_steps=12, eval_strategy="steps", eval_steps=1, average_every=5, learning_rate=3e-2,
        metric_for_best_model="eval_loss", greater_is_better=False,
    )  # fmt: skip
    look = Look()
    callbacks = [look, EarlyStoppingCallback(early_stopping_patience=1)]
    trainer = trainer_of(tiny_model(), args, processor, callbacks=callbacks)
    trainer.train()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(look.losses[trainer.state.global_step - 1], rel=1e-4)


@pytest.mark.parametrize(
    ("device", "rank", "large", "where"),
    [("cpu", 0, False, "memory"), ("cpu", 0, True, "disk"), ("cuda", 0, True, "memory"), ("cuda", 1, True, None)],
)
@pytest.mark.parametrize("lora", [{}, {"lora_r": 2}], ids=["full", "LoRA"])
def test_where_the_average_lies(make_args, monkeypatch, device, rank, large, where, lora):
    """On the main process alone; on an accelerator in its memory, of adapters too."""
    monkeypatch.setattr("mulki_hf.adaptation.base.LARGE", 1 if large else 2**24)
    args = make_args(**lora)
    adaptation = adapt(add_lora(tiny_model(), args) if lora else tiny_model(), args)
    place = {"device": torch.device(device), "process_index": rank, "average_on_disk": None, "output_dir": "out"}
    average = adaptation.running_average(10, SimpleNamespace(**place))
    assert (average and ("memory" if average.folder is None else "disk")) == where
