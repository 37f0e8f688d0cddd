"""What is recorded when a run begins; licences, found where model and data come from."""

import sys

import pytest
from support.tiny import tiny_task

from mulki_hf.config.recipes import default_settings
from mulki_hf.data.unlabelled import Reference
from mulki_hf.errors import ConfigurationError
from mulki_hf.records import BaseModel, ReferenceRecord, TaskRecord
from mulki_hf.results import StreamResults
from mulki_hf.runs import records
from mulki_hf.runs.records import describe_base, describe_method, look_up_licences, new_results, reference_record


def of_the_hub() -> StreamResults:
    """Of a model and a first task from the Hub; nobody said what their licences are."""
    datasets = ("timm/oxford-iiit-pet", "embedded:digits", "local files")
    tasks = [TaskRecord(f"task {n}", dataset, ["a", "b"], ["{}"], 10, 5) for n, dataset in enumerate(datasets)]
    name = "openai/clip-vit-base-patch16"
    return StreamResults("mulki", "til", tasks, BaseModel(name, name, "main"))


class TestLicences:
    def test_base(self, tmp_path):
        (tmp_path / "README.md").write_text("---\nlicense: bsd\n---\n# Mine\n")
        assert describe_base(str(tmp_path), "main", None) == BaseModel(tmp_path.name, license="bsd")
        assert describe_base(str(tmp_path), "main", "mit").license == "mit"
        assert describe_base("clip-nano", "main", None) == BaseModel("clip-nano", license="apache-2.0")
        assert describe_base("org/clip", "v1", None) == BaseModel("org/clip", "org/clip", "v1")

    def test_a_card_that_is_no_yaml_is_no_licence(self, tmp_path):
        (tmp_path / "README.md").write_text("---\nlicense: [\n---\n# Mine\n")
        assert describe_base(str(tmp_path), "main", None).license is None

    def test_are_looked_up_on_the_hub(self, monkeypatch):
        results = of_the_hub()
        known = {"openai/clip-vit-base-patch16": "mit", "timm/oxford-iiit-pet": "cc-by-sa-4.0"}
        monkeypatch.setattr(records, "licence_of", lambda kind, repo_id, token: known[repo_id])
        look_up_licences(results)
        assert (results.base.license, results.tasks[0].license, results.tasks[1].license) == (
            "mit",
            "cc-by-sa-4.0",
            None,
        )

    def test_of_reference_texts(self, monkeypatch):
        results = of_the_hub()
        results.reference = ReferenceRecord("local files", 9, texts=5, text_dataset="org/captions")
        asked = []
        monkeypatch.setattr(records, "licence_of", lambda kind, repo_id, token: asked.append(repo_id) or "mit")
        look_up_licences(results)
        assert (results.reference.license, results.reference.text_license) == (None, "mit")
        assert "org/captions" in asked and "local files" not in asked

    def test_no_hub_no_licence(self):
        results = of_the_hub()
        look_up_licences(results)
        assert results.base.license is None and results.tasks[0].license is None


@pytest.mark.parametrize(("method", "prototypes"), [("mulki", True), ("snd", False), ("finetune", False)])
def test_of_a_method_whether_it_leaves_prototypes(method, prototypes):
    settings = default_settings() | {"method": method, "train_towers": "both"}
    assert new_results(settings, [], BaseModel("base"), None).about.prototypes == prototypes


def test_of_the_data_what_they_hold(tmp_path):
    settings = default_settings() | {"train_towers": "both"}
    tasks = [tiny_task(fingerprint="ab"), tiny_task("other")]
    reference = reference_record(Reference(tasks[0].train.select_columns(["image"]), "org/pictures", "cd"))
    new_results(settings, tasks, BaseModel("base"), reference).save(tmp_path)
    results = StreamResults.load(tmp_path)
    assert [task.fingerprint for task in results.tasks] == ["ab", None]
    assert (results.reference.dataset, results.reference.fingerprint) == ("org/pictures", "cd")
    assert reference_record(None) is None


def test_results_import_no_method(tmp_path, monkeypatch):
    """They may come from anywhere."""
    (tmp_path / "anywhere.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    results = of_the_hub()
    results.method = "anywhere:Own"
    with pytest.raises(ConfigurationError, match="results of the unknown method 'anywhere:Own': .*nobody has imported"):
        describe_method(results)
    assert "anywhere" not in sys.modules
