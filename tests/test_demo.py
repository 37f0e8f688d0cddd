"""`mulki-hf demo`: the page, in a real browser too, and the same as a Space."""

import io
import json
import re
import runpy
import shutil
import sys
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml
from accelerate import Accelerator
from datasets import load_dataset
from huggingface_hub import SpaceCard, snapshot_download
from PIL import Image, ImageChops
from support.browser import overflow
from support.hub import SECRET, connected
from support.hub_store import Fault

from mulki_hf import StreamConfig, demo, load_stream
from mulki_hf.demo import main
from mulki_hf.errors import ConfigurationError
from mulki_hf.page.examples import find_examples
from mulki_hf.page.page import ALL, Page
from mulki_hf.page.space import hub_places, may_be_shown, space_files
from mulki_hf.prediction.pictures import find_pictures
from mulki_hf.prediction.predictions import predict
from mulki_hf.prediction.stages import find_models
from mulki_hf.resources import PACKAGE
from mulki_hf.results import StreamResults


pytest.importorskip("gradio", reason="gradio is not installed")


def on_cpu() -> Accelerator:
    """A new one: training in this process resets what they share."""
    return Accelerator(cpu=True)


@pytest.fixture(scope="module")
def models(finished):
    return find_models(str(finished))


@pytest.fixture(scope="module")
def page(models):
    examples, notes = find_examples(models.results, 2)
    with Page(models, examples, notes, on_cpu(), "tiny <stream>") as page:
        yield page


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 20), (220, 30, 30)).save(path)
    return path


@pytest.fixture
def of_space(monkeypatch, tmp_path):
    """What an `app.py` shows and answers, in place of waiting: pages, their HTML, answers on the examples."""
    shown = []

    def wait(page):
        page_of_it = build_opener(ProxyHandler({})).open(page.blocks.local_url, timeout=20).read().decode()
        answers = [page.answer(_saved(one.image, tmp_path), ALL, "", "") for one in page.examples]
        shown.append((page, page_of_it, answers))

    monkeypatch.setattr(demo, "wait", wait)
    return shown


def _saved(image, folder) -> str:
    image.save(folder / "example.png")
    return str(folder / "example.png")


class TestPage:
    def test_says_what_predict_says(self, page, models, photo):
        html = page.answer(str(photo), "shapes", "", "")
        classes = page.classes("shapes", "", "")
        said = predict("run", models.stages, find_pictures([photo]), classes, on_cpu()).answers
        cards = re.findall(r'<h3 title="(.*?)"', html)
        assert cards == [*said] == ["zero-shot", "after colours", "after shapes"]
        for card, answers in zip(html.split("</section>"), said.values(), strict=False):
            shown = re.findall(r"<span[^>]*>([^<]*)</span><span>(\d+)%", card)
            assert shown == [(name, f"{100 * share:.0f}") for name, share in answers[photo]]
        assert "3 classes of shapes, as “a photo of a {}.”" in html

    def test_marks_where_the_answer_changed(self, page, photo):
        html = page.answer(str(photo), ALL, "", "")
        names = [re.search(r"<span[^>]*>([^<]*)</span>", card)[1] for card in html.split("</section>")[:-1]]
        changes = sum(one != other for one, other in zip(names, names[1:], strict=False))
        assert html.count("mulki-changed") == changes

    def test_takes_class_names_and_templates_of_ones_own(self, page, photo):
        html = page.answer(str(photo), "colours", "cat, dog\ncat", "one {}\n\n{}, drawn")
        assert "2 classes of your own, as “one {}”, “{}, drawn”" in html
        assert page.classes("colours", "cat", "").templates == ["a photo of a {}."]

    def test_names_are_text_and_not_markup(self, page, photo):
        html = page.answer(str(photo), ALL, "<img src=x onerror=alert(1)>,a\" onclick='b'", "")
        assert "<img" not in html and "&lt;img src=x" in html and 'a" on' not in html

    @pytest.mark.parametrize(
        ("own", "templates", "message"),
        [
            ("x" * 90, "", "the model reads 77"),
            ("cat", "a photo", "has no {} for the class name"),
            ("a\x00b", "", "class name 0"),
        ],
    )
    def test_says_what_is_wrong(self, page, photo, own, templates, message):
        html = page.answer(str(photo), ALL, own, templates)
        assert html.startswith('<div class="mulki-error"') and message in html

    def test_says_what_is_no_picture(self, page, tmp_path):
        (tmp_path / "no.png").write_text("no picture")
        html = page.answer(str(tmp_path / "no.png"), ALL, "", "")
        assert "be read as a picture" in html and str(tmp_path) not in html
        assert "Drop a picture" in page.answer(None, ALL, "", "")


