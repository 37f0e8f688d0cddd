"""Published results: whether they hold together, which a run stands beside, and what cards and terminals say of it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from support.launch import python
from support.results import of_benchmark

from mulki_hf.markdown import text
from mulki_hf.metrics import continual_metrics
from mulki_hf.records import ReferenceRecord
from mulki_hf.report.model_card import task_card
from mulki_hf.report.notebook import Report
from mulki_hf.report.published.beside import standing, standing_text
from mulki_hf.report.published.differences import differences
from mulki_hf.report.published.matching import figures_of, match, rotation
from mulki_hf.report.published.records import FAMILIES, MEASURES, settings, steps
from mulki_hf.resources import PACKAGE
from mulki_hf.results import StreamResults


BENCHMARKS = PACKAGE / "data" / "benchmarks"
ALL = [(setting, result) for setting in settings() for result in setting.results]


def setting(family: str = "mtil", order: str = "order I", protocol: str = "til", shots: int | None = None):
    """The first of such."""
    same = (family, order, protocol, shots)
    return next(own for own in settings() if (own.family, own.order, own.protocol, own.shots) == same)


def published(method: str, **which):
    return next(own for own in setting(**which).results if own.method == method)


def with_limits(results: StreamResults, **limits: int) -> StreamResults:
    for task in results.tasks:
        task.limits = {**limits, "training_images": 100, "evaluation_images": 100}
    return results


class TestData:
    def test_figures_are_of_the_matrices_and_rows(self):
        """Within what rounding to the printed digits allows; known slips say so."""
        checked = 0
        for own, result in ALL:
            if result.matrix:
                assert np.array(result.matrix).shape == (len(own.tasks),) * 2
                computed = continual_metrics(result.matrix)
                for name in ("transfer", "avg", "last"):
                    assert abs(computed[name] - result.figures[name]) <= 0.01, (own.name, result.method, name)
                checked += 1
            elif result.by_task:
                assert len(result.by_task) == len(own.tasks)
                assert abs(np.mean(result.by_task) - result.figures["last"]) <= 0.1, (own.name, result.method)
                checked += 1
        assert checked >= 37

    def test_zero_shot_is_of_its_row(self):
        for order in ("order I", "order II"):
            row, figures = setting(order=order).zero_shot.by_task, setting(order=order).zero_shot.figures
            assert np.mean(row[1:]) == pytest.approx(figures["transfer"], abs=0.1)
            assert np.mean(row) == pytest.approx(figures["avg"], abs=0.1) == pytest.approx(figures["last"], abs=0.1)

    def test_a_few_by_hand(self):
        assert published("ZSCL").figures == {"transfer": 68.14, "avg": 75.39, "last": 83.62}
        assert published("GIFT", order="order II").figures == {"transfer": 65.9, "avg": 75.7, "last": 85.3}
        assert published("DPW", family="mtil_coop").figures["last"] == 88.3
        assert published("MulKI").figures == {"transfer": 70.1, "avg": 77.3}
        cifar = published("MoE-Adapters", family="cil", order="CIFAR100, 10 steps", protocol="cil")
        assert cifar.figures == {"step_avg": 85.21, "step_last": 77.52}

    def test_every_record_is_whole(self):
        assert len(ALL) > 150 and {own.family for own in settings()} == {*FAMILIES}
        for own, result in ALL:
            assert own.family == own.tasks[0].partition(":")[0] and {*own.measures} <= {*MEASURES[own.family]}
            assert result.figures and all(0 <= value <= 100 for value in result.figures.values())
            assert {*result.figures} <= {*MEASURES[own.family]}
            assert result.source.words and result.source.url.startswith("https://")
            assert result.extra_data is None or isinstance(result.extra_data, str)
        for own in settings():
            methods = [result.method for result in own.results if result.confirmed]
            assert len({*methods}) == len(methods), own.name
            if own.classes:
                assert len(own.classes) == len(own.tasks) and own.class_order is not None
        places = [
            (*own.tasks, own.protocol, own.shots, own.classes, own.class_order, own.rotations) for own in settings()
        ]
        assert len({*places}) == len(places)

    def test_what_nobody_read_is_left_out_unless_it_is_asked_for(self):
        cifar = setting("cil", "CIFAR100, 10 steps", "cil")
        assert "not confirmed" in {doubt for own in cifar.shown(unconfirmed=True) for doubt in own.doubts}
        assert all(own.confirmed for own in cifar.shown()) and len(cifar.shown()) < len(cifar.shown(unconfirmed=True))

    def test_says_nothing_of_a_machine(self):
        text = (Path(__file__).parents[2] / "mulki_hf/report/published/published.json").read_text()
        assert not re.search(r"/(home|work|tmp)/|file index", text)
        assert text.startswith("{") and len(text) < 100_000 and json.loads(text)["settings"]

    @pytest.mark.parametrize("family", ["mtil", "mtil_coop", "snd"])
    def test_names_are_the_registrys(self, family):
        known = {path.stem for path in (BENCHMARKS / family).glob("*.yaml")}
        assert {f"{family}:{name}" for name in known} == {
            *next(own for own in settings() if own.family == family).tasks
        }


class TestMatching:
    @pytest.mark.parametrize(
        "which",
        [
            {},
            {"order": "order II"},
            {"family": "mtil_coop"},
            {"protocol": "cil"},
            {"family": "mtil_coop", "order": "order I without CIFAR100", "protocol": "xtail"},
            {"family": "snd", "order": "its first order"},
            {"family": "cil", "order": "CIFAR100, 20 steps", "protocol": "cil"},
            {"family": "cil", "order": "TinyImageNet, 100 classes and 5 steps", "protocol": "cil"},
        ],
    )
    def test_the_same_stream_matches(self, which):
        found = match(of_benchmark(**which)).setting
        assert (found.family, found.order, found.protocol) == tuple(
            ({"family": "mtil", "order": "order I", "protocol": "til"} | which).values()
        )
        assert found.shots is None and not found.rotations

    def test_shots(self):
        assert match(with_limits(of_benchmark(), shots=5)).setting is setting(shots=5)
        assert match(with_limits(of_benchmark("mtil_coop"), shots=16)).setting is setting("mtil_coop", shots=16)
        # Zero-shot is of any number of them.
        assert setting(shots=5).shown()[0] is setting().zero_shot
        reason = match(with_limits(of_benchmark(), shots=16)).reason
        assert reason == (
            "is of MTIL on ZSCL's splits: order I, til, 16 images of each class. Published there: order I, til, all "
            "training images; order I, til, 5 images of each class"
        )
        results = with_limits(of_benchmark(), shots=5)
        results.tasks[3].limits["shots"] = 4
        assert "other shots" in match(results).reason

    def test_a_protocol_that_is_not_the_headlines(self):
        results = of_benchmark()
        assert match(results, "til").setting is setting()
        results.others = {"xtail": results}
        assert "order I, xtail, all training images. Published there: order I, til" in match(results, "xtail").reason

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda own: own.config.update(evaluate_on="validation"), "was evaluated on validation splits"),
            (lambda own: own.accuracy.pop(), "has learned 10 of its 11 tasks"),
            (lambda own: own.accuracy[2].__setitem__(5, None), "lacks cells"),
            (lambda own: setattr(own, "elsewhere", True), "tasks that it did not learn"),
            (lambda own: setattr(own, "stages", own.tasks[:1]), "all tasks at once"),
            (lambda own: own.tasks[4].benchmark.update(name="mtil_coop:eurosat"), "mixes mtil, mtil_coop"),
            (lambda own: own.tasks[4].benchmark.clear(), "of no benchmark: the registry does not have eurosat"),
            (
                lambda own: [setattr(task, "benchmark", None) for task in own.tasks],
                "the registry does not have its tasks",
            ),
            (
                lambda own: own.tasks[4].benchmark.update(changed=["templates"]),
                "changes what the benchmark says of eurosat",
            ),
            (
                lambda own: own.tasks[0].benchmark.update(name="mtil:ucf101"),
                r"11 tasks \(without aircraft, with ucf101\)",
            ),
            (
                lambda own: own.tasks[0].limits.update(max_eval_samples=5, evaluation_images=9),
                r"sample of the images \(max_eval_samples in aircraft\)",
            ),
            (
                lambda own: own.tasks[1].limits.update(max_train_samples=10, training_images=90),
                r"sample of the images \(max_train_samples in caltech101\)",
            ),
        ],
    )
    def test_what_does_not_match_says_why(self, change, reason):
        results = of_benchmark()
        change(results)
        found = match(results)
        assert found.setting is None and re.search(reason, found.reason)
        assert standing(results) is None and standing_text(results) == ""

    def test_a_limit_that_left_nothing_out_is_none(self):
        results = of_benchmark()
        results.tasks[0].limits = {"max_eval_samples": 99, "evaluation_images": results.tasks[0].evaluation_images}
        assert match(results).setting is setting()

    def test_another_order(self):
        results = of_benchmark()
        first, second = (task.benchmark for task in results.tasks[:2])
        results.tasks[0].benchmark, results.tasks[1].benchmark = second, first
        assert "another order (caltech101, aircraft, cifar100," in match(results).reason
        assert "order I, til, all training images; order II" in match(results).reason

    def test_another_family(self):
        results = of_benchmark()
        for task in results.tasks:
            task.benchmark = {"name": f"mine:{task.name}"}
        assert match(results).reason.startswith("is of mine, of which nothing is published here; known are mtil, ")

    def test_another_class_order(self):
        results = of_benchmark("cil", "CIFAR100, 20 steps", "cil")
        del results.config["tasks"][0]["class_order"]
        assert "class order their own, cil" in match(results).reason
        assert "Published there: CIFAR100, 20 steps, class order zscl_cifar100" in match(results).reason
        results.tasks[0].class_names = [*results.tasks[0].class_names, "one more"]
        assert "cifar100 in 20 tasks of 6, 5, 5," in match(results).reason

    def test_a_rotation_is_one_of_eight(self):
        results = of_benchmark("snd", "its first order")
        mean = next(own for own in settings() if own.rotations and own.protocol == "til")
        assert rotation(results, "til") == (mean, 0)
        results.tasks = [*results.tasks[3:], *results.tasks[:3]]
        assert rotation(results, "til") == (mean, 3)
        assert match(results).reason.startswith("is one order alone; published is the mean over the 8 rotations")


def test_class_incremental_figures_weigh_images():
    """Three steps of 10, 10 and 20 images."""
    matrix = [[90.0, 0.0, 0.0], [80.0, 60.0, 0.0], [50.0, 70.0, 80.0]]
    assert steps(matrix, [10, 10, 20]) == {"step_avg": pytest.approx((90 + 70 + 70) / 3), "step_last": 70.0}
    results = of_benchmark("cil", "CIFAR100, 10 steps", "cil")
    own = figures_of(results, "cil", match(results).setting)
    assert own["step_last"] == pytest.approx(results.metrics["last"]) and own["step_avg"] != results.metrics["avg"]


def trained(results: StreamResults, steps: int = 1000, batch: int = 64, processes: int = 1) -> StreamResults:
    results.config |= {"per_device_train_batch_size": batch, "num_processes": processes}
    for task in results.tasks:
        task.steps = steps
    return results


class TestDifferences:
    def test_as_published_there_are_none(self):
        assert differences(trained(of_benchmark()), setting()) == []
        four = trained(of_benchmark(), batch=8, processes=4)
        four.config["gradient_accumulation_steps"] = 2
        assert differences(four, setting()) == []
        # Nothing is known of files of older versions.
        assert differences(of_benchmark(), setting()) == []

    def test_steps(self):
        short = trained(of_benchmark(), 20)
        told = "20 steps a task of 64 images; ZSCL's code took 1,000 of 64"
        assert differences(short, setting()) == [told]
        assert f"as here. This run: {told}. ZSCL drew" in standing_text(short)
        assert f"This run: {told}." in task_card(short, "task11-sun397")
        one = trained(of_benchmark())
        one.tasks[3].steps = 3
        assert "This run: 3 to 1,000 steps a task of 64 images; ZSCL's" in standing_text(one)
        assert "1,000 steps a task of 128 images; ZSCL's code" in standing_text(trained(of_benchmark(), processes=2))

    def test_steps_of_five_shots_are_another_codes(self):
        few = with_limits(trained(of_benchmark(), 500), shots=5)
        assert differences(few, match(few).setting) == []
        few.tasks[0].steps = 1000
        assert "500 to 1,000 steps a task of 64 images; MoE-Adapters' code took 500 of 64" in standing_text(few)

    def test_where_published_steps_are_not_known_the_runs_own_are_said(self):
        assert "This run: 20 steps a task of 64 images.\n" in standing_text(trained(of_benchmark("mtil_coop"), 20))

    def test_splits(self):
        results = of_benchmark("mtil_coop")
        for task in results.tasks[:3]:
            task.benchmark["redrawn"] = ["train", "evaluation"]
        results.tasks[8].benchmark["redrawn"] = ["train"]
        told = (
            "splits differ: drawn at random, to the published size, are training and test images of aircraft, "
            "caltech101, cifar100, and training images of oxford_pets"
        )
        assert f"as here. This run: {told}.\n" in standing_text(results)
        assert f"This run: {text(told)}." in task_card(results, "task11-sun397")

    def test_one_dataset_in_tasks_is_named_once(self):
        results = of_benchmark("cil", "CIFAR100, 10 steps", "cil")
        for task in results.tasks:
            task.benchmark["redrawn"] = ["train", "evaluation"]
        assert "are training and test images of cifar100.\n" in standing_text(results).replace(" After", "\n")


class TestCard:
    def test_has_the_run_and_the_few_rows_that_say_most(self):
        card = task_card(of_benchmark(), "task11-sun397")
        section = card[card.index("## Published results") : card.index("## Method")]
        rows = {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("|")}
        assert "| 42.2     | 55.9 | 70.0 |" in rows["**this run**, mulki"]
        assert "| 69.4     | 65.3 | 65.3 | none" in rows["zero-shot CLIP (zero-shot)"]
        assert "| 70.1     | 77.3 | -    | none" in rows["MulKI (the same method)"]
        assert "splits not confirmed; read second-hand" in rows["MulKI (the same method)"]
        assert "1,000 images of Stable Diffusion a task" in rows["GIFT (best with extra data)"]
        assert "PACT (best without extra data)" in rows and "NuSA-CL (best of one model without extra data)" in rows
        assert "with CLIP ViT-B/16, as here. ZSCL drew SUN397's split" in section
        assert "(https://github.com/Thunderbeee/ZSCL)" in section and "\n\n\n" not in card
        tokens = MarkdownIt("commonmark").enable("table").parse(section)
        assert sum(token.type == "table_open" for token in tokens) == 1

    def test_says_what_the_run_started_from_and_was_given(self):
        results = of_benchmark(method="zscl")
        results.base.name, results.base.hub_id = "other/clip", "other/clip"
        results.reference = ReferenceRecord("org/pictures", 100, texts=7)
        card = task_card(results, "task11-sun397")
        assert "with CLIP ViT-B/16; this run started from other/clip." in card
        assert re.search(r"\*\*this run\*\*, zscl .*100 images and 7 texts of org/pictures", card)
        assert "| ZSCL (the same method)" in card

    @pytest.mark.parametrize("which", [{"protocol": "xtail"}, {"family": "mtil_coop", "protocol": "xtail"}])
    def test_has_nothing_where_nothing_matches(self, which):
        results = of_benchmark(**which)
        assert "ublished" not in task_card(results, "task11-sun397")

    def test_has_nothing_before_the_last_task(self):
        results = of_benchmark()
        results.accuracy, results.metrics = results.accuracy[:5], {}
        assert "## Published results" not in task_card(results, "task5-eurosat")


def test_a_terminal_shows_them_and_a_notebook_too():
    results = of_benchmark("snd", "its first order", method="snd")
    shown = standing_text(results)
    assert re.search(r"\| this run, snd \| 67.0 \| -1.0 .*one model, no extra data", shown)
    assert re.search(r"\| SnD +\| 84.5 \| 1.7 .*the same method; extra data; read second-hand", shown)
    assert "Their code is not public" in shown and "--published" in shown
    assert repr(Report(results)).endswith(shown)
    assert "ublished" not in repr(Report(of_benchmark(protocol="xtail")))


def test_a_record_without_a_benchmark_is_read_as_ever(tmp_path):
    results = of_benchmark()
    results.save(tmp_path)
    assert StreamResults.load(tmp_path).tasks[3].benchmark["name"] == "mtil:dtd"
    path = tmp_path / StreamResults.FILE
    content = json.loads(path.read_text())
    for task in content["tasks"]:
        del task["benchmark"]
    path.write_text(json.dumps(content))
    assert StreamResults.load(tmp_path).tasks[3].benchmark is None


def test_needs_no_torch():
    script = "import sys, mulki_hf.report.published.beside; print(*{name.partition('.')[0] for name in sys.modules})"
    imported = {*python(script).stdout.split()}
    assert "mulki_hf" in imported and not imported & {"torch", "transformers", "datasets", "matplotlib"}
