"""What `results.json` holds, written and read again."""

import json
from typing import ClassVar

import pytest
from support.results import ROWS, empty_results, make_results

from mulki_hf.errors import ConfigurationError
from mulki_hf.metrics import continual_metrics
from mulki_hf.results import StreamResults


class TestFile:
    @pytest.mark.parametrize("finished", [0, 1, 2])
    def test_round_trip(self, tmp_path, finished):
        results = make_results(finished)
        results.save(tmp_path)
        assert StreamResults.load(tmp_path) == results
        assert [path.name for path in tmp_path.iterdir()] == ["results.json"]

    def test_is_json_that_people_can_read(self, tmp_path):
        make_results().save(tmp_path)
        text = (tmp_path / "results.json").read_text(encoding="utf-8")
        assert json.loads(text)["accuracy"] == ROWS
        assert "Straßenschilder" in text and text.endswith("}\n")

    def test_undefined_metrics_are_null(self, tmp_path):
        results = empty_results("only", method="snd", protocol="cil", zero_shot=[10.0])
        results.add({results.protocol: [60.0]})
        results.save(tmp_path)
        assert "NaN" not in (tmp_path / "results.json").read_text()
        assert StreamResults.load(tmp_path).metrics["transfer"] is None

    def test_failing_to_write_keeps_the_old_file(self, tmp_path):
        results = make_results(1)
        results.save(tmp_path)
        results.config = {"broken": object()}
        with pytest.raises(TypeError):
            results.save(tmp_path)
        assert StreamResults.load(tmp_path) == make_results(1)

    @pytest.mark.parametrize("text", ["", "{", "[1, 2]", "7", "{}", '{"method": "mulki"}', '{"a": 1}', "\udcff"])
    def test_broken_file(self, tmp_path, text):
        (tmp_path / "results.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ConfigurationError, match="can't read results from .*results.json"):
            StreamResults.load(tmp_path)

    def test_missing_file(self, tmp_path):
        with pytest.raises(ConfigurationError, match="can't read results"):
            StreamResults.load(tmp_path)


class TestMetrics:
    def test_come_with_the_last_task(self):
        results = make_results(0)
        for row in ROWS:
            assert results.metrics == {}
            results.add({"til": row})
        assert results.metrics == continual_metrics(ROWS, [50.0, 40.0])
        assert results.finished == 2


class TestProtocols:
    """One pass over the images, several rules of competition."""

    ROWS: ClassVar = {"til": [[80.0, 40.0], [70.0, 90.0]], "cil": [[75.0, 30.0], [60.0, 85.0]]}

    def results(self, finished: int = 2) -> StreamResults:
        results = empty_results("a", "b")
        results.measured({"til": [50.0, 45.0], "cil": [50.0, 20.0]})
        for position in range(finished):
            results.add({name: rows[position] for name, rows in self.ROWS.items()})
        return results

    @pytest.mark.parametrize("finished", [0, 1, 2])
    def test_round_trip(self, tmp_path, finished):
        results = self.results(finished)
        results.save(tmp_path)
        loaded = StreamResults.load(tmp_path)
        assert loaded == results and loaded.finished == finished
        assert loaded.of("cil") == results.others["cil"]
        assert loaded.of("cil").zero_shot == [50.0, 20.0]

    def test_the_headline_is_the_streams_own(self):
        results = self.results()
        assert results.of("til") is results and set(results.others) == {"cil"}
        assert results.accuracy == self.ROWS["til"] and results.of("cil").accuracy == self.ROWS["cil"]

    def test_each_has_its_metrics_with_the_last_task(self):
        assert self.results(1).of("cil").metrics == {}
        results = self.results()
        assert results.metrics == continual_metrics(self.ROWS["til"], [50.0, 45.0])
        assert results.of("cil").metrics == continual_metrics(self.ROWS["cil"], [50.0, 20.0])
        assert results.metrics["last"] == 80.0 and results.of("cil").metrics["last"] == 72.5