@pytest.mark.long
def test_clicked_through_in_a_browser(page, browser, photo):
    """A picture is dropped, class names are typed, an example is clicked; nothing is asked of another machine."""
    address = page.launch(server_name="127.0.0.1")
    shown = browser.open(address)
    shown.wait_for_selector("#picture input[type=file]", state="attached")
    assert shown.inner_text(".mulki-head h1") == "tiny <stream>"
    shown.set_input_files("#picture input[type=file]", str(photo))
    shown.wait_for_selector(".mulki-answer")
    names = shown.locator(".mulki-answer h3").all_inner_texts()
    assert names == ["zero-shot", "after colours", "after shapes"]
    assert "7 classes of all tasks" in shown.inner_text("#answers")
    shown.fill("#own :is(input, textarea)", "cat, <b>dog</b>")
    shown.press("#own :is(input, textarea)", "Enter")
    shown.wait_for_function("document.querySelector('#answers').innerText.includes('2 classes of your own')")
    assert "<b>dog</b>" in shown.inner_text("#answers")
    shown.click("#examples [data-index='2']")
    shown.wait_for_function("document.querySelector('#answers').innerText.includes('3 classes of shapes')")
    assert shown.input_value("#own :is(input, textarea)") == ""
    expected = page.answer(_saved(page.examples[2].image, photo.parent), "shapes", "", "")
    assert re.findall(r"(\d+)%</span>", expected) == re.findall(r"(\d+)%", shown.inner_text(".mulki-answers"))
    shown.fill("#own :is(input, textarea)", "x" * 90)
    shown.click("#ask")
    shown.wait_for_selector("#answers [role=alert]")
    assert "the model reads 77" in shown.inner_text("#answers")
    for look in ({"width": 400}, {"dark": True}):
        other = browser.open(address, **look)
        other.wait_for_selector("#examples [data-index]")
        assert overflow(other) <= 0
    assert [one for one in browser.requests if not one.startswith((address, "data:", "blob:"))] == []
    # The page ends its streams of events itself.
    assert [fault for fault in browser.faults if "ERR_ABORTED" not in fault] == []


class TestExamples:
    def test_are_of_the_evaluation_splits_and_always_the_same(self, models, tasks_files):
        examples, notes = find_examples(models.results, 3)
        assert notes == [] and [one.task for one in examples] == ["colours"] * 3 + ["shapes"] * 3
        assert len({one.class_name for one in examples[:3]}) == 3
        for one in examples:
            rows = load_dataset("parquet", data_files=str(tasks_files / f"{one.task}-test.parquet"), split="train")
            names = rows.features["label"].names
            same = [row for row in rows if ImageChops.difference(row["image"], one.image).getbbox() is None]
            assert [names[row["label"]] for row in same] == [one.class_name]
        again, _ = find_examples(models.results, 3)
        assert [one.class_name for one in again] == [one.class_name for one in examples]
        assert find_examples(models.results, 0) == ([], [])

    def test_of_data_that_are_not_at_hand_there_are_none(self, finished):
        results = StreamResults.load(finished)
        results.config["tasks"][0]["data_files"] = {"test": "gone.parquet"}
        results.config["tasks"][1] = {"name": "shapes", "dataset": "some/dataset"}
        examples, notes = find_examples(results, 2)
        assert examples == [] and len(notes) == 2
        assert notes[0].startswith("no examples of colours: ") and "'some/dataset' is not on this machine" in notes[1]

    @pytest.mark.parametrize("given", [{}, {"data_dir": "private"}, {"data_files": {"test": "private/*.png"}}])
    def test_of_results_on_the_hub_are_no_files_of_this_machine(self, finished, tmp_path, monkeypatch, given):
        """Not by the name of a benchmark that is read from files either."""
        for folder in ("private", "UCF-101-midframes/test"):
            (picture := tmp_path / folder / "Archery/secret.png").parent.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(picture)
        monkeypatch.chdir(tmp_path)
        results = StreamResults.load(finished)
        results.config["tasks"] = [{"name": task.name, "dataset": "snd:ucf101"} | given for task in results.tasks]
        examples, notes = find_examples(results, 2, from_hub="evil/x")
        assert examples == [] and len(notes) == 2 and all("would be read from this machine" in note for note in notes)

    def test_of_a_part_of_the_classes(self, finished):
        results = StreamResults.load(finished)
        part = results.tasks[0]
        part.name, part.class_names = "colours-2", ["blue", "white"]
        examples, notes = find_examples(results, 2)
        assert notes == [] and {one.class_name for one in examples[:2]} == {"blue", "white"}

    def test_of_a_benchmark(self, finished, tasks_files, tmp_path):
        """Its classes by the names of prompts, and of what was drawn at random the part that is evaluated on."""
        path, names = tmp_path / "own.yaml", {"white": "snow", "red": "a red thing", "green": "grass"}
        content = {"dataset": str(tasks_files / "colours-train.parquet"), "class_names": names}
        content |= {"left_out_classes": ["blue"], "random_split": {"share": 0.5, "seed": 3}}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        entry = {"name": "colours", "dataset": str(path)}
        (task,) = load_stream(StreamConfig(tasks=[entry]))
        results = StreamResults.load(finished)
        results.config["tasks"][0], results.tasks[0].class_names = entry, task.class_names
        examples, notes = find_examples(results, 50)
        own = [one for one in examples if one.task == "colours"]
        assert (
            notes == []
            and len(own) == len(task.evaluation) == 12
            and {one.class_name for one in own} <= {*names.values()}
        )
        assert {one.image.tobytes() for one in own} == {image.tobytes() for image in task.evaluation["image"]}


