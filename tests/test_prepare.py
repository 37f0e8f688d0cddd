"""`mulki-hf prepare`: every fault is named at once, nothing is trained, and training finds what it found."""

import re
from types import SimpleNamespace

import datasets
import pytest
import yaml
from datasets import Image
from huggingface_hub import constants
from support.benchmark import publish_benchmarks, publish_reference
from support.hub import connected, hub_environment, tiny_hub, without_pauses
from support.hub_data import labelled, parquet, repository, unlabelled, webdataset
from support.launch import ranks
from support.openai_clip import REPO_ID, openai_clip

from mulki_hf import MulKITrainer, StreamConfig, load_stream, prepare, train
from mulki_hf.config.parser import parse
from mulki_hf.data import registry
from mulki_hf.preparing.estimates import estimated, measured, prompts_of_step, stages_to_time
from mulki_hf.preparing.looking import LOOKED_AT, Look
from mulki_hf.preparing.timing import Paces, Timed
from mulki_hf.runs import room


NAMES = ["zebra", "crab", "apple"]
PERMUTED = ["Crab", "zebra", "apple"]
ORDER = "own names in another order: label 0 is 'zebra' in the data, and 'Crab' there"
SND = {"reference_dataset": "org/pictures", "method": "snd"}


@pytest.fixture(scope="module")
def hub():
    """With a base model, sound data, and one of every fault; to be read alone."""
    train, test = labelled(NAMES, 8), labelled(NAMES, 2, seed=1)
    sound = repository({"train": train, "test": test})
    with tiny_hub() as hub:
        hub.publish(REPO_ID, openai_clip())
        hub.publish("datasets/org/sound", sound)
        hub.publish("datasets/org/gated", sound, gated=True)
        others = {"image": "img", "label": "fine"}
        columns = {"train": train.rename_columns(others), "test": test.rename_columns(others)}
        hub.publish("datasets/org/columns", repository(columns))
        hub.publish("datasets/org/aggregated", repository(columns))
        hub.publish("datasets/org/torn", {f"data/{name}-0.parquet": parquet(train)[:-50] for name in ("train", "test")})
        hub.publish(
            "datasets/org/torn_shards", {f"{name}/0.tar": webdataset(train)[:700] for name in ("train", "test")}
        )
        encoded = [
            {"image": row["image"], "label": row["label"]} for row in train.cast_column("image", Image(decode=False))
        ]
        encoded[5]["image"] = {"bytes": b"no picture", "path": None}
        broken = datasets.Dataset.from_list(encoded, features=train.features)
        hub.publish("datasets/org/broken", repository({"train": broken, "test": test}))
        hub.publish("datasets/org/pictures", repository({"train": unlabelled(6)}))
        yield hub


@pytest.fixture(scope="module")
def env(hub, tmp_path_factory):
    return hub_environment(hub, tmp_path_factory.mktemp("hf-home"))


@pytest.fixture
def write(tmp_path):
    """Writes `stream.yaml`: some tasks by name, and other fields."""

    def write(tasks, **fields):
        told = {name: {"dataset": entry} if isinstance(entry, str) else entry for name, entry in tasks.items()}
        recipe = {
            "model_name_or_path": REPO_ID,
            "pickled_weights": True,
            "tasks": [{"name": name} | entry for name, entry in told.items()],
            "output_dir": str(tmp_path / "out"),
            "max_steps": 3,
            "per_device_train_batch_size": 4,
            "report_to": "none",
            "use_cpu": True,
            "dataloader_num_workers": 0,
        }
        path = tmp_path / "stream.yaml"
        path.write_text(yaml.safe_dump(recipe | fields))
        return path

    return write


