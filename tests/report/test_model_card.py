"""The card as a function of results: metadata that the Hub reads, and what the text says."""

import dataclasses
import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import EvalResult, ModelCard
from markdown_it import MarkdownIt

from mulki_hf import MulKIConfig, StreamConfig
from mulki_hf.errors import ConfigurationError
from mulki_hf.records import ArtefactRecord, BaseModel, ReferenceRecord, TaskRecord
from mulki_hf.report.model_card import artefact_card, changes_text, task_card
from mulki_hf.report.tables import matrix_table
from mulki_hf.results import StreamResults
from mulki_hf.runs.records import describe_method


DATASETS = ["timm/oxford-iiit-pet", "embedded:digits", "local files"]
ROWS = [[80.0, 41.0, 30.0], [78.0, 90.0, 25.0], [70.0, 88.0, 60.0]]


def make_results(finished: int = 2, method: str = "mulki", protocols: tuple = ("cil",), **config) -> StreamResults:
    tasks = [
        TaskRecord(
            name, dataset, ["cat", "dog"], ["a {}.", "one {}"], 100, 20, "cc-by-sa-4.0" if "/" in dataset else None
        )
        for name, dataset in zip(("pets", "digits", "own"), DATASETS, strict=True)
    ]
    stream = StreamConfig(tasks=[{"name": "pets", "dataset": "x"}], protocols=[*protocols])
    settings = MulKIConfig(output_dir="out", use_cpu=True, method=method, **config).to_dict()
    results = StreamResults(
        method,
        protocols[0],
        tasks,
        BaseModel("openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16", "main", "mit"),
        config=dataclasses.asdict(stream) | settings,
        provenance={"command": "python -m mulki_hf.train", "git_commit": None, "hardware": "1 process on 2 CPU cores"},
        versions={"torch": "2.13.0"},
    )
    describe_method(results)

    def by_protocol(row: list[float]) -> dict[str, list[float]]:
        """Each reads 5 points lower than the one before."""
        return {protocol: [value - 5 * lower for value in row] for lower, protocol in enumerate(protocols)}

    results.measured(by_protocol([50.0, 40.0, 30.0]))
    for row in ROWS[:finished]:
        results.add(by_protocol(row), seconds=90.0)
    return results


def card_of(*args, repo_id="org/mulki-task2", **kwargs) -> ModelCard:
    return ModelCard(task_card(make_results(*args, **kwargs), "task2-digits", repo_id))


class TestMetadata:
    def test_what_the_hub_reads(self):
        data = card_of().data
        assert data.license == "mit"
        assert (data.base_model, data.base_model_relation) == ("openai/clip-vit-base-patch16", "finetune")
        assert data.datasets == ["timm/oxford-iiit-pet"]
        assert data.pipeline_tag == "zero-shot-image-classification"
        assert (data.library_name, data.language, data.metrics) == ("transformers", "en", ["accuracy"])
        assert set(data.tags) == {"clip", "continual-learning", "mulki-hf", "mulki"}

    def test_model_index_has_every_task_and_the_stream(self):
        results = card_of().data.eval_results
        assert all(isinstance(result, EvalResult) for result in results)
        tasks = {r.dataset_name: r.metric_value for r in results if r.metric_type == "accuracy"}
        assert tasks == {"pets, learned": 0.78, "digits, learned": 0.9, "own, not learned": 0.25}
        # Of the first two tasks: transfer 41; avg (80 + 41 + 78 + 90) / 4; last (78 + 90) / 2.
        stream = {r.metric_type: r.metric_value for r in results if r.dataset_type == "stream"}
        assert stream == pytest.approx({"transfer": 0.41, "avg": 0.7225, "last": 0.84}, abs=1e-4)

    def test_first_task_has_no_transfer(self):
        assert {r.metric_type for r in card_of(1).data.eval_results} == {"accuracy", "avg", "last"}

    def test_model_index_names_the_protocol(self):
        """Of other protocols in every name, of the headline in those of the accuracies."""
        alone, results = (card_of(**by).data.eval_results for by in ({}, {"protocols": ("cil", "xtail")}))
        kept = [result for result in results if "xtail" not in result.metric_name]
        assert kept == alone and {r.metric_name for r in alone} == {"Accuracy (cil)", "Transfer", "Avg", "Last"}
        others = {r.metric_name: r.metric_value for r in results if r not in kept and r.dataset_type == "stream"}
        assert others == {"Transfer (xtail)": 0.36, "Avg (xtail)": 0.6725, "Last (xtail)": 0.79}
        tasks = [r.metric_value for r in results if r.metric_name == "Accuracy (xtail)"]
        assert tasks == pytest.approx([0.73, 0.85, 0.2])

    @pytest.mark.parametrize("protocols", [("cil",), ("til", "cil", "xtail")])
    def test_survives_a_round_trip(self, tmp_path, protocols):
        (tmp_path / "README.md").write_text(str(card_of(protocols=protocols)), encoding="utf-8")
        card = ModelCard.load(tmp_path / "README.md")
        card.save(tmp_path / "again.md")
        again = ModelCard.load(tmp_path / "again.md")
        assert again.data.to_dict() == card.data.to_dict() == card_of(protocols=protocols).data.to_dict()
        assert again.text.strip() == card.text.strip()
        assert again.data.eval_results == card.data.eval_results

    def test_local_base_and_data_name_nothing_on_the_hub(self):
        results = make_results()
        results.base = BaseModel("my-clip")
        results.tasks[0].dataset = "local files"
        data = ModelCard(task_card(results, "task2-digits")).data.to_dict()
        assert not {"base_model", "base_model_relation", "datasets", "license"} & set(data)


