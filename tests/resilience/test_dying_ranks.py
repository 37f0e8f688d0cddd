"""A rank that fails, dies or is stopped ends all of them, with its error, in less than a minute."""

import os
import signal
import sys
import time

import pytest
from accelerate import Accelerator
from support.forked import forked_ranks
from support.interrupt import same
from support.launch import run as start
from transformers import TrainerCallback

from mulki_hf.errors import ConfigurationError
from mulki_hf.program import ends_in_a_line
from mulki_hf.runs import lifeline as lines
from mulki_hf.runs.lifeline import lifeline
from mulki_hf.runs.stopping import stops_in_a_line
from mulki_hf.train import main, run


# Not beside others of their kind: each takes two cores.
pytestmark = pytest.mark.xdist_group("ranks")

STREAM = {"save_strategy": "steps", "save_steps": 1, "per_device_train_batch_size": 4, "max_steps": 4}


class InStep(TrainerCallback):
    """Does something at the third step of the second task."""

    def __init__(self, action, event="on_step_begin"):
        self.action = action
        setattr(self, event, self._do)

    def _do(self, args, state, control, **kwargs):
        if "task2" in args.output_dir and state.global_step == 2:
            self.action()


def fail():
    print(f"at {time.time()}", flush=True)
    raise ZeroDivisionError("a shape that does not fit")