class TestSpace:
    def test_files_arrive_and_the_app_starts_from_them(self, pushed, tmp_path, capsys, of_space):
        """With examples, whose licence was recorded; the token stays out, and so does every path of this machine."""
        shutil.copytree(pushed.out, tmp_path / "out")
        results = StreamResults.load(tmp_path / "out")
        results.tasks[0].license = "CC BY-SA 4.0"
        results.base.hub_id = "org/mulki-task1"  # as if the stream had started from there
        results.save(tmp_path / "out")
        with connected(pushed.env, tmp_path):
            main(["out", "--push_to_space", "org/tiny-demo", "--hub_private_repo"])
            printed = capsys.readouterr().out
            folder = snapshot_download("org/tiny-demo", repo_type="space", local_dir=tmp_path / "space")
        with connected(pushed.env, folder):
            runpy.run_path("app.py", run_name="__main__")
        assert printed.splitlines()[-1] == f"{pushed.hub.url}/spaces/org/tiny-demo"
        assert "examples of shapes stay here: that they may be shared is not clear (not known)" in printed
        files = pushed.hub.files("spaces/org/tiny-demo")
        assert {*files} == {
            ".gitattributes",
            "README.md",
            "app.py",
            "requirements.txt",
            "examples/colours-1.png",
            "examples/colours-2.png",
            "examples/examples.json",
        }
        everything = b"".join(files.values())
        assert not any(word.encode() in everything for word in (SECRET, str(tmp_path), str(pushed.place), "tiny-clip"))
        card = SpaceCard(files["README.md"].decode()).data
        assert card.sdk == "gradio" and card.sdk_version == sys.modules["gradio"].__version__
        assert card.models == ["org/mulki-task1", "org/mulki-task2"] and card.app_file == "app.py"
        assert "CC BY-SA 4.0" in files["README.md"].decode()
        assert files["requirements.txt"].decode().splitlines()[0].startswith("mulki-hf[demo]")
        commits = [pushed.hub.repositories[f"org/mulki-task{number}"].branches["main"] for number in (1, 2)]
        assert all(f"org/mulki-task{n + 1}@{commit}" in files["app.py"].decode() for n, commit in enumerate(commits))
        assert pushed.hub.repositories["spaces/org/tiny-demo"].private
        ((page, html, answers),) = of_space
        assert [one.task for one in page.examples] == ["colours"] * 2 and "gradio" in html
        assert [stage.name for stage in page.readers.stages] == ["zero-shot", "after colours", "after shapes"]
        assert len(answers) == 2 and all("after colours" in one and "mulki-error" not in one for one in answers)

    def test_equals_the_page_on_disk(self, pushed, photo):
        with connected(pushed.env, pushed.place):
            there = find_models("org/mulki-task2@main")
            assert [*hub_places(there)] == ["after colours", "after shapes"]
            with Page(there, [], [], on_cpu(), "hub") as page:
                hub = page.answer(str(photo), ALL, "", "")
        with Page(find_models(str(pushed.out)), [], [], on_cpu(), "disk") as page:
            disk = page.answer(str(photo), ALL, "", "")
        assert hub.split("</section>")[1:] == disk.split("</section>")[2:]

    def test_a_run_that_was_not_pushed(self, pushed, finished, tmp_path):
        shutil.copytree(finished, tmp_path / "out")
        with connected(pushed.env, tmp_path):
            message = r"error: push_to_space: the model after colours .* mulki-hf push out --hub_model_id"
            with pytest.raises(SystemExit, match=message):
                main(["out", "--push_to_space", "org/other-demo"])
            record = [{"folder": "task1-colours", "repo_id": "org/mulki-task1"}]
            (tmp_path / "out/pushes.json").write_text(json.dumps(record))
            with pytest.raises(SystemExit, match=message):
                main(["out", "--push_to_space", "org/other-demo"])
        assert "spaces/org/other-demo" not in pushed.hub.repositories

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("eve/demo", r"the token does not allow this \(403\)"),
            ("demo", "is no legal name of a Space"),
            ("org/a--b", "is no legal name of a Space"),
            ("org/foreign", "the Space holds another app"),
        ],
    )
    def test_that_can_not_be(self, pushed, name, message):
        foreign = pushed.hub.make_repository("spaces/org/foreign")
        foreign.commit("main", "theirs", {"app.py": b"print('other')"})
        with connected(pushed.env, pushed.place), pytest.raises(SystemExit, match=f"error: push_to_space.*{message}"):
            main(["out", "--push_to_space", name, "--examples", "0"])
        assert pushed.hub.files("spaces/org/foreign") == {"app.py": b"print('other')"}

    def test_a_fault_passes(self, pushed):
        pushed.hub.faults.append(Fault("POST", "/api/spaces/.*/commit/main", times=1, status=503))
        with connected(pushed.env, pushed.place), pytest.MonkeyPatch.context() as patch:
            patch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
            main(["out", "--push_to_space", "org/late-demo", "--examples", "0"])
        assert "app.py" in pushed.hub.files("spaces/org/late-demo")

    def test_holds_no_token(self, pushed):
        models = find_models(str(pushed.out))
        files, _ = space_files("org/demo", models, [])
        from mulki_hf.hub.space import push_space

        with connected(pushed.env), pytest.raises(ConfigurationError, match="app.py holds the token"):
            push_space("org/leak", files | {"app.py": SECRET.encode()}, "")
        assert "spaces/org/leak" not in pushed.hub.repositories

    @pytest.mark.parametrize(
        ("licence", "allowed"),
        [
            ("CC BY-SA 4.0", True),
            ("cc0-1.0", True),
            ("mit", True),
            (None, False),
            ("cc-by-nc-4.0", False),
            ("CC BY 4.0, and the Bitstream Vera font licence", False),
            ("other", False),
        ],
    )
    def test_only_examples_that_may_be_shared(self, licence, allowed):
        assert may_be_shown(licence) is allowed


