"""Ranks that wait for one of them, longer than the collectives of a step would."""

import pytest
from support.launch import ranks


# Not beside others of their kind: each takes two cores.
pytestmark = pytest.mark.xdist_group("ranks")

PATIENT = """
import sys, time
from datetime import timedelta
from pathlib import Path
from accelerate import Accelerator, InitProcessGroupKwargs
from mulki_hf.errors import ConfigurationError
from mulki_hf.runs.ranks import main_process_first, on_main_process

accelerator = Accelerator(cpu=True, kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=1))])
cache, rank = Path(sys.argv[1]), accelerator.process_index

def slow(value):
    time.sleep(2.5)
    return value

def load():
    if cache.exists():
        return cache.read_text() + ", from the cache"
    cache.write_text(slow(f"by rank {rank}"))
    return cache.read_text()

def refuse():
    time.sleep(2.5)
    raise ConfigurationError("row 7 is bad")

print(on_main_process(accelerator, lambda: slow(f"of rank {rank}"), share=True))
print(on_main_process(accelerator, lambda: "own"))
print(main_process_first(accelerator, load))
for together in (on_main_process, main_process_first):
    try:
        together(accelerator, refuse)
    except ConfigurationError as error:
        print(error)
try:
    on_main_process(accelerator, lambda: 1 / 0)
except (RuntimeError, ZeroDivisionError) as error:
    print(error)
"""


@pytest.mark.long
def test_two_ranks_wait_for_one_beyond_the_time_out(tmp_path):
    """Its value, its cache and its errors reach the other."""
    main, other = ranks(["-c", PATIENT, tmp_path / "cache"], tmp_path / "patient")
    refused = ["row 7 is bad"] * 2
    assert main.splitlines() == ["of rank 0", "own", "by rank 0", *refused, "division by zero"]
    assert other.splitlines() == [
        "of rank 0", "None", "by rank 0, from the cache", *refused, "on the main process: division by zero",
    ]  # fmt: skip
