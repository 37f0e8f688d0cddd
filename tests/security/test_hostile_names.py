"""Names are names: whatever classes, tasks, data and repositories are called, nothing is markup, code or a path."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from PIL import Image
from support.hostile import ELSEWHERE, NAMES, UNSEEN
from support.hub import connected, hub_environment, tiny_hub
from support.results import seeded
from support.tiny import rows, save_tiny, stream_writer

from mulki_hf import TaskConfig, compare, evaluate, predict, push
from mulki_hf.config.parser import parse
from mulki_hf.errors import ConfigurationError, printable
from mulki_hf.page.look import answers_html
from mulki_hf.records import ArtefactRecord, BaseModel, MethodRecord, ReferenceRecord
from mulki_hf.report.model_card import artefact_card, task_card
from mulki_hf.report.tables import csv_cell
from mulki_hf.results import StreamResults
from mulki_hf.train import main


HALF = len(NAMES) // 2
TASKS = {"colours": NAMES[:HALF], "shapes": NAMES[HALF:]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run whose classes and prompts are called so, its data in folders of odd names, and a push of it."""
    folder = tmp_path_factory.mktemp("names")
    save_tiny(folder / "tiny-clip")
    for task, names in TASKS.items():
        for split, per_class, seed in (("train", 1, 0), ("test", 1, 1)):
            rows(names, per_class, seed).to_parquet(folder / f"{task}-{split}.parquet")
    recipe = {
        "lora_r": 2,
        "lora_targets": r"(.*\.)?q_proj(?:`<script>|x\|)?",
        "license": "mit",
        "run_name": "<b>{{ 7*7 }}",
        "max_steps": 1,
        "use_cpu": True,
    }
    writer = stream_writer(folder, str(folder), str(folder))
    path = writer(**recipe)
    content = yaml.safe_load(path.read_text())
    content["tasks"][0]["templates"] = ["{}", "{{ 7*7 }} <b>`{}`"]
    path.write_text(yaml.safe_dump(content))
    main(["--config", str(path)])
    return folder


@pytest.fixture(scope="module")
def out(place):
    return place / "out"