def die():
    print(f"at {time.time()}", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def learn(config, *options, callbacks=()):
    """The command, with callbacks."""
    from mulki_hf import train

    train.run = lambda *args: run(*args, callbacks=callbacks)
    main(["--config", str(config), *options])


def took(printed: str) -> float:
    """Seconds since what a rank did."""
    return time.time() - float(next(line for line in printed.splitlines() if line.startswith("at "))[3:])


def last_line(printed: str) -> str:
    return printed.strip().splitlines()[-1]


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("action", [fail, die])
def test_in_a_step(stream_yaml, tmp_path, bad, action):
    config = stream_yaml(**STREAM)

    def work(rank):
        learn(config, callbacks=[InStep(action)] if rank == bad else [])

    ended = forked_ranks(work, tmp_path / "logs")
    assert took(ended[bad].printed) < 60
    assert ended[bad].status == (1 if action is fail else -signal.SIGKILL)
    assert ended[1 - bad].status == 1
    said = last_line(ended[1 - bad].printed)
    if action is fail:
        assert "ZeroDivisionError: a shape that does not fit\n" in ended[bad].printed
        assert said == f"error: rank {bad}: ZeroDivisionError: a shape that does not fit (where, it says itself)"
    else:
        assert said.startswith(f"error: rank {bad} ended without a word (killed? out of memory?)")


@pytest.mark.long
def test_two_ranks_go_on_as_if_nothing_had_been(stream_yaml, tmp_path):
    """After one was killed in a step, to the bit."""
    config = stream_yaml(**STREAM, random_resized_crop=0.5)
    forked_ranks(lambda rank: learn(config, "--output_dir", str(tmp_path / "whole")), tmp_path / "whole-logs")
    killed = forked_ranks(lambda rank: learn(config, callbacks=[InStep(die)] if rank else []), tmp_path / "logs")
    assert [rank.status for rank in killed] == [1, -signal.SIGKILL]
    further = forked_ranks(lambda rank: learn(config, "--resume"), tmp_path / "further-logs")
    assert [rank.status for rank in further] == [0, 0], further
    same(tmp_path / "whole", tmp_path / "out")


def in_the_loading(rank):
    from mulki_hf import stream

    load = stream.load_processor
    stream.load_processor = lambda *args: fail() if rank == 1 else load(*args)


def in_evaluation(rank):
    from mulki_hf.stream import StreamEvaluator

    cells = StreamEvaluator.cells
    StreamEvaluator.cells = lambda *args, **kwargs: fail() if rank == 1 else cells(*args, **kwargs)


def while_the_main_one_is_waited_for(rank):
    """Rank 1 fails where rank 0 does something for all, which takes a while."""
    from mulki_hf.stream import Stream

    on_main = Stream.on_main
    Stream.on_main = lambda self, action: fail() if rank == 1 else on_main(self, action)


def on_the_main_one(rank):
    """While rank 1 waits."""
    from mulki_hf import stream

    stream.look_up_licences = lambda *args: fail()


def in_what_nobody_interrupts(rank):
    """Rank 0 is busy for hours, as in a collective of a device that never returns."""
    from mulki_hf.stream import Stream

    lines.LEAVING = 2.0
    if rank == 0:
        Stream.measure = lambda self: time.sleep(3600)
    else:
        Stream.measure = lambda self: fail()


@pytest.mark.parametrize(
    ("where", "bad"),
    [
        (in_the_loading, 1), (in_evaluation, 1), (while_the_main_one_is_waited_for, 1), (on_the_main_one, 0),
        (in_what_nobody_interrupts, 1),
    ],
)  # fmt: skip
def test_elsewhere(stream_yaml, tmp_path, where, bad):
    config = stream_yaml(**STREAM)

    def work(rank):
        where(rank)
        learn(config)

    ended = forked_ranks(work, tmp_path / "logs")
    assert [rank.status for rank in ended] == [1, 1]
    assert took(ended[bad].printed) < 60
    assert "ZeroDivisionError: a shape that does not fit\n" in ended[bad].printed
    said = last_line(ended[1 - bad].printed)
    if bad == 0:
        assert said == "error: on the main process: a shape that does not fit"
    else:
        assert said == "error: rank 1: ZeroDivisionError: a shape that does not fit (where, it says itself)"


@pytest.mark.parametrize("how", ["error", "refusal", "death", "stop"])
def test_three_ranks_hear_of_the_same_one(tmp_path, how):
    """The one that ended, whichever their neighbours are."""

    def work(rank):
        accelerator = Accelerator(cpu=True)
        with ends_in_a_line(), stops_in_a_line("all is safe"), lifeline():
            accelerator.wait_for_everyone()
            if rank == 1:
                {"error": fail, "death": die, "refusal": refuse, "stop": stop}[how]()
            accelerator.wait_for_everyone()

    ended = forked_ranks(work, tmp_path / "logs", count=3)
    first, bad, last = ended
    if how == "stop":
        assert [rank.status for rank in ended] == [143] * 3
        assert last_line(first.printed) == "stopped: all is safe" and not last.printed
        return
    assert (first.status, bad.status, last.status) == (1, -signal.SIGKILL if how == "death" else 1, 1)
    expected = {
        "error": "error: rank 1: ZeroDivisionError: a shape that does not fit (where, it says itself)",
        "refusal": "error: rank 1: row 7 of 'pets' is bad",
        "death": "error: rank 1 ended without a word (killed? out of memory?); see what its machine says of it",
    }[how]
    assert (last_line(first.printed), last_line(last.printed)) == (expected, expected)


def refuse():
    raise ConfigurationError("row 7 of 'pets' is bad")


def stop():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


@pytest.mark.parametrize("signalled", [[0], [1], [0, 1]])
def test_a_signal_to_some_stops_all_at_the_same_step(stream_yaml, tmp_path, signalled):
    config = stream_yaml(**STREAM | {"save_strategy": "no"})

    def work(rank):
        ask = InStep(lambda: os.kill(os.getpid(), signal.SIGTERM))
        learn(config, callbacks=[ask] if rank in signalled else [])

    ended = forked_ranks(work, tmp_path / "logs")
    assert [rank.status for rank in ended] == [143, 143]
    said = last_line(ended[0].printed)
    assert said.startswith("stopped: 1 of 2 tasks is finished in ") and "at step 3 (checkpoint-3)" in said
    assert "stopped" not in ended[1].printed and "Traceback" not in ended[0].printed + ended[1].printed
    saved = tmp_path / "out/unfinished/task2-shapes"
    assert sorted(path.name for path in saved.glob("checkpoint-*")) == ["checkpoint-3"]
    assert len(list(saved.glob("checkpoint-3/rng_state_*.pth"))) == 2


LAUNCHED = """
import os, signal, sys
from transformers import TrainerCallback
from mulki_hf import MulKITrainer
from mulki_hf.runs.stopping import leaves_at_once
from mulki_hf.train import main

class Ends(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2 and os.environ["RANK"] == "1":
            if sys.argv[1] == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError("a shape that does not fit")

init = MulKITrainer.__init__

def ending(self, *args, **kwargs):
    init(self, *args, **kwargs)
    self.add_callback(Ends())

MulKITrainer.__init__ = ending
with leaves_at_once():
    main(["--config", "stream.yaml"])
"""


@pytest.mark.long
@pytest.mark.parametrize("how", ["fail", "die"])
def test_under_a_launcher(stream_yaml, tmp_path, how):
    """torchrun's ranks, which it ends when one has failed; it says the same as they do."""
    stream_yaml(**STREAM)
    (tmp_path / "ending.py").write_text(LAUNCHED)
    words = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", 2]
    words += ["--num_machines", 1, "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", 0]
    printed = start(*words, "ending.py", how, cwd=tmp_path, status=1).stderr
    if how == "die":
        assert "error: rank 1 ended without a word (killed? out of memory?)" in printed
        assert "Signal 9 (SIGKILL) received" in printed
    else:
        assert "error: rank 1: ZeroDivisionError: a shape that does not fit" in printed
    assert "stopped: " not in printed and "closed by peer" not in printed
