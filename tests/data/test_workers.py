"""As many processes as there are cores for, and none where they would cost more than they bring."""

import pytest

from mulki_hf import MulKIConfig
from mulki_hf.data import workers
from mulki_hf.data.workers import checking_processes


@pytest.fixture
def cores(monkeypatch):
    """Sets how many there are."""
    monkeypatch.setattr(workers.multiprocessing, "get_start_method", lambda allow_none: "fork")
    return lambda count: monkeypatch.setattr(workers, "usable_cores", lambda: count)


def loader_workers(tmp_path, **given) -> int:
    return MulKIConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", **given).dataloader_num_workers


class TestLoaders:
    @pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 0), (4, 3), (9, 8), (64, 8)])
    def test_by_default_by_the_cores(self, tmp_path, cores, count, expected):
        cores(count)
        assert loader_workers(tmp_path) == expected

    def test_ranks_share_the_cores(self, tmp_path, cores, monkeypatch):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
        cores(16)
        assert loader_workers(tmp_path) == 3

    def test_what_is_given_stays(self, tmp_path, cores):
        cores(16)
        assert [loader_workers(tmp_path, dataloader_num_workers=given) for given in (0, 1, 20)] == [0, 1, 20]
        assert loader_workers(tmp_path, dataloader_prefetch_factor=4) == 8

    def test_none_where_each_is_an_interpreter_of_its_own(self, tmp_path, cores, monkeypatch):
        cores(16)
        monkeypatch.setattr(workers.multiprocessing, "get_start_method", lambda allow_none: "forkserver")
        assert loader_workers(tmp_path) == 0


def test_images_are_checked_on_all_cores_where_that_pays(cores):
    cores(8)
    assert [checking_processes(images) for images in (0, 500, 3999, 5000, 10**6)] == [None, None, None, 2, 8]
    cores(1)
    assert checking_processes(10**6) is None


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
    assert workers.usable_cores() == 3
    monkeypatch.delattr(workers.os, "sched_getaffinity")
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 6)
    assert workers.usable_cores() == 6
