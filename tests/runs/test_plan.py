"""How much of a stream is done, and the time that is left."""

import pytest
from support.training import trainer_of

from mulki_hf.runs.plan import EVALUATION, FILLS, FORWARD_AND_BACK, STEPS, Plan, planned_steps


class Clock:
    """Time as a test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def plan_of(clock, **given) -> Plan:
    """Two tasks of 100 and 300 training images, 10 and 30 steps of 10 images, 200 images evaluated."""
    return Plan(**{"images": [100, 300], "steps": [10, 30], "batch": 10, "evaluated": 200, "clock": clock} | given)


def learn(plan: Plan, clock: Clock, stage: int, before: float, step: float, each: float, after: float = 0.0) -> None:
    """A task: `before` seconds of preparation, `step` for each step, `each` for an image that is evaluated."""
    plan.begin(stage)
    clock.now += before
    steps = int(plan.work[STEPS, stage] / FORWARD_AND_BACK / plan.batch)
    plan.set_steps(stage, steps)
    for number in range(steps):
        clock.now += step
        plan.advance(STEPS, (number + 1) / steps)
    evaluate(plan, clock, each)
    clock.now += after
    plan.end()


def evaluate(plan: Plan, clock: Clock, each: float) -> None:
    for tenth in range(10):
        clock.now += 20 * each
        plan.advance(EVALUATION, (tenth + 1) / 10)


def test_nothing_is_known_at_first(clock):
    plan = plan_of(clock)
    clock.now += 100
    assert plan.left() is None and plan.share == 0


def test_the_zero_shot_evaluation_tells_a_first_time(clock):
    plan = plan_of(clock)
    plan.mark()
    evaluate(plan, clock, each=0.01)
    # Two evaluations of 200 images, and 40 steps of 10 images that cost three times as much.
    assert plan.left() == pytest.approx(2 * 200 * 0.01 + FORWARD_AND_BACK * 40 * 10 * 0.01)


def test_then_steps_evaluations_and_what_surrounds_them(clock):
    plan = plan_of(clock)
    evaluate(plan, clock, each=0.01)
    learn(plan, clock, 0, before=4.0, step=2.0, each=0.02, after=1.0)
    # As long as lately; preparation and saving took 5 s of 100 images.
    assert plan.left() == pytest.approx(30 * 2.0 + 200 * 0.02 + 3 * 5.0, rel=0.1)
    began = plan.left()
    plan.begin(1)
    clock.now += 15.0
    plan.set_steps(1, 30)
    assert plan.left() == pytest.approx(began - 15.0)


def test_what_comes_after_an_evaluation_is_not_forgotten(clock):
    plan = plan_of(clock)
    evaluate(plan, clock, each=0.01)
    learn(plan, clock, 0, before=4.0, step=2.0, each=0.02, after=1.0)
    plan.begin(1)
    clock.now += 12.0
    plan.set_steps(1, 30, done=30)
    evaluate(plan, clock, each=0.02)
    assert plan.left() == pytest.approx(3.0)
    clock.now += 3.0
    plan.end()
    assert plan.left() == 0


def test_what_is_left_falls_as_time_passes_and_ends_at_nothing(clock):
    plan = plan_of(clock)
    evaluate(plan, clock, each=0.01)
    learn(plan, clock, 0, before=3.0, step=1.0, each=0.01)
    shares = [plan.share]
    learn(plan, clock, 1, before=9.0, step=1.0, each=0.01)
    shares.append(plan.share)
    assert 0 < shares[0] < shares[1] == 1 and plan.left() == 0


def test_resumed_it_stands_where_the_stream_does(clock):
    plan = plan_of(clock, finished=1, measured=True)
    assert plan.share == pytest.approx((200 + 300 + 200) / (200 + 300 + 200 + 900 + 200))
    plan.begin(1)
    plan.set_steps(1, 30, done=20)
    before = plan.share
    clock.now += 0.5
    plan.advance(STEPS, 21 / 30)
    assert plan.share > before
    assert plan.left() == pytest.approx(9 * 0.5 + 200 * 0.5 / (FORWARD_AND_BACK * 10))


def test_more_than_was_planned_moves_nothing(clock):
    """Such as columns of earlier rows, which an appended task wants."""
    plan = plan_of(clock, finished=1, measured=True)
    before = plan.share
    evaluate(plan, clock, each=1.0)
    assert plan.share == before and plan.left() is None


@pytest.mark.parametrize(
    "settings",
    [
        {"max_steps": 7},
        {"max_steps": -1, "num_train_epochs": 1.5},
        {"max_steps": -1, "num_train_epochs": 3, "gradient_accumulation_steps": 4},
        {"max_steps": -1, "num_train_epochs": 2, "gradient_accumulation_steps": 2, "dataloader_drop_last": True},
    ],
)
@pytest.mark.parametrize("batch", [3, 5, 8])
def test_steps_as_trainer_counts_them(make_args, model, processor, settings, batch):
    args = make_args(per_device_train_batch_size=batch, **settings)
    trainer = trainer_of(model, args, processor)
    numbers = (args.gradient_accumulation_steps, args.num_train_epochs, args.max_steps, args.dataloader_drop_last)
    assert planned_steps(len(trainer.task.train), batch, *numbers) == trainer._steps()


def test_rows_that_are_filled_are_part_of_it(clock):
    """Of a finished stream that grew: two rows to fill with 50 images each, before its third task."""
    grown = {"images": [100, 300, 100], "steps": [10, 30, 10], "finished": 2, "measured": True, "fills": [50, 50]}
    plan = plan_of(clock, **grown)
    share = plan.share
    for number in range(2):
        plan.begin(FILLS - number)
        clock.now += 5
        plan.advance(EVALUATION, 1.0)
        assert plan.share > share
        share = plan.share
        # What is left of filling, and an evaluation and ten steps of the task to come.
        images = 50 * (1 - number) + 200 + FORWARD_AND_BACK * 10 * 10
        assert plan.left() == pytest.approx(images * 0.1)
    assert plan_of(clock, **grown | {"fills": []}).share > plan_of(clock, **grown).share