@pytest.fixture
def prepared(env, capsys, tmp_path):
    """Runs the command, which ends with `status`; what it printed, in lines of cells."""

    def prepared(path, *options, status: int = 0):
        with connected(env):
            try:
                prepare.main(["--config", str(path), *options])
                ended = 0
            except SystemExit as end:
                ended = 1
                assert re.fullmatch(
                    r"error: (one problem|\d+ problems) to mend before this stream is trained", end.code
                )
        assert ended == status
        assert not (tmp_path / "out").exists(), "it wrote something"
        return capsys.readouterr().out

    return prepared


@pytest.fixture
def look(env):
    """What is found of a stream, its problems by subject."""

    def look(path, *options, every=False):
        with connected(env):
            return Look(*parsed(path, *options), every)

    return look


def parsed(path, *options):
    """The settings of a stream's YAML."""
    return parse(["--config", str(path), *options])


class TestSound:
    def test_it_says_what_there_is_and_what_it_takes(self, write, prepared):
        printed = prepared(
            write({"one": "org/sound", "two": "org/sound"}, reference_dataset="org/pictures", method="snd")
        )
        assert re.search(r"\| one +\| org/sound +\| 24 +\| 6 +\| 3 +\| 3 +\|", printed)
        assert re.search(r"\| reference +\| org/pictures +\| 6 ", printed)
        assert re.search(r"(?m)^disk +\d.* at most, .* are free: checkpoints of the tasks \d", printed)
        assert re.search(r"(?m)^memory +\d.* of main memory a process$", printed)
        assert re.search(r"(?m)^time +\d.* on 1 process\(es\), cpu: steps \d", printed)
        assert re.search(r"timed: a step of one \d", printed)

    @pytest.mark.long
    def test_a_recipe_that_ships_needs_no_network(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        prepare.main(["--config", "quickstart", "--use_cpu", "--method", "zero_shot"])
        assert re.search(r"\| emoji +\| embedded:emoji +\| 936 ", capsys.readouterr().out)
        assert not [*tmp_path.iterdir()]

    @pytest.mark.long
    def test_the_benchmark(self, tmp_path, monkeypatch, capsys):
        """The recipe as it ships, in miniature, for somebody who accepted ImageNet's terms."""
        with tiny_hub() as hub:
            hub.publish(REPO_ID, openai_clip())
            publish_reference(hub, "mtil/zscl")
            monkeypatch.setattr(registry, "BENCHMARKS", publish_benchmarks(hub, tmp_path / "yaml"))
            with connected(hub_environment(hub, tmp_path / "hf-home"), tmp_path):
                prepare.main(["--config", "mtil/zscl", "--use_cpu", "--dataloader_num_workers", "0"])
                printed = capsys.readouterr().out
                assert len(re.findall(r"(?m)^\| \w+ +\| [\w-]+/[\w-]+ +\| .* \| 1,000 +\|$", printed)) == 11
                assert re.search(r"\| reference +\| ILSVRC/imagenet-1k +\| 40, 12 texts", printed)
                assert re.search(r"timed: a step of \w+ .*, a step of sun397 ", printed)

    @pytest.mark.xdist_group("ranks")
    def test_on_two_ranks(self, write, env, tmp_path):
        """Processes of their own: steps are taken by both, and one of them speaks."""
        command = ["-m", "mulki_hf.prepare", "--config", write({"one": "org/sound"})]
        first, second = ranks(command, tmp_path / "out", env)
        assert re.search(r"(?m)^time +\d.* on 2 process\(es\), cpu: steps", first)
        assert "org/sound" in first and "org/sound" not in second
        assert not (tmp_path / "out").exists()


class TestProblems:
    @pytest.mark.parametrize(
        ("entry", "where", "what", "advice"),
        [
            ("org/gated", "org/gated", "'train', 'test': it is gated", "terms on .*/datasets/org/gated, then .*hf"),
            ("org/aggregated", "org/aggregated", "no column 'image'", "name the one that is meant"),
            ("org/nowhere", "org/nowhere", "the Hub has none of that name", "check the name; .*log in"),
            ("org/torn", "", "Parquet magic bytes not found", "torn: delete it from .* to download it anew"),
            ("org/torn_shards", "", "unexpected end of data", "torn"),
            ("org/broken", "split 'train'", "1 unreadable image.*row 5", "mend the data or set unreadable_images"),
            ({"dataset": "org/sound", "class_names": PERMUTED}, "column 'label'", ORDER, "Map the data's"),
            ({"dataset": "org/sound", "eval_split": "final"}, "", "can't load split 'final'", "eval_split"),
            ({"dataset": "org/sound", "revision": "v9"}, "", "Revision 'v9' doesn't exist", "revision that it has"),
            ({"dataset": "org/sound", "class_names": ["a", "b"]}, "row 2", "outside the 2 class names", "class_names"),
            (
                {"dataset": "org/sound", "class_names": {"zebra": "a", "crap": "b", "apple": "c"}},
                "column 'label'",
                "maps no label 'crab' .is it 'crap'",
                "Map every name that the data have",
            ),
            (
                {"dataset": "org/sound", "templates": ["{} " + "very long " * 40]},
                "",
                "tokens, the model reads 77",
                "shorten the template",
            ),
            ({"dataset": "org/sound", "shots": 0}, "", "shots must be >= 1, got 0", "leave it out"),
        ],
    )  # fmt: skip
    def test_each_is_named_with_what_to_do(self, write, look, entry, where, what, advice):
        seen = look(write({"good": "org/sound", "bad": entry}))
        problems = [problem for problem in seen.problems if re.search(what, problem.what)]
        assert len(problems) == 1 and {problem.subject for problem in seen.problems} == {"bad"}
        assert re.search(where, problems[0].where) and re.search(advice, problems[0].advice, re.IGNORECASE)
        assert [task.name for task in seen.tasks][0] == "good"

    def test_all_are_named_at_once(self, write, prepared):
        """Of several tasks, and several of one."""
        tasks = {"a": "org/gated", "b": "org/nowhere", "c": "org/columns", "d": "org/torn", "e": "org/sound"}
        path = write(tasks, reference_dataset="org/pictures", reference_image_column="img", method="snd")
        printed = prepared(path, "--model_name_or_path", "org/absent", status=1)
        rows = re.split(r"\n-+[-+]+\n", printed[printed.index("task ", printed.index("Decoded")) :])
        flat = [" ".join(row.split()) for row in rows[1:]]
        subjects = [row.partition(" ")[0] for row in flat]
        assert [*dict.fromkeys(subjects)] == ["model", "a", "b", "c", "d", "reference"] and subjects.count("c") == 2
        assert all("no column" in row for row in flat if row.startswith(("c ", "reference ")))
        assert max(map(len, printed.splitlines())) < 180

    def test_a_count_that_is_off_by_one(self, tmp_path, write, look):
        facts = {"dataset": "org/sound", "benchmark": {"classes": 3, "train": 25, "evaluation": 6}}
        (tmp_path / "sound.yaml").write_text(yaml.safe_dump(facts))
        seen = look(write({"one": str(tmp_path / "sound.yaml")}))
        assert len(seen.problems) == 1
        problem = next(iter(seen.problems))
        assert re.search("has 25 train images, and found were 24", problem.what)
        assert problem.advice.startswith("give the revision that has them")

    @pytest.mark.filterwarnings("ignore:Not enough free disk space")
    def test_no_room_for_the_data(self, hub, write, monkeypatch, tmp_path):
        """Known before anything of it is downloaded."""
        path = write({"one": "org/sound"})
        monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000, total=10**9))
        before = len(hub.seen("GET", "lfs-storage"))
        with connected(hub_environment(hub, tmp_path / "hf-home")):
            seen = Look(*parsed(path))
        assert [problem.subject for problem in seen.problems] == ["one", "disk"]
        data, output = seen.problems
        assert re.search(r"needs .* MB to download and unpack, 0.0 MB are free", data.what)
        assert "HF_HOME" in data.advice
        assert re.search("the run needs .*checkpoints of the tasks", output.what)
        # That of the model alone.
        assert len(hub.seen("GET", "lfs-storage")) == before + 1

    def test_the_hub_is_out_of_reach(self, hub, write, tmp_path, monkeypatch, capsys):
        """Nobody waits for it; what needs no network is named, and what is in the cache is looked at."""
        asked = without_pauses(monkeypatch)
        env = hub_environment(hub, tmp_path / "hf-home")
        with connected(env):
            assert not Look(*parsed(write({"one": "org/sound"}))).problems
        away = env | {"HF_ENDPOINT": "http://127.0.0.1:9"}
        with connected(away):
            assert not Look(*parsed(write({"one": "org/sound"}))).problems
            tasks = {"one": "org/sound", "two": {"dataset": "org/sound", "shot": 1}, "three": "org/columns"}
            capsys.readouterr()
            seen = Look(*parsed(write(tasks, **SND | {"learning_rate": 0.0})))
            assert constants.HF_HUB_OFFLINE is False is datasets.config.HF_HUB_OFFLINE
        assert not asked, "it slept between tries"
        assert [problem.subject for problem in seen.problems] == ["two", "Hub"]
        assert re.search(
            "can't reach http://127.0.0.1:9: .*so not looked at: three, reference$", [*seen.problems][1].what
        )
        assert "HF_ENDPOINT" in [*seen.problems][1].advice
        heard = capsys.readouterr().err
        assert heard.startswith("two: unknown key 'shot'") and "looking at task 2 of 2, three: org/columns" in heard
        with connected(away | {"HF_HUB_OFFLINE": "1"}):
            (problem,) = Look(*parsed(write({"three": "org/columns"}))).problems
        assert (problem.subject, problem.what) == ("three", "can't load splits 'train', 'test': it is not in the cache")
        assert problem.advice.startswith("unset HF_HUB_OFFLINE")

    def test_a_setting_and_the_folder(self, write, look, tmp_path):
        (tmp_path / "file").write_text("")
        path = write({"one": "org/sound"}, output_dir=str(tmp_path / "file"), method="snd")
        seen = look(path)
        assert [problem.subject for problem in seen.problems] == ["settings", "settings"]
        assert re.search("is a file, not a folder", [*seen.problems][1].what)


