"""A signal while steps are taken: a checkpoint of that step, one line, and a run that goes on as one never stopped."""

import os
import re
import signal
import subprocess
import time
import traceback
from contextlib import suppress
from pathlib import Path

import pytest
from support.interrupt import same
from support.tiny import tiny_model, tiny_task
from transformers import TrainerCallback

import mulki_hf
from mulki_hf import MulKIConfig, MulKITrainer
from mulki_hf.runs.steps import StepStop
from mulki_hf.runs.stopping import DEFERRAL, Stopped, leaves_at_once, stoppable, stops_in_a_line
from mulki_hf.train import main, run


STREAM = {"save_strategy": "no", "max_steps": 5}


class At(TrainerCallback):
    """Sends this process a signal at one step of one task, when `event` comes, and once."""

    sent = False

    def __init__(self, number: int, event: str = "on_step_begin", step: int = 2, task: str = "task2"):
        self.number, self.step, self.task = number, step, task
        setattr(self, event, self._send)

    def _send(self, args, state, control, **kwargs):
        if self.task in args.output_dir and state.global_step == self.step and not self.sent:
            self.sent = True
            os.kill(os.getpid(), self.number)


@pytest.fixture
def signalled(monkeypatch):
    """Runs a stream until a signal that a callback sends; its status and what it said."""

    def call(config, callback, *options):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
            patch.setattr("mulki_hf.train.run", lambda *args: run(*args, callbacks=[callback]))
            main(["--config", str(config), *options])
        return end.value.code

    return call