def prose(card: str) -> list:
    """What a card's text becomes."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(ModelCard(card).text)


def spans(tokens) -> list:
    return [child for token in tokens if token.type == "inline" for child in token.children]


def check_card(card: str) -> None:
    """No tag, picture, link or heading of it came from a name; its front matter is one, read by everybody alike."""
    matter, _, _ = card.removeprefix("---\n").partition("\n---\n")
    data = yaml.safe_load(matter)
    assert isinstance(data, dict) and "evil" not in {*data, data.get("license")}
    assert ModelCard(card).data.to_dict()["tags"] == data["tags"]
    tokens = prose(card)
    inline = spans(tokens)
    assert not {token.type for token in (*tokens, *inline)} & {"html_block", "html_inline", "s_open"}
    links = {child.attrs["href"] for child in inline if child.type == "link_open"}
    assert all(link.startswith(("https://huggingface.co/", "https://arxiv.org/", "#")) for link in links), links
    assert {child.attrs["src"] for child in inline if child.type == "image"} <= {"accuracy_matrix.png", "curves.png"}
    titles = [tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"]
    known = {"Use", "Stream", "Task", "Results", "Against zero-shot", "Method", "Data and licences", "Training"}
    known |= {"Limitations", "Citation", "The stream", "The stream so far"}
    assert {*titles[1:]} <= known
    assert "49" not in re.findall(r"\b49\b", card)
    fences = [token.content for token in tokens if token.type == "fence" and token.info == "python"]
    for snippet in fences:
        compile(snippet, "card", "exec")


class TestRun:
    """Class names and templates through a whole run, and what is made of it."""

    def test_results_and_recipe_read_back(self, out):
        results = StreamResults.load(out)
        assert [task.class_names for task in results.tasks] == [*TASKS.values()]
        recipe = yaml.safe_load((out / "task2-shapes/recipe.yaml").read_text())
        assert recipe["tasks"][0]["templates"] == ["{}", "{{ 7*7 }} <b>`{}`"]

    def test_it_wrote_in_its_folder_alone(self, place, out):
        own = {"tiny-clip", "out", "stream.yaml", *(f"{t}-{s}.parquet" for t in TASKS for s in ("train", "test"))}
        assert {path.name for path in place.iterdir()} == own
        assert {path.name for path in out.iterdir()} == {
            "results.json", "accuracy_matrix.png", "curves.png", "task1-colours", "task2-shapes",
        }  # fmt: skip

    @pytest.mark.parametrize("card", ["task1-colours", "task2-shapes", "task2-shapes/adapter"])
    def test_its_cards(self, out, card):
        check_card((out / card / "README.md").read_text())

    def test_on_the_hub(self, out, tmp_path):
        shutil.copytree(out, tmp_path / "out")
        with tiny_hub() as hub, connected(hub_environment(hub, tmp_path / "home"), tmp_path):
            push.main(["out", "--hub_model_id", "org/mulki", "--hub_collection", "<script>{{ 7*7 }}"])
            for name in ("org/mulki-task1", "org/mulki-task2", "org/mulki-task2-lora"):
                check_card(hub.files(name)["README.md"].decode())

    @pytest.mark.pictures
    def test_each_class_in_tables_and_pictures(self, place, out, tmp_path, capsys):
        options = ["--per_class", "colours", "shapes", "--confusion", "shapes", "--output_dir", str(tmp_path / "new")]
        evaluate.main([str(out), *options])
        files = {path.name for path in (tmp_path / "new/classes").iterdir()}
        assert {"per_class_shapes_last.csv"} <= {re.sub("_til|_cil", "", name) for name in files} or files
        tables = [*(tmp_path / "new/classes").glob("per_class_*.csv")]
        said = [line[0] for table in sorted(tables) for line in [*csv.reader(table.open(encoding="utf-8"))][1:]]
        assert said == [csv_cell(name) for name in NAMES]
        printed = capsys.readouterr().out
        assert printed == printable(printed)

    def test_beside_another(self, out, tmp_path, capsys):
        shutil.copytree(out, tmp_path / "<img src=x onerror=alert(1)> $x^{$")
        (tmp_path / "<img src=x onerror=alert(1)> $x^{$" / "results.json").write_text(
            (out / "results.json").read_text().replace('"seed": 42', '"seed": 43')
        )
        sources = [str(out), str(tmp_path / "<img src=x onerror=alert(1)> $x^{$")]
        compare.main([*sources, "--output_dir", str(tmp_path / "compared")])
        page = Tags((tmp_path / "compared/comparison.html").read_text())
        assert "img" not in page.tags and page.tags.count("script") == 1
        assert not [name for name, _ in page.attributes if name.startswith("on")]


class Tags(HTMLParser):
    """Of a page, its tags and their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes


class TestPredictions:
    @pytest.fixture(scope="class")
    def predicted(self, out, tmp_path_factory):
        folder = tmp_path_factory.mktemp("predicted")
        for name in ("=cmd|x.png", "a\x1b[31mb.png", "a\nb.png", "<b>.png", "\u202egnp.png"):
            Image.new("RGB", (16, 16), "red").save(folder / name)
        (folder / "half\x1b[31m.png").write_bytes(b"none")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            predict.main([str(out), ".", "--output_dir", "made", "--top", str(len(NAMES)), "--use_cpu"])
        return folder / "made"

    def test_as_csv_no_cell_is_a_formula(self, predicted):
        """But by other readers names are found as they are, unless they call something."""
        lines = [*csv.reader((predicted / "predictions.csv").open(encoding="utf-8", newline=""))]
        names = {name for line in lines[1:] for name in line[1::2]}
        assert names == {csv_cell(name) for name in NAMES}
        assert not [cell for line in lines for cell in line if re.match(r"[=+@-].*[(|!]", cell)]
        assert {"'=cmd|' /C calc'!A0", "- x", "---"} <= names

    def test_as_json_names_are_as_they_are(self, predicted):
        content = json.loads((predicted / "predictions.json").read_text())
        assert [one for group in content["classes"] for one in group["class_names"]] == NAMES
        assert all(printable(one["image"]) == one["image"] and "\n" not in one["image"] for one in content["images"])

    def test_on_a_sheet(self, predicted):
        with Image.open(predicted / "contact_sheet.png") as sheet:
            assert min(sheet.size) > 100

    def test_on_a_page(self):
        page = Tags(answers_html({name: [(name, 0.5)] for name in NAMES}, "; ".join(NAMES)))
        assert {*page.tags} == {"p", "div", "section", "h3", "span"}
        assert {name for name, _ in page.attributes} == {"class", "title", "style"}

    def test_on_a_terminal(self, out, tmp_path, capsys):
        Image.new("RGB", (16, 16)).save(tmp_path / "a\x1b[31mb.png")
        (tmp_path / "none\x1b[31m.png").write_bytes(b"none")
        predict.main([str(out), str(tmp_path), "--use_cpu"])
        said = "".join(capsys.readouterr())
        assert r"a\x1b[31mb.png" in said and "\x1b[31m" not in said