class TestReuse:
    @pytest.fixture
    def decoded(self, monkeypatch):
        decode, seen = Image.decode_example, []
        monkeypatch.setattr(Image, "decode_example", lambda *args, **kwargs: seen.append(1) or decode(*args, **kwargs))
        return seen

    def test_training_checks_no_image_again(self, hub, tmp_path, write, decoded, capsys):
        path, env = write({"one": "org/sound"}), hub_environment(hub, tmp_path / "hf-home")
        with connected(env):
            seen = Look(*parsed(path), every=True)
            assert not seen.problems and len(decoded) == 30
            downloads = len(hub.seen("GET", "lfs-storage"))
            decoded.clear()
            task = load_stream(StreamConfig(tasks=[{"name": "one", "dataset": "org/sound"}]))[0]
            assert not decoded and len(task.train) == 24
            train.main(["--config", str(path), "--method", "zero_shot"])
        assert len(hub.seen("GET", "lfs-storage")) == downloads
        # What the evaluations read: six images, zero-shot and, of a model that stays, as after the task.
        assert len(decoded) == 12

    def test_a_sample_is_what_it_says(self, tmp_path, write, look, decoded, monkeypatch):
        monkeypatch.setattr("mulki_hf.preparing.looking.LOOKED_AT", 5)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        seen = look(write({"one": "org/sound"}))
        assert not seen.problems and (len(seen.tasks[0].train), len(seen.tasks[0].evaluation)) == (24, 6)
        assert len(decoded) <= 10 and LOOKED_AT == 256


