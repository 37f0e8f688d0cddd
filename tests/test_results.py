"""What `results.json` holds, written and read again."""

import json
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
from support.results import ROWS, empty_results, make_results

from mulki_hf.errors import ConfigurationError
from mulki_hf.metrics import continual_metrics
from mulki_hf.records import ArtefactRecord
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

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("accuracy", "high", "accuracy must be a list, got 'high'"),
            ("accuracy", [["1", 2]], r"accuracy\[0\]\[0\] must be a number, got '1'"),
            ("accuracy", [[True, 2]], r"accuracy\[0\]\[0\] must be a number, got True"),
            ("accuracy", [[float("nan"), 2]], r"accuracy\[0\]\[0\] must be a finite number, got nan"),
            ("accuracy", [[float("inf"), 2]], r"accuracy\[0\]\[0\] must be a finite number, got inf"),
            ("accuracy", [[True, 2]], r"accuracy\[0\]\[0\] must be a number, got True"),
            ("accuracy", [[50, 101]], r"accuracy\[0\] must hold percentages in \[0, 100\], got 101"),
            ("accuracy", [[50]], r"accuracy\[0\] must hold a number for each of the 2 tasks, got 1"),
            ("accuracy", [[50, 50]] * 3, "accuracy has 3 rows for 2 stages"),
            ("accuracy", [50, 50], r"accuracy\[0\] must be a list, got 50"),
            ("zero_shot", [], "zero_shot is empty, but accuracy has 1 rows"),
            ("zero_shot", [1, 2, 3], "zero_shot must hold a number for each of the 2 tasks, got 3"),
            ("metrics", {"avg": "x"}, "metrics.avg must be a number, got 'x'"),
            ("config", [], r"config must be a mapping, got \[\]"),
            ("config", {"method": "snd"}, "method is 'mulki', but config.method 'snd'"),
            ("config", {"protocol": "cil"}, r"protocol is 'til', but config.protocols \['cil'\]"),
            ("config", {"protocols": ["cil", "til"]}, r"protocol is 'til', but config.protocols \['cil', 'til'\]"),
            ("config", {"protocols": "til"}, "protocol is 'til', but config.protocols 'til'"),
            ("config", {"protocols": ["til", "cil"]}, r"others are of \[\], but config.protocols is \['til', 'cil'\]"),
            ("method", 5, "method must be a string, got 5"),
            ("tasks", {}, "tasks must be a list, got {}"),
            ("tasks", [], r"tasks must be at least one, with names of their own, got \[\]"),
            ("base", "clip", "base must be a mapping, got 'clip'"),
            ("base", {}, "base.name is missing"),
            ("others", {"cil": {"accuracy": [[1]]}}, r"others.cil.accuracy\[0\] must hold a number for each of the 2"),
            ("others", {"cil": {"zero_shot": [1, 2]}}, "others.cil must have as many rows as til"),
            ("accuracies", [], "unknown key 'accuracies'; did you mean 'accuracy'"),
            ("artefact", {"folder": "../x"}, "artefact.suffix is missing"),
        ],
    )
    def test_edited_by_hand(self, tmp_path, key, value, message):
        make_results(1).save(tmp_path)
        path = tmp_path / "results.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {key: value}))
        with pytest.raises(ConfigurationError, match=f"can't read results from .*results.json: {message}"):
            StreamResults.load(tmp_path)

    @pytest.mark.parametrize("number", ["1e400", "NaN", "-Infinity"])
    def test_numbers_that_json_does_not_have(self, tmp_path, number):
        make_results(1).save(tmp_path)
        path = tmp_path / "results.json"
        path.write_text(path.read_text("utf-8").replace("80.25", number), "utf-8")
        with pytest.raises(ConfigurationError, match=r"results.json: accuracy\[0\]\[0\] must be a finite number"):
            StreamResults.load(tmp_path)

    @pytest.mark.parametrize("name", ["../x", "a/b", "/x", "..", "", "a\0"])
    def test_names_that_lead_out_of_the_folder(self, tmp_path, name):
        results = make_results(1)
        results.tasks[0].name = name
        results.save(tmp_path)
        with pytest.raises(
            ConfigurationError, match="tasks: a task's name must be a folder's own|name holds the character"
        ):
            StreamResults.load(tmp_path)
        results = make_results(1)
        results.artefact = ArtefactRecord(name, "adapter", "kind", "trained", "details", "tag")
        results.save(tmp_path)
        with pytest.raises(
            ConfigurationError, match="artefact: folder and suffix must be names|folder holds the character"
        ):
            StreamResults.load(tmp_path)

    def test_what_older_versions_wrote(self, tmp_path):
        older = Path(__file__).parent / "report/results_of_0_1.json"
        shutil.copyfile(older, tmp_path / "results.json")
        assert StreamResults.load(tmp_path).finished == 5
        make_results(1).save(tmp_path)
        path = tmp_path / "results.json"
        content = json.loads(path.read_text("utf-8"))
        for task in content["tasks"]:
            del task["facts"]
            task["lora_error"] = 0.25
        path.write_text(json.dumps(content))
        assert StreamResults.load(tmp_path).tasks[0].facts == {"lora_error": 0.25}

    def test_what_was_written_while_there_was_one_protocol(self, tmp_path):
        """By a class-incremental run, before Select-and-Distill's own metrics."""
        shutil.copyfile(Path(__file__).parent / "report/results_of_one_protocol.json", tmp_path / "results.json")
        results = StreamResults.load(tmp_path)
        assert (results.protocol, results.protocols, results.config["protocols"]) == ("cil", ["cil"], ["cil"])
        assert "protocol" not in results.config and not results.others
        ours = continual_metrics(results.accuracy, results.zero_shot)
        assert results.metrics == {name: value for name, value in ours.items() if not name.startswith("snd_")}
        results.save(tmp_path)
        assert StreamResults.load(tmp_path) == results

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
        results.config["protocols"] = ["til", "cil"]
        results.save(tmp_path)
        loaded = StreamResults.load(tmp_path)
        assert loaded == results and loaded.finished == finished
        assert loaded.of("cil") == results.others["cil"]
        assert loaded.of("cil").zero_shot == [50.0, 20.0]

    def test_the_headline_is_the_streams_own(self):
        results = self.results()
        assert results.of("til") is results and set(results.others) == {"cil"}
        assert results.accuracy == self.ROWS["til"] and results.of("cil").accuracy == self.ROWS["cil"]

    def test_before_anything_is_measured_they_are_only_asked_for(self, tmp_path):
        results = empty_results("a", "b", config={"protocols": ["til", "cil"]})
        results.save(tmp_path)
        assert StreamResults.load(tmp_path) == results and results.protocols == ["til"]

    def test_each_has_its_metrics_with_the_last_task(self):
        assert self.results(1).of("cil").metrics == {}
        results = self.results()
        assert results.metrics == continual_metrics(self.ROWS["til"], [50.0, 45.0])
        assert results.of("cil").metrics == continual_metrics(self.ROWS["cil"], [50.0, 20.0])
        assert results.metrics["last"] == 80.0 and results.of("cil").metrics["last"] == 72.5