class TestCards:
    """As results of somebody's may have them, in every place that is a name."""

    def results(self, evil: str) -> StreamResults:
        results = seeded([[50.0] * 3, [60.0, 50, 50], [60.0, 70, 50]], names="abc", artefact=None)
        for task in results.tasks:
            task.class_names, task.templates = [f"{evil}1", f"{evil}2"], [f"{evil}{{}}"]
            task.dataset, task.license, task.fingerprint, task.eval_templates = evil, evil, evil, [f"{evil}{{}}"]
            task.settings, task.benchmark = {evil: 1e-3}, {"name": evil, "notes": [evil], "changed": [evil]}
            task.provenance = {"command": evil, "git_commit": evil, "hardware": evil, "versions": evil}
        results.config["language"] = evil
        results.base = BaseModel(evil, None, evil, evil)
        results.reference = ReferenceRecord(evil, 5, evil, evil, 5, 7, evil, evil)
        results.about = MethodRecord("A method.", "both towers", "", {evil: evil})
        results.artefact = ArtefactRecord("adapter", "lora", "A LoRA adapter", "adapters", "Rank 1.", "lora")
        results.warnings = [evil]
        return results

    @pytest.mark.parametrize("evil", [*NAMES, *UNSEEN.values(), "x" * 5000], ids=range(len(NAMES) + len(UNSEEN) + 1))
    def test_no_name_is_more(self, evil):
        results = self.results(evil)
        make = (task_card(results, "task2-b"), artefact_card(results, results.artefact, "task2-b", "org/mulki-task2"))
        for card in make:
            matter, _, body = card.partition("\n---\n")
            assert printable(body) == body
            check_card(card)


class TestRefused:
    """What is no name is said to be none, with characters that a terminal does not obey."""

    @pytest.mark.parametrize("name", [*ELSEWHERE, *UNSEEN.values()], ids=range(len(ELSEWHERE) + len(UNSEEN)))
    def test_as_a_tasks_name(self, name):
        with pytest.raises(ConfigurationError, match="task name must") as error:
            TaskConfig(name, "data")
        assert str(error.value).isprintable() and len(str(error.value)) < 400

    @pytest.mark.parametrize("evil", UNSEEN.values(), ids=UNSEEN)
    @pytest.mark.parametrize("field", ["dataset", "templates", "image_column", "revision", "data_dir"])
    def test_in_a_task(self, field, evil):
        value = ["{}" + evil] if field == "templates" else evil
        with pytest.raises(ConfigurationError) as error:
            TaskConfig.from_dict({"name": "t", "dataset": "org/data"} | {field: value}, 1)
        assert str(error.value).isprintable() and field.removesuffix("s") in str(error.value)

    @pytest.mark.parametrize("evil", UNSEEN.values(), ids=UNSEEN)
    @pytest.mark.parametrize("field", ["output_dir", "license", "language", "run_name", "hub_model_id", "lora_targets"])
    def test_in_a_recipe(self, tmp_path, field, evil):
        recipe = {"tasks": [{"name": "t", "dataset": "d"}], "output_dir": "out", "use_cpu": True} | {field: evil}
        (tmp_path / "recipe.yaml").write_text(yaml.dump(recipe), encoding="utf-8")
        with pytest.raises(ConfigurationError, match=field) as error:
            parse(["--config", str(tmp_path / "recipe.yaml")])
        assert str(error.value).isprintable()

    @pytest.mark.parametrize("evil", ["a\x1b[31mb", "a\u202eb", "a\x9b31m"])
    def test_no_error_speaks_to_the_terminal(self, evil, capsys):
        with pytest.raises(SystemExit) as end:
            main([f"--{evil}", evil])
        assert printable(str(end.value)) == end.value.code
