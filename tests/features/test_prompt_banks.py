"""Prompts beside the task's own: which a step draws, what is said of them, and what a frozen text tower makes of it."""

from types import SimpleNamespace

import pytest
import torch
from support.tiny import tiny_model, tiny_task

from mulki_hf import ConfigurationError, MulKITrainer
from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.features.prompt_banks import PromptBank, joined, prompt_banks
from mulki_hf.models.encoding import encode_classes
from mulki_hf.objectives import OBJECTIVES, Objective


EARLIER = [tiny_task("shapes", ["circle", "square", "cross"], templates=["a {}.", "the shape {}"])]


def rows_of(bank: PromptBank, step: int) -> list[int]:
    """The rows that belong to a step."""
    rows = bank.of_step(torch.arange(len(bank.input_ids)), step).tolist()
    assert len(rows) == bank.drawn
    return rows


class TestDraws:
    def bank(self, per_step: int, seed: int = 3) -> PromptBank:
        return PromptBank(torch.arange(20).view(10, 2), per_step, (seed, 0))

    def test_are_parts_without_repetition_and_differ_from_step_to_step(self):
        draws = [rows_of(self.bank(4), step) for step in range(50)]
        assert all(len(set(drawn)) == 4 for drawn in draws)
        assert len(set(map(tuple, draws))) > 40
        assert set().union(*draws) == set(range(10))

    def test_depend_on_seed_and_step_alone(self):
        one, other = self.bank(4), self.bank(4)
        for step in (7, 0, 7, 3):
            rows_of(one, step)
        assert rows_of(one, 7) == rows_of(other, 7) != rows_of(self.bank(4, seed=4), 7)

    @pytest.mark.parametrize("per_step", [0, 10, 99])
    def test_all_in_order_where_there_are_no_more(self, per_step):
        assert rows_of(self.bank(per_step), 5) == list(range(10))


def test_ids_of_several_widths_are_padded_on_the_right():
    ids = joined([torch.ones(2, 3).long(), torch.full((1, 5), 2)], padding=9)
    assert ids.tolist() == [[1, 1, 1, 9, 9], [1, 1, 1, 9, 9], [2, 2, 2, 2, 2]]


class TestBanks:
    def of(self, processor, needs, earlier=EARLIER, texts=(), **per_step):
        objective = SimpleNamespace(needs=needs, per_step=per_step)
        args = SimpleNamespace(device=torch.device("cpu"), seed=0, data_seed=None)
        return prompt_banks(objective, processor, earlier, texts, args)

    def test_nothing_that_nobody_needs(self, processor):
        assert self.of(processor, {"original.image", "reference"}) == {}

    def test_prompts_of_earlier_tasks_once_each(self, processor):
        bank = self.of(processor, {"previous.earlier"}, earlier=[*EARLIER, *EARLIER])["earlier"]
        assert len(bank.input_ids) == 6

    def test_no_earlier_task(self, processor):
        assert len(self.of(processor, {"earlier"}, earlier=[])["earlier"].input_ids) == 0

    def test_a_reference_text_that_is_too_long_is_named(self, processor):
        long = "word " * 200
        with pytest.raises(ConfigurationError, match="reference text 'word word.* tokens, the model reads"):
            self.of(processor, {"original.texts"}, texts=["short", long])


class Holds(Objective):
    """Reads everything that there is of prompts, and keeps it."""

    needs = frozenset({"earlier", "words", "previous.earlier", "original.words", "original.texts", "previous.text"})
    seen: list

    @property
    def per_step(self):
        return {"earlier": 4, "words": 3}

    def retention(self, batch):
        type(self).seen.append(batch)
        loss = (batch.words - batch.original.words).square().sum()
        if len(batch.earlier):
            loss = loss + (batch.earlier - batch.previous.earlier).square().sum()
        return {"held": loss}


@pytest.fixture
def holds(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "holds", Holds)
    Holds.seen = []
    return Holds.seen