def test_without_gradio(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit, match=r"error: the demo needs Gradio, .*: pip install 'mulki-hf\[demo\]'"):
        main([str(finished)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--port", "70000"], "port must be between 1 and 65535"),
        (["--examples", "-1"], "examples and hub_retries must be >= 0"),
    ],
)
def test_options_that_are_refused(finished, options, message):
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        main([str(finished), *options])


def test_a_proxy_for_other_machines(models, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.org")
    with Page(models, [], [], on_cpu(), "behind a proxy") as page:
        assert page.launch(server_name="127.0.0.1").startswith("http://127.0.0.1:")


def test_a_model_of_no_run(tiny_folder):
    with pytest.raises(SystemExit, match="^error: .* is one model, not a stream's run"):
        main([str(tiny_folder)])


def test_a_port_that_is_taken(page, finished):
    taken = page.launch(server_name="127.0.0.1").rstrip("/").rpartition(":")[2]
    with pytest.raises(SystemExit, match=f"^error: port {taken} can't be had"):
        main([str(finished), "--port", taken, "--examples", "0", "--use_cpu"])


def test_what_gradio_brings_is_pinned_once():
    """Their versions stand in a file of their own, beside the constraints and not against them."""
    own, pinned = (
        dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (PACKAGE.parent / name).read_text("utf-8"), re.MULTILINE))
        for name in ("tests/requirements-no-deps.txt", "constraints.txt")
    )
    assert own["gradio"] == sys.modules["gradio"].__version__ and not own.keys() & pinned.keys()


def test_metadata_is_yaml(pushed):
    files, _ = space_files("org/demo", find_models(str(pushed.out)), [])
    head = yaml.safe_load(io.StringIO(files["README.md"].decode().split("---")[1]))
    assert head["title"] == "demo" and len(head["short_description"]) <= 60
