"""Licences, found where model and data come from."""

from mulki_hf.results import BaseModel, StreamResults, TaskRecord
from mulki_hf.runs import records
from mulki_hf.runs.records import describe_base, look_up_licences


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

    def test_no_hub_no_licence(self):
        results = of_the_hub()
        look_up_licences(results)
        assert results.base.license is None and results.tasks[0].license is None