def train(make_args, processor, **kwargs):
    args = make_args(method="holds", **{"max_steps": 2, "learning_rate": 0.0} | kwargs.pop("args", {}))
    models = {"original_model": tiny_model(1), "previous_model": tiny_model(2)}
    trainer = MulKITrainer(
        tiny_model(2), args, tiny_task(), processor, **models | kwargs, reference_texts=["a red circle", "blue"]
    )
    trainer.train()
    return trainer


class TestInTraining:
    def test_student_and_teachers_say_what_the_models_say(self, make_args, processor, holds):
        trainer = train(make_args, processor, earlier_tasks=EARLIER)
        original, previous = tiny_model(1), tiny_model(2)
        for step, batch in enumerate(holds):
            for part, teacher, said in (
                ("earlier", previous, batch.previous.earlier),
                ("words", original, batch.original.words),
            ):
                bank = trainer.features.banks[part]
                ids = {"input_ids": bank.of_step(bank.input_ids, step)}
                torch.testing.assert_close(said, encode_classes(teacher, ids, len(said)), rtol=0, atol=1e-6)
                # The student is the previous teacher's twin, at a learning rate of zero.
                own = encode_classes(previous, ids, len(said))
                torch.testing.assert_close(getattr(batch, part).detach(), own, rtol=0, atol=1e-6)
                assert getattr(batch, part).requires_grad
            assert (len(batch.earlier), len(batch.words), len(batch.original.texts)) == (4, 3, 2)
            torch.testing.assert_close(batch.previous.text, batch.text.detach(), rtol=0, atol=1e-6)
        assert not torch.equal(holds[0].earlier, holds[1].earlier)

    def test_first_task_has_no_earlier_ones(self, make_args, processor, holds):
        train(make_args, processor)
        assert len(holds[0].earlier) == len(holds[0].previous.earlier) == 0
        assert len(holds[0].words) == 3

    def test_the_task_itself_is_as_without(self, make_args, processor, holds):
        train(make_args, processor, earlier_tasks=EARLIER)
        task = tiny_task()
        prompts = tokenize_prompts(processor, task.class_names, task.templates)
        expected = encode_classes(tiny_model(2), prompts, len(task.class_names))
        torch.testing.assert_close(holds[0].text.detach(), expected, rtol=0, atol=1e-6)

    def test_a_frozen_text_tower_says_what_it_said_and_no_gradient_comes_of_it(self, make_args, processor, holds):
        args = {"train_towers": "vision", "learning_rate": 1e-2}
        train(make_args, processor, earlier_tasks=EARLIER, args=args)
        for batch in holds:
            assert not batch.earlier.requires_grad and not batch.words.requires_grad
            torch.testing.assert_close(batch.earlier, batch.previous.earlier, rtol=0, atol=1e-6)
        assert not torch.equal(holds[0].earlier, holds[1].earlier)

    def test_micro_batches_of_a_step_see_the_same_prompts(self, make_args, processor, holds):
        args = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
        train(make_args, processor, earlier_tasks=EARLIER, args=args)
        assert len(holds) == 4
        for first, second in (holds[:2], holds[2:]):
            assert torch.equal(first.previous.earlier, second.previous.earlier)
            assert torch.equal(first.earlier, second.earlier)
        assert not torch.equal(holds[0].previous.earlier, holds[2].previous.earlier)

    def test_a_resumed_step_draws_what_it_would_have_drawn(self, make_args, processor, holds):
        args = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
        trainer = train(make_args, processor, earlier_tasks=EARLIER, args=args)
        whole = [batch.previous.earlier for batch in holds]
        holds.clear()
        trainer.train(resume_from_checkpoint=f"{trainer.args.output_dir}/checkpoint-2")
        assert len(holds) == 2
        assert all(torch.equal(a, b.previous.earlier) for a, b in zip(whole[2:], holds, strict=True))