class TestEstimates:
    STEPS = ((3, 1, 1.0), (300, 1, 10.0), (3, 2, 1.5), (300, 2, 15.0))
    PACES = Paces(
        [(Timed(None, (), prompts, teachers), each) for prompts, teachers, each in STEPS],
        prompt=0.1,
        image=0.01,
        device_bytes=None,
        main_bytes=10**9,
    )

    def test_a_step_grows_with_its_prompts(self):
        assert [self.PACES.step(prompts, 1) for prompts in (1, 3, 300, 900)] == [1.0, 1.0, 10.0, 10.0]
        assert 1.0 < self.PACES.step(100, 1) < self.PACES.step(200, 1) < 10.0
        assert self.PACES.step(100, 2) == pytest.approx(1.5 * self.PACES.step(100, 1))

    def test_time_and_disk_grow_with_the_stream(self, write, look):
        one, two = (look(write(dict.fromkeys(names, "org/sound"), **SND)) for names in ("a", "ab"))
        short, long = (estimated(seen, self.PACES) for seen in (one, two))
        # From the second task on there are two teachers.
        assert short.steps == 3 * 1.0 and long.steps == short.steps + 3 * 1.5
        # Zero-shot and after each task, on every task; what the frozen text tower says is asked once.
        assert short.evaluations == pytest.approx(3 * 0.1 + 2 * 6 * 0.01)
        assert long.evaluations == pytest.approx(2 * 3 * 0.1 + 3 * 2 * 6 * 0.01)
        assert long.seconds == long.steps + long.evaluations + long.tables and long.tables > 2 * short.tables > 0
        assert two.disk["checkpoints of the tasks"] == 2 * one.disk["checkpoints of the tasks"]
        assert two.steps(two.tasks[0]) == 3

    @pytest.mark.parametrize("adapted", [{}, {"lora_r": 2}])
    def test_the_second_teacher_is_timed(self, write, look, env, monkeypatch, adapted):
        asked = []

        class Asked(MulKITrainer):
            def train(self, **kwargs):
                trained = super().train(**kwargs)
                asked.append((self.task.name, *self.features.asked))
                return trained

        monkeypatch.setattr("mulki_hf.preparing.timing.MulKITrainer", Asked)
        # Crops, so that teachers are asked in every step.
        fields = {"method": "mulki", "random_resized_crop": 0.9, **adapted}
        seen = look(write(dict.fromkeys(("one", "two", "three"), "org/sound"), **fields))
        with connected(env):
            paces, _ = measured(seen)
        # The third one reads more prompts, those of two earlier tasks.
        assert asked == [("one", "original"), ("two", "original", "previous"), ("three", "original", "previous")]
        assert [timed.teachers for timed, _ in paces.steps] == [1, 2, 2]

    def test_checkpoints_of_epochs_are_as_many_as_the_task_has(self, write, look):
        """24 images, so that an epoch has six steps."""
        entries = {"a": {"dataset": "org/sound", "num_train_epochs": 5}, "b": "org/sound"}
        wanted = {"method": "finetune", "save_strategy": "epoch", "save_total_limit": 0}
        seen = look(write(entries, **wanted))
        assert [seen.steps(stage) for stage in seen.stages] == [30, 3]
        saves = {name: size / seen.disk["checkpoints of the tasks"] for name, size in seen.disk.items()}
        # Weights and two moments, of five checkpoints; two tasks leave weights.
        assert saves["Trainer's checkpoints"] == 3 * 5 / 2

    def test_what_lies_between_is_not_timed(self, write, look):
        entries = {n: {"dataset": "org/sound", "templates": ["a {}."] * n} for n in (2, 1, 3)}
        seen = look(write({f"t{n}": entry for n, entry in entries.items()}, method="finetune"))
        timed = stages_to_time(seen.stages, seen.tasks, seen.objective)
        assert [(one.prompts, one.stage.name) for one in timed] == [(3, "t1"), (9, "t3")]
        assert prompts_of_step(seen.tasks[2], seen.tasks[:2], seen.objective) == 9