def checkpoints(folder, task="task2-shapes"):
    return sorted(path.name for path in (folder / "unfinished" / task).glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("number", "status", "options"),
    [
        (signal.SIGTERM, 143, {}),
        (signal.SIGINT, 130, {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}),
        pytest.param(
            signal.SIGUSR1,
            138,
            {"stop_on_usr1": True, "random_resized_crop": 0.5, "lora_r": 2, "average_every": 1},
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_step_is_finished_and_saved(stream_yaml, tmp_path, capsys, signalled, number, status, options):
    """The run that goes on ends as one that was never stopped, to the bit."""
    config = stream_yaml(**STREAM | options)
    main(["--config", str(config), "--output_dir", str(tmp_path / "whole")])
    assert signalled(config, At(number)) == status
    # The signal came before the step's first micro-batch.
    assert checkpoints(tmp_path / "out") == ["checkpoint-3"]
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert line == (
        f"stopped: 1 of 2 tasks is finished in {tmp_path / 'out'}, task 2 is at step 3 (checkpoint-3); "
        "go on with --resume"
    )
    main(["--config", str(config), "--resume"])
    same(tmp_path / "whole", tmp_path / "out")
    assert not (tmp_path / "out/unfinished").exists()


@pytest.fixture
def in_a_task(make_args, model, processor):
    """Trains a task to its end, or until a signal that a callback sends; the trainer, and what it did at which step."""
    start = model.state_dict()

    def train(callback=None, resume=None, **options):
        fresh = tiny_model()
        fresh.load_state_dict(start)
        args = make_args(**{"max_steps": 5} | options)
        trainer = MulKITrainer(fresh, args, tiny_task(), processor, callbacks=[callback] if callback else None)
        trainer.did = []
        for name in ("_save_checkpoint", "evaluate"):
            noted(trainer, name)
        if callback is None:
            trainer.train(resume_from_checkpoint=resume)
        else:
            with pytest.raises(Stopped), stoppable():
                trainer.train()
        return trainer

    return train


def noted(trainer, name: str) -> None:
    method = getattr(trainer, name)

    def call(*args, **kwargs):
        trainer.did.append((name, trainer.state.global_step))
        return method(*args, **kwargs)

    setattr(trainer, name, call)


MEASURED = {"eval_strategy": "steps", "eval_steps": 1}


@pytest.mark.parametrize(
    ("event", "step", "options", "saved"),
    [
        # Between two micro-batches of four.
        ("on_substep_end", 2, {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 2}, [3]),
        # Due anyway, by steps and at the end of an epoch, of four steps.
        ("on_step_begin", 1, {"save_strategy": "steps", "save_steps": 2}, [2]),
        ("on_step_begin", 3, {"save_strategy": "epoch"}, [4]),
        # Asked for while what is measured decides whether one is due; it may be, or not.
        ("on_evaluate", 2, {"save_strategy": "best", "metric_for_best_model": "loss"} | MEASURED, [1, 2]),
        ("on_evaluate", 2, {"save_strategy": "best", "metric_for_best_model": "loss", "greater_is_better": True}
         | MEASURED, [1, 2]),
        # The last step of an epoch: what is measured at its end comes first.
        ("on_step_begin", 3, {"eval_strategy": "epoch"}, [4]),
        # After the last step of all, before and after its checkpoint.
        ("on_step_end", 5, {}, [5]),
        ("on_train_end", 5, {"save_strategy": "steps", "save_steps": 5}, [5]),
    ],
)  # fmt: skip
def test_one_checkpoint_whatever_is_saved_otherwise(in_a_task, event, step, options, saved):
    """And what is measured in between is measured once."""
    whole = in_a_task(**options | {"output_dir": "whole"})
    stopped = in_a_task(At(signal.SIGTERM, event, step, task=""), **options)
    assert [step for name, step in stopped.did if name == "_save_checkpoint"] == saved
    further = in_a_task(resume=True, **options)
    assert further.state.global_step == 5
    for name, value in whole.model.state_dict().items():
        assert (value == further.model.state_dict()[name]).all(), name
    measured = [entry for entry in whole.did if entry[0] == "evaluate"]
    assert [entry for entry in stopped.did + further.did if entry[0] == "evaluate"] == measured


def test_without_an_optimizer_nothing_goes_on(in_a_task):
    """save_only_model leaves it out, but not of this one."""
    options = {"save_strategy": "steps", "save_steps": 1, "save_only_model": True}
    stopped = in_a_task(At(signal.SIGTERM, step=1, task=""), **options)
    first, second = (Path(stopped.args.output_dir) / f"checkpoint-{step}/optimizer.pt" for step in (1, 2))
    assert not first.exists() and second.is_file()


def test_an_error_before_the_step_is_over_is_told(stream_yaml, tmp_path, signalled, capsys):
    class Fails(At):
        def on_step_end(self, args, state, control, **kwargs):
            if self.sent:
                raise ZeroDivisionError("an error of its own")

    with pytest.raises(ZeroDivisionError, match="of its own"):
        signalled(stream_yaml(**STREAM), Fails(signal.SIGTERM, step=1, task="task1"))


def test_elsewhere_it_raises_at_once(make_args, model, processor, task):
    """Before the first epoch and after the last; and where nobody asked for it, signals are not touched."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    trainer = MulKITrainer(model, make_args(), task, processor)
    trainer.train()
    assert not DEFERRAL.on and signal.getsignal(signal.SIGTERM) == before


def test_usr1_is_taken_when_asked_alone(stream_yaml, tmp_path):
    assert not any(number == signal.SIGUSR1 for number in signals_of(stream_yaml(**STREAM)))
    assert signal.SIGUSR1 in signals_of(stream_yaml(**STREAM, stop_on_usr1=True))
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def signals_of(config) -> list[int]:
    """Which signals the command handles while it runs."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mulki_hf.train.run",
            lambda *args: seen.extend(n for n in signal.valid_signals() if callable(signal.getsignal(n))),
        )
        main(["--config", str(config)])
    return seen


def test_usr1_where_there_is_none(stream_yaml, monkeypatch):
    monkeypatch.delattr(signal, "SIGUSR1")
    with pytest.raises(SystemExit, match="stop_on_usr1 must be False on this system"):
        main(["--config", str(stream_yaml(stop_on_usr1=True))])


def test_transformers_own_is_refused(tmp_path):
    with pytest.raises(ValueError, match="enable_jit_checkpoint must be left out or False, got True: a signal saves"):
        MulKIConfig(output_dir=str(tmp_path), enable_jit_checkpoint=True, report_to="none", use_cpu=True)


class Slow(TrainerCallback):
    """Writes into a pipe when the third step begins, which then takes so long."""

    def __init__(self, pipe: int, seconds: float):
        self.pipe, self.seconds = pipe, seconds

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            os.write(self.pipe, b".")
            until = time.monotonic() + self.seconds  # a signal that is kept does not end a sleep
            while (left := until - time.monotonic()) > 0:
                time.sleep(left)


@pytest.fixture
def forked(make_args, model, processor):
    """Forks a process, the first of a group, that is in the third step of a task, for so many seconds."""
    children = []

    def fork(seconds, **options):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                with leaves_at_once(), stops_in_a_line("nothing is safe"):
                    args = make_args(max_steps=5, **options)
                    callbacks = [Slow(writing, seconds)]
                    MulKITrainer(model, args, tiny_task(), processor, callbacks=callbacks).train()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writing)
        children.append(child)
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.read(1) == b"."
        return child

    yield fork
    for child in children:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_it_at_once(forked, tmp_path, capfd, second):
    child = forked(60)
    os.kill(child, signal.SIGTERM)
    until = time.monotonic() + 60
    while "SIGTERM: stopping after this step; a second signal ends" not in capfd.readouterr().err:
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(child, second)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == second
    assert not list(tmp_path.rglob("checkpoint-*"))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_workers_outlive_the_signal_that_goes_to_all(forked, tmp_path, capfd, method):
    """As Ctrl-C and Slurm send it, while two more batches are wanted."""
    child = forked(
        1, dataloader_num_workers=1, dataloader_multiprocessing_context=method, dataloader_prefetch_factor=1,
        gradient_accumulation_steps=4, per_device_train_batch_size=2,
    )  # fmt: skip
    os.killpg(child, signal.SIGINT)
    _, status = os.waitpid(child, 0)
    printed = capfd.readouterr().err
    assert os.waitstatus_to_exitcode(status) == 130, printed
    assert printed.splitlines()[-1] == "stopped: nothing is safe" and "Traceback" not in printed
    assert [path.name for path in tmp_path.rglob("checkpoint-*")] == ["checkpoint-3"]


def test_a_deferral_asks_no_other_rank_outside_a_command():
    """A trainer by itself, in somebody's own loop, has no collective in its steps."""
    stop = StepStop()
    stop.on_epoch_begin(None, None, None)
    assert not DEFERRAL.on and stop.due(None, None) == 0


SLURM = {
    # Finds out who is to have the signals of the job's steps; ends as the test says, after them or by itself.
    "srun": '#!/bin/bash\necho "srun $*" >> log\necho $$ > step\ntrap "echo TERM >> log; exit $AFTER" TERM\n'
    'trap "echo USR1 >> log; exit $AFTER" USR1\ntouch begun\n[ -z "$BY_ITSELF" ] || exit $BY_ITSELF\n'
    "while true; do sleep 0.05; done\n",
    "scancel": '#!/bin/bash\necho "scancel $*" >> log\nkill -TERM $(cat step)\n',
    "scontrol": '#!/bin/bash\necho "scontrol $*" >> log\n',
}


@pytest.mark.parametrize(
    ("number", "after", "by_itself", "requeued"),
    [
        (0, 138, None, True), (0, 143, None, False), (0, 0, None, False), (0, None, 0, False), (0, None, 1, False),
        (1, 1, None, True), (1, 0, None, False), (1, None, 0, False), (1, None, 1, False),
    ],
)  # fmt: skip
def test_the_batch_scripts(tmp_path, number, after, by_itself, requeued):
    """As they stand in the README, with Slurm's commands played: stopped by the time they are put back, else not."""
    page = (Path(mulki_hf.__file__).parent / "runs/README.md").read_text(encoding="utf-8")
    script = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", page, re.DOTALL)[number]
    for name, text in SLURM.items() | {("script", script)}:
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "42", "AFTER": str(after)}
    env |= {"BY_ITSELF": "" if by_itself is None else str(by_itself)}
    job = subprocess.Popen(["./script"], cwd=tmp_path, env=env, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while by_itself is None and not (tmp_path / "begun").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        if by_itself is None:
            # To the step, as `--signal=USR1` has it, or to the batch script alone, as `--signal=B:USR1`.
            os.kill(int((tmp_path / "step").read_text()) if number == 0 else job.pid, signal.SIGUSR1)
        assert job.wait(timeout=60) == (after if by_itself is None else by_itself)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
    log = (tmp_path / "log").read_text().splitlines()
    assert ("scontrol requeue 42" in log) == requeued
    assert log[0].startswith("srun ") and "--resume" in log[0]
    assert f"#SBATCH --signal={'B:' * number}USR1@300" in script