class TestText:
    def test_says_reconstruction_of_mulki_alone(self):
        assert "**reconstruction**" in card_of().text
        assert "reconstruction" not in card_of(method="finetune").text

    @pytest.mark.parametrize(("method", "paper"), [("mulki", "2411.06764"), ("snd", "2403.09296")])
    def test_cites_the_method_and_clip(self, method, paper):
        text = card_of(method=method).text
        assert paper in text
        assert text.count("@") >= 2 and "radford2021clip" in text

    def test_settings_that_differ_from_defaults(self):
        text = card_of(elicit_weight=2.5, learning_rate=3e-4, logging_steps=7, train_towers="both").text
        assert re.search(r"\| `elicit_weight` +\| 2.5 +\|", text) and "`learning_rate`" in text
        assert "names_weight" not in text and "logging_steps" not in text and "train_towers" not in text
        assert "None." in card_of().text

    def test_gains_and_losses_in_words(self):
        assert changes_text(make_results()).splitlines() == [
            "- On the 2 tasks that were learned accuracy changed by **+39.0 points** on average. "
            "Gained: pets +28.0, digits +50.0. Nothing was lost.",
            "- On the task that is still to come accuracy changed by **−5.0 points** on average. "
            "Nothing was gained. Lost: own −5.0.",
        ]

    def test_each_protocol_has_its_matrix_its_metrics_and_its_pictures(self):
        text = task_card(make_results(protocols=("til", "cil", "xtail")), "task2-digits")
        first, *others = re.split(r"^### Protocol `(\w+)`$", text, flags=re.MULTILINE)
        assert others[::2] == ["cil", "xtail"] and "(task-incremental): protocol `til`. A row" in first
        metrics = first[first.index("### The stream so far") :]
        for protocol, transfer, last in (("til", "41.0", "84.0"), ("cil", "36.0", "79.0"), ("xtail", "31.0", "74.0")):
            assert re.search(rf"\| {protocol} +\| {transfer} .*\| {last} ", metrics)
        assert "class-incremental" in others[1] and re.search(r"^\| digits +\| 73.0 ", others[1], re.MULTILINE)
        assert "task-agnostic" in others[3] and re.search(r"^\| digits +\| 68.0 ", others[3], re.MULTILINE)
        pictures = ["accuracy_matrix.png", "curves.png", "accuracy_matrix_cil.png", "curves_cil.png"]
        assert re.findall(r"\]\((\w+\.png)\)", text)[:4] == pictures
        assert "\n\n\n" not in text

    def test_one_protocol_needs_no_name(self):
        text = task_card(make_results(), "task2-digits")
        assert "rotocol" not in text and "| transfer |" in text

    def test_select_and_distills_own_metrics_are_named_and_explained(self):
        text = " ".join(task_card(make_results(3), "task3-own").split())
        # Lost after it was learned: pets 80 - 70, digits 90 - 88; before: digits 40 - 41, own 30 - 25.
        assert re.search(r"snd_forgetting \| snd_degradation \| .* \| 6.0 \| 2.0 \|", text)
        assert "Select-and-Distill's own: `snd_forgetting`, the largest drop" in text

    def test_an_adapters_card_has_every_protocols_matrix(self):
        results = make_results(protocols=("til", "xtail"), lora_r=2)
        text = artefact_card(results, results.artefact, "task2-digits")
        assert "(task-incremental): protocol `til`" in text and "(cross-domain task-agnostic): protocol `xtail`" in text
        assert re.findall(r"^\| digits +\| (\S+) ", text, re.MULTILINE) == ["78.0", "73.0"]

    def test_an_unknown_protocol_is_named(self):
        results = make_results(protocols=("til", "cil"))
        results.others = {"agnostic": results.others["cil"]}
        with pytest.raises(ConfigurationError, match="results by the unknown protocol 'agnostic'; known are til, cil"):
            task_card(results, "task2-digits")

    def test_says_where_to_load_it_from(self):
        assert card_of().text.count('"org/mulki-task2"') == 3
        local = task_card(make_results(), "task2-digits")
        assert local.count('"task2-digits"') == 3 and "is the folder that this card lies in" in local

    def test_how_to_go_on(self):
        assert "--resume_from_hub org/mulki-task2" in card_of().text
        assert "resume_from_hub" not in card_of(3).text
        assert "resume_from_hub" not in task_card(make_results(), "task2-digits")

    def test_times_licences_and_reference(self):
        results = make_results(method="snd")
        results.reference = ReferenceRecord("org/pictures", 1000, "cc0-1.0")
        card = ModelCard(task_card(results, "task2-digits", "org/x"))
        assert "3 min 0 s for the 2 tasks" in card.text
        assert re.search(r"1000 unlabelled reference images \| \[org/pictures\].* cc0-1.0", card.text)
        assert card.data.datasets == ["timm/oxford-iiit-pet", "org/pictures"]

    def test_reference_data_that_were_drawn_and_texts_from_elsewhere(self):
        results = make_results(method="zscl")
        results.reference = ReferenceRecord("org/pictures", 9, "mit", "ab-cd", 5, 100, "org/captions", "cc0-1.0")
        card = ModelCard(task_card(results, "task2-digits", "org/x"))
        assert re.search(
            r"\| 9 of 100 unlabelled reference images \(fingerprint `ab`\) +\| \[org/pictures\]\S+ +\| mit", card.text
        )
        assert re.search(r"\| 5 reference texts \(fingerprint `cd`\) +\| \[org/captions\]\S+ +\| cc0-1.0", card.text)
        assert card.data.datasets == ["timm/oxford-iiit-pet", "org/pictures", "org/captions"]

    @pytest.mark.parametrize("nasty", ['a "quoted" name', "back\\slash", "pipe | name", "ключ", "new\nline"])
    def test_class_names_of_any_kind(self, nasty):
        results = make_results()
        results.tasks[1].class_names = [nasty, "b"]
        snippet = re.search(r"labels = (\[.*\])  #", task_card(results, "task2-digits")).group(1)
        assert json.loads(snippet) == eval(snippet) == [nasty, "b"]

    def test_nothing_that_a_person_names_breaks_it(self):
        """Headings, tables and snippets are those of the card without it."""
        nasty = "a | `b` </script>\n\n# c\n```\n$d$ <!--"

        def skeleton(card: str) -> list[tuple[str, str]]:
            tokens = MarkdownIt("commonmark").enable("table").parse(ModelCard(card).text)
            return [(token.type, token.info) for token in tokens if token.type != "inline"]

        results, plain = (make_results(elicit_weight=2.5) for _ in range(2))
        results.about.settings |= {"lora_targets": nasty}
        plain.about.settings |= {"lora_targets": "x"}
        results.base = BaseModel("`tiny` | clip", license="m`i|t")
        plain.base = BaseModel("tiny", license="mit")
        for task in results.tasks:
            task.name, task.dataset, task.license = f"{task.name} {nasty}", f"local {nasty}", nasty
            task.class_names, task.templates = [nasty, "b"], [f"{nasty} {{}}"]
            task.provenance["command"] = task.provenance["hardware"] = nasty
        for task in plain.tasks:
            task.dataset = "local"
            task.provenance["command"] = task.provenance["hardware"] = "x"
        artefact = ArtefactRecord("adapter", "lora", "A LoRA adapter", "LoRA adapters", "Rank 2.", "lora")
        for card in (task_card, partial(artefact_card, artefact=artefact)):
            cards = [card(made, folder="task2 `x`|") for made in (results, plain)]
            assert skeleton(cards[0]) == skeleton(cards[1])
            for snippet in re.findall(r"```python\n(.*?)\n```\n", cards[0], re.DOTALL):
                compile(snippet, "card", "exec")

    def test_snippets_say_names_as_they_are(self):
        results = make_results()
        results.tasks[1].class_names, results.tasks[1].templates = ["ключ", "</script>", "R&D's"], ["a {} in {b}"]
        card = task_card(results, "task2-digits")
        assert 'labels = ["ключ", "</script>", "R&D\'s"]  #' in card
        assert 'hypothesis_template="a {0} in {{b}}"' in card and '"a {} in {b}".replace(' in card

    def test_prototypes_where_the_method_has_them(self):
        results = make_results()
        assert "`prototypes.safetensors` holds" in task_card(results, "task2-digits")
        results.about.prototypes = False
        card = task_card(results, "task2-digits")
        assert "prototypes.safetensors" not in card and "`results.json` holds everything above in numbers." in card

    def test_an_adapters_card_reads_well_without_a_repository(self):
        results = make_results(lora_r=2)
        results.base = BaseModel("my-clip")
        card = " ".join(artefact_card(results, results.artefact, "task2-digits").split())
        assert (
            "`all`). The folder above this one is the same model with the adapter in its weights; its card has" in card
        )
        assert "`task2-digits/adapter` is the folder that this card lies in." in card
        assert "`my-clip` is a folder of whoever trained this: the adapter works on that model alone." in card
        assert "None" not in card
        results = make_results(lora_r=2)
        card = " ".join(artefact_card(results, results.artefact, "task2-digits", "org/mulki-task2").split())
        assert "[org/mulki-task2](https://huggingface.co/org/mulki-task2) is the same model" in card
        assert "is the folder" not in card and "is a folder" not in card

    def test_a_stream_that_went_on_elsewhere(self):
        results = make_results(1)
        results.provenance = results.provenance | {"hardware": "1 process on a GPU"}
        results.add({"cil": ROWS[1]}, seconds=5.0)
        text = task_card(results, "task2-digits")
        first, second = text.index("Task 1:"), text.index("Task 2:")
        assert first < text.index("2 CPU cores") < second < text.index("a GPU")
        assert "Task 1:" not in task_card(make_results(), "task2-digits")

    def test_same_results_same_card(self, tmp_path):
        results = make_results()
        results.save(tmp_path)
        again = StreamResults.load(tmp_path)
        assert task_card(again, "task2-digits", "org/x") == task_card(results, "task2-digits", "org/x")


def test_the_example_is_what_its_results_make():
    folder = Path(__file__).parents[2] / "model_cards" / "example"
    assert (folder / "README.md").read_text() == task_card(StreamResults.load(folder), "task5-mnist")


def test_a_file_of_version_0_1_makes_a_card(tmp_path):
    """As that version wrote it; the method has changed since, which the card says."""
    shutil.copy(Path(__file__).with_name("results_of_0_1.json"), tmp_path / "results.json")
    results = StreamResults.load(tmp_path)
    with pytest.raises(ConfigurationError, match="results of an older version.*describe_method"):
        task_card(results, "task5-mnist")
    describe_method(results)
    card = task_card(results, "task5-mnist")
    assert "older version of mulki-hf, whose equations were others" in card and "`relation_weight` (0.3)" in card
    assert matrix_table(results) in card and "`max_steps`" in card
    describe_method(today := make_results())
    assert "older version" not in today.about.summary
