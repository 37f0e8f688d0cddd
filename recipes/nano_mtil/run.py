"""Learn the streams of nano-MTIL: `python recipes/nano_mtil/run.py grid --output_dir runs/nano_mtil`.

    tuning      each method's trials, on validation splits: one order, one seed
    grid        methods x orders x seeds, with the settings that tuning chose
    ablation    the variants of one method, beside itself

All methods of a seed and an order come first, then the next order, then the next seed: what is there at any time can be
compared. The same command goes on where it was stopped; `table.py` shows what there is.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

from grid import GRID, STAGES, Grid, Run

from mulki_hf.errors import ConfigurationError
from mulki_hf.report.tables import duration, percent
from mulki_hf.results import StreamResults
from mulki_hf.runs.folder import holds_run, named_folders
from mulki_hf.runs.stopping import Stopped, stoppable


SHOWN = ("transfer", "avg", "last")
TAIL = 15
"""Lines of a failed run's log that are shown."""


def main(argv: list[str] | None = None) -> None:
    """The command; what a person can mend, and failed runs, end with status 1, Ctrl-C with 130, SIGTERM with 143."""
    try:
        with stoppable(), hanging_up():
            args = arguments(argv)
            grid = Grid.load(args.grid)
            failed = Queue(grid.runs(args.stage, args.methods, args.seeds, args.orders), args).work()
    except KeyboardInterrupt as stop:
        print("stopped: finished runs are kept; the same command goes on with the others", file=sys.stderr)
        sys.exit(stop.status if isinstance(stop, Stopped) else 130)
    except ConfigurationError as error:
        sys.exit(f"error: {error}")
    for run, log in failed.items():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        print("\n  ".join([f"\nfailed: {run}; the end of {log}:", *lines]), file=sys.stderr)
    sys.exit(1 if failed else 0)


@contextmanager
def hanging_up() -> Iterator[None]:
    """Inside the block the terminal's end (SIGHUP) counts as SIGTERM; behind `nohup` it stays ignored."""
    number = getattr(signal, "SIGHUP", None)  # Windows has none
    if number is None or signal.getsignal(number) in (signal.SIG_IGN, None):
        yield
        return

    def stop(*_: Any) -> None:
        # Kernel and shell both say it, and a second SIGTERM would not wait for what is learned.
        signal.signal(number, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, before)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--methods", type=words, help="rows of grid.yaml, or variants of its ablation: a,b")
    parser.add_argument("--seeds", type=numbers, help="of those in grid.yaml: 0,1")
    parser.add_argument("--orders", type=numbers, help="of those in grid.yaml: 1")
    parser.add_argument("--workers", type=int, default=cores(), help="runs at a time (default: the cores, %(default)s)")
    parser.add_argument("--keep_checkpoints", action="store_true", help="of finished runs, too: 15 MB a task")
    parser.add_argument("--grid", type=Path, default=GRID, help="default: the one beside this script")
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f"--workers must be >= 1, got {args.workers}")
    return args


def words(text: str) -> list[str]:
    """`a,b`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise argparse.ArgumentTypeError(f"must be separated by commas, without gaps, got {text!r}")
    return parts


def numbers(text: str) -> list[int]:
    """`0,1,2`."""
    try:
        return [int(part) for part in words(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be whole numbers, separated by commas, got {text!r}") from None


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Queue:
    """Runs that are learned a few at a time, each in a process with its share of the cores.

    Args:
        runs: those to learn; what is finished is left out.
        args: the command's.

    Raises:
        ConfigurationError: a run's settings can't be used, or its folder holds other ones.
    """

    def __init__(self, runs: list[Run], args: argparse.Namespace):
        self.output, self.workers, self.keep = args.output_dir.absolute(), args.workers, args.keep_checkpoints
        self.seconds: dict[str, list[float]] = {}
        self.runs = []
        for run in runs:
            if run.finished(self.output) is None:
                self.runs.append(run)
            else:
                self._tidy(run)
        self.began, self.total = len(runs) - len(self.runs), len(runs)
        self.lock, self.stopped = threading.Lock(), False
        self.processes: set[subprocess.Popen] = set()

    def work(self) -> dict[Run, Path]:
        """Learn them; returns those that failed, with their logs."""
        runs = "1 run" if self.total == 1 else f"{self.total} runs"
        print(f"{runs}, {self.began} of them finished; {self.workers} at a time", flush=True)
        failed: dict[Run, Path] = {}
        # Processes are started in threads: no signal can come between a start and its record.
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                waiting, number = {pool.submit(self._learn, run): run for run in self.runs}, self.began
                while waiting:
                    # A signal that reaches another thread does not wake this one, which alone can mind it.
                    for future in wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED).done:
                        run, number = waiting.pop(future), number + 1
                        said = future.result()
                        if said is None:
                            failed[run], said = self._log(run), "failed"
                        print(f"[{number}/{self.total}] {run}: {said}{self._left(waiting)}", flush=True)
            except BaseException:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise
        return failed

    def _learn(self, run: Run) -> str | None:
        """What it came to, in words; None: it failed, or was stopped."""
        folder, log, began = run.folder(self.output), self._log(run), time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        options = [*run.options(self.output), *(["--resume"] if holds_run(folder) else [])]
        # In a session of its own: Ctrl-C reaches it once, through us.
        with log.open("a", encoding="utf-8") as file, self.lock:
            if self.stopped:
                return None
            process = subprocess.Popen(
                [sys.executable, "-m", "mulki_hf.train", *options],
                env=os.environ | {"OMP_NUM_THREADS": str(max(1, cores() // self.workers))},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.processes.add(process)
        status = process.wait()
        with self.lock:
            self.processes.remove(process)
        results = StreamResults.load(folder) if status == 0 else None
        if results is None or not results.metrics:
            return None
        self._tidy(run)
        took = time.monotonic() - began
        self.seconds.setdefault(run.label, []).append(took)
        figures = ", ".join(f"{name.capitalize()} {percent(results.metrics.get(name))}" for name in SHOWN)
        return f"{figures} ({duration(took)})"

    def _log(self, run: Run) -> Path:
        folder = run.folder(self.output)
        return folder.with_name(f"{folder.name}.log")

    def _tidy(self, run: Run) -> None:
        """Delete a finished run's checkpoints, of which its results know all that is compared."""
        folder = run.folder(self.output)
        for name in [] if self.keep else named_folders(folder):
            shutil.rmtree(folder / name, ignore_errors=True)

    def _left(self, waiting: dict[Any, Run]) -> str:
        """How long the others will take, by the runs of their methods, else by all that were learned."""
        known = [seconds for method in self.seconds.values() for seconds in method]
        if not known or not waiting:
            return ""
        seconds = sum(mean(self.seconds.get(run.label, known)) for run in waiting.values())
        return f"; about {duration(seconds / self.workers)} left"

    def _stop(self) -> None:
        """Let no run begin, and end those that are learned as SIGTERM does: what they finished is on the disk."""
        with self.lock:
            self.stopped = True
            for process in self.processes:
                process.terminate()


if __name__ == "__main__":
    main()
