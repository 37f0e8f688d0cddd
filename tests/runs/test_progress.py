"""What a person sees while a stream is learned: on a terminal, and without one."""

import logging
import re
import sys
import warnings
from types import SimpleNamespace

import pytest
from support.interrupt import interrupted
from support.results import empty_results
from support.terminal import COLUMNS, terminal
from support.tiny import tiny_task
from support.training import trainer_of
from transformers import PrinterCallback, ProgressCallback
from transformers.utils import logging as theirs

from mulki_hf import MulKITrainer
from mulki_hf.data.union import union
from mulki_hf.runs.plan import FORWARD_AND_BACK, STEPS
from mulki_hf.runs.progress import Progress, Steps
from mulki_hf.runs.terminal import Bar, Lines, said
from mulki_hf.train import main


BAR = {"disable_tqdm": None, "logging_steps": 1}


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """What a run changes of libraries is the process's."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    active, filters = theirs.is_progress_bar_enabled(), warnings.filters[:]
    yield
    (theirs.enable_progress_bar if active else theirs.disable_progress_bar)()
    warnings.filters[:] = filters


def quiet_lines(screen: list[str]) -> list[str]:
    return [line for line in screen if line and not line.startswith("|")]


class TestOnATerminal:
    """One bar, above it whole lines, and in the end no trace of it."""

    @pytest.fixture
    def seen(self, stream_yaml, monkeypatch):
        """A run in which libraries and the package have something to say amid the first task."""
        learned, logger = MulKITrainer.make_connections, logging.getLogger("some.library")

        def with_words(trainer):
            learned(trainer)
            if "task1" in trainer.args.output_dir:
                logger.warning("of a library: a disk is slow")
                warnings.warn("look at this", UserWarning, stacklevel=1)
                print("in two", end=" ")
                print("parts")

        monkeypatch.setattr(MulKITrainer, "make_connections", with_words)
        monkeypatch.setattr(logger, "propagate", False)
        config = str(stream_yaml(**BAR))
        with terminal() as seen, pytest.MonkeyPatch.context() as patch:
            handler = logging.StreamHandler(sys.stderr)
            patch.setattr(logger, "handlers", [handler])
            # Of pytest, which takes them all.
            patch.setattr(
                warnings, "showwarning", lambda message, *_, **__: print(f"Warning: {message}", file=sys.stderr)
            )
            main(["--config", config])
            assert handler.stream is sys.stderr
        return seen

    def test_the_bar(self, seen):
        bars = [frame for frame in seen.frames if re.match(r"\d+% \|", frame)]
        steps = [bar for bar in bars if "step" in bar]
        for number, name in ((1, "colours"), (2, "shapes")):
            for step in range(1, 5):
                (last, *_) = [bar for bar in steps if f"task {number}/2 {name}  step {step}/4  loss " in bar][-1:]
                assert " s left  " in last and " = task " in last
        assert max(map(len, bars)) <= COLUMNS
        shares = [int(bar.partition("%")[0]) for bar in bars]
        # Frames come ten times a second at most, so that the very last may be missing.
        assert shares == sorted(shares) and shares[0] == 0 and shares[-1] > 90
        assert any("evaluation" in bar for bar in bars) and any("features" in bar for bar in bars)
        assert "\x1b[32m" in seen.raw

    def test_nothing_of_it_is_left(self, seen):
        """And every word that was said amid it stands in a line of its own."""
        *lines, last = quiet_lines(seen.screen)
        assert lines[0].startswith("mulki on 1 process(es), cpu; zero-shot ")
        assert lines[1:4] == [
            "of a library: a disk is slow", "Warning: look at this", "in two parts",
        ]  # fmt: skip
        assert [line.partition(": ")[0] for line in lines[4:]] == ["task 1/2 colours", "task 2/2 shapes"]
        assert last.startswith("Results, pictures and checkpoints: ")
        # No empty lines but those around the tables.
        assert sum(not line for line in seen.screen[:8]) <= 1

    def test_interrupted_it_is_gone(self, stream_yaml):
        with terminal() as seen:
            interrupted(stream_yaml(**BAR), 2)
            assert sys.stdout.isatty()
        lines = quiet_lines(seen.screen)
        assert lines[-1].startswith("stopped: 1 of 2 tasks is finished in ")
        assert not [line for line in lines if "%|" in line.replace(" ", "")]

    def test_told_to_show_no_bars_it_says_lines(self, stream_yaml):
        with terminal() as seen:
            main(["--config", str(stream_yaml(**BAR, method="finetune")), "--disable_tqdm", "true"])
        assert "\r" not in seen.raw.replace("\r\n", "\n")
        assert "task 1/2 colours, step 4/4, loss " in seen.raw

    def test_on_one_that_does_not_say_how_wide_it_is(self):
        with terminal(columns=0) as seen:
            bar = Bar()
            bar.show(0.5, ["task 1/2 colours", "x" * 100], now=True)
            bar.close()
        assert seen.frames[-1].startswith("50% |████████        | task 1/2 colours  xxxx") and len(seen.frames[-1]) < 80

    def test_without_colour(self, stream_yaml, monkeypatch):
        monkeypatch.setenv("NO_COLOR", "1")
        with terminal(columns=50) as seen:
            main(["--config", str(stream_yaml(**BAR, method="finetune"))])
        assert "\x1b[3" not in seen.raw
        bars = [frame for frame in seen.frames if "task 2/2" in frame and "|" in frame]
        assert bars and max(map(len, bars)) <= 50 and any(bar.endswith("…") for bar in bars)


class TestWithoutATerminal:
    def test_plain_lines(self, stream_yaml, capsys):
        main(["--config", str(stream_yaml(**BAR))])
        printed = capsys.readouterr()
        assert "\r" not in printed.out + printed.err
        assert [line.partition(":")[0] for line in printed.out.splitlines()[1:3]] == [
            "task 1/2 colours", "task 2/2 shapes",
        ]  # fmt: skip
        lines = [line for line in printed.err.splitlines() if "step" in line]
        assert len(lines) == 8
        assert lines[0].count("left, task 1/2 colours, step 1/4, loss ") == 1 and " = task " in lines[0]

    def test_there_are_not_too_many(self, stream_yaml, capsys):
        main(["--config", str(stream_yaml(**BAR, method="finetune", max_steps=40, save_strategy="no"))])
        lines = [line for line in capsys.readouterr().err.splitlines() if "step" in line]
        assert len(lines) == 20
        assert "step 4/40" in lines[0] and "step 40/40" in lines[9]

    def test_long_work_is_heard_of(self, capsys, monkeypatch):
        now = [0.0]
        monkeypatch.setattr("mulki_hf.runs.terminal.time.monotonic", lambda: now[0])
        lines = Lines()
        for minute in range(12):
            now[0] = 60.0 * minute
            lines.show(0.25, [f"teachers' features {minute}%"])
        assert capsys.readouterr().err == "25%: teachers' features 5%\n25%: teachers' features 10%\n"


class TestOfLibraries:
    def test_log_level_info_brings_the_rest_back(self, stream_yaml, caplog):
        theirs.enable_progress_bar()
        with terminal(columns=200) as seen:
            main(["--config", str(stream_yaml(**BAR, method="finetune", log_level="info"))])
        frames = seen.frames
        assert any(frame.startswith("{'loss': ") for frame in frames)
        assert any(frame.startswith("Loading weights: ") for frame in frames)
        assert any(frame.startswith("colours: evaluation on every task: ") for frame in frames)
        assert not any(" left  task " in frame for frame in frames)
        theirs.set_verbosity_warning()

    def test_quiet_bars_and_logs_of_theirs_are_not_there(self, stream_yaml):
        with terminal() as seen:
            main(["--config", str(stream_yaml(**BAR, method="finetune"))])
        frames = " ".join(seen.frames)
        assert "{'" not in frames and "Loading weights: " not in frames and "it/s]" not in frames

    @pytest.mark.parametrize(
        ("message", "level", "heard"),
        [
            ("`loss_type=None` was set in the config but it is unrecognized.", logging.WARNING, False),
            ("Using a slow image processor as `use_fast` is unset", logging.WARNING, False),
            ("The checkpoint has weights that the model has not", logging.WARNING, True),
            ("no torchvision, and that is the end", logging.ERROR, True),
        ],
    )
    def test_what_a_person_can_act_on_is_said(self, message, level, heard):
        record = logging.LogRecord("transformers.x", level, "x.py", 1, message, (), None)
        assert said(record) is heard

    def test_a_trainer_alone_has_its_own(self, model, make_args, processor):
        for disabled, kind in ((True, PrinterCallback), (False, ProgressCallback)):
            trainer = trainer_of(model, make_args(disable_tqdm=disabled), processor)
            assert [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, kind)]


class TestRanks:
    """The main process alone shows it; on none has Trainer its own."""

    @pytest.mark.parametrize("main_process", [True, False])
    def test_of_two(self, model, make_args, processor, task, main_process, capsys):
        args, results = make_args(disable_tqdm=False), empty_results("colours")
        rank = SimpleNamespace(is_main_process=main_process, num_processes=2)
        trainer = trainer_of(model, args, processor)
        with Progress(args, rank, [task], [task], results) as progress:
            progress.follow(trainer, 0)
            kinds = {type(callback) for callback in trainer.callback_handler.callbacks}
            progress.part("images", 0.5)
        assert not kinds & {ProgressCallback, PrinterCallback}
        assert (Steps in kinds) is main_process
        assert capsys.readouterr().out == ""


def test_all_tasks_at_once_take_the_steps_of_all(make_args):
    args, tasks = make_args(method="joint", max_steps=4), [tiny_task("a", settings={"max_steps": 10}), tiny_task("b")]
    rank = SimpleNamespace(is_main_process=True, num_processes=1)
    plan = Progress(args, rank, [union(tasks)], tasks, empty_results("joint")).plan
    assert plan.work[STEPS, 0] == FORWARD_AND_BACK * args.train_batch_size * 14


def test_the_loop_of_a_table_is_counted_once():
    """By an iterable, or by hand."""
    from mulki_hf.runs.progress import Part

    told: list[tuple[str, float]] = []
    progress = SimpleNamespace(part=lambda *what: told.append(what), mark=lambda: None)
    assert [*Part(progress, ["a", "b"], desc="Words", leave=False)] == ["a", "b"]
    with Part(progress, total=2, desc="by hand") as part:
        part.update()
        part.set_postfix(anything=1)
    assert told == [("words", 0.0), ("words", 0.5), ("words", 1.0), ("by hand", 0.0), ("by hand", 0.5)]
