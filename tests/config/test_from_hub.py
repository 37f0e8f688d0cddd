"""A recipe from the Hub chooses no files of this machine."""

import logging
import sys

import pytest
import yaml

from mulki_hf.config import parser
from mulki_hf.config.from_hub import confined
from mulki_hf.config.paths import shareable_settings
from mulki_hf.errors import ConfigurationError


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder that a user gives, beside one that it is not about; the process works in a third."""
    for name in ("data/pets", "data/sub", "data/org/both", "private", "work"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("data/names.txt", "data/sub/a.tar", "private/secret.txt"):
        (tmp_path / name).write_text("cat\ndog\n")
    (tmp_path / "data/link").symlink_to(tmp_path / "private")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "data"


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """Parses what lies on the Hub as somebody's recipe."""
    monkeypatch.setattr(parser, "fetch_file", lambda source, name, token: tmp_path / "recipe.yaml")

    def parse(recipe: dict, *options: str):
        recipe = {"tasks": [{"name": "pets", "dataset": "org/pets"}]} | recipe
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        return parser.parse(["--resume_from_hub", "org/task1", "--output_dir", "out", "--use_cpu", "true", *options])

    return parse


def of_task(**fields) -> dict:
    return {"tasks": [{"name": "pets", "dataset": "org/pets"} | fields]}


NAMED = {
    "class_names": lambda path: of_task(class_names=path),
    "rows": lambda path: of_task(rows=[path]),
    "dataset": lambda path: of_task(dataset=path),
    "data_files": lambda path: of_task(dataset="parquet", data_files={"train": ["x.parquet", path]}),
    "data_files of the Hub's": lambda path: of_task(data_files=path),
    "data_dir": lambda path: of_task(dataset="imagefolder", data_dir=path),
    "data_dir of the Hub's": lambda path: of_task(data_dir=path),
    "model": lambda path: {"model_name_or_path": path},
    "reference_dataset": lambda path: {"reference_dataset": path},
    "reference_text_dataset": lambda path: {"reference_text_dataset": path, "reference_text_column": "caption"},
    "reference_data_files": lambda path: {"reference_dataset": "json", "reference_data_files": path},
    "peft_config": lambda path: {"peft_config": path},
    "a tuner's": lambda path: {"peft_config": {"peft_type": "LORA", "corda_config": {"cache_file": path}}},
}


@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../private/secret.txt", "a/../../x", "~/x", "file:///etc/passwd", "https://host/x", "zip://*::x"],
)
def test_nothing_outside_the_folder(parsed, root, named, path):
    for options in ([], ["--data_root", str(root)]):
        with pytest.raises(
            ConfigurationError, match="'org/task1': in its recipe .* give --config with paths of your own"
        ):
            parsed(named(path), *options)


@pytest.mark.parametrize("named", [named for name, named in NAMED.items() if "Hub" not in name])
def test_local_paths_need_the_folder(parsed, root, named):
    with pytest.raises(ConfigurationError, match="in its recipe .* would be read from this machine; .* or --data_root"):
        parsed(named("names.txt"))
    with pytest.raises(ConfigurationError, match="in its recipe .* is a link that leads out of data_root"):
        parsed(named("link"), "--data_root", str(root))


@pytest.mark.parametrize("path", ["link/*.txt", "l*/secret.txt", "*/secret.txt"])
def test_no_pattern_leads_out_through_a_link(parsed, root, path):
    with pytest.raises(ConfigurationError, match="is a link that leads out of data_root"):
        parsed(NAMED["data_files"](path), "--data_root", str(root))
    with pytest.raises(ConfigurationError, match="is a link that leads out of data_root"):
        parsed(of_task(dataset=".", data_files=path), "--data_root", str(root))


@pytest.mark.parametrize("dataset", ["imagefolder", "parquet", "json"])
def test_a_builder_without_files_would_read_the_working_directory(parsed, root, dataset):
    with pytest.raises(ConfigurationError, match="names no data_files"):
        parsed(of_task(dataset=dataset), "--data_root", str(root))


def test_a_builder_that_unpickles_is_no_name_on_the_hub(parsed, root):
    with pytest.raises(ConfigurationError, match="pandas.* is no name on the Hub"):
        parsed(of_task(dataset="pandas", data_files="x.pkl"))


@pytest.mark.parametrize("change", [of_task(dataset="cifar100"), {"model_name_or_path": "gpt2"}])
def test_a_name_without_a_namespace_could_be_a_local_folder(parsed, change):
    with pytest.raises(ConfigurationError, match="has no namespace .*has to say `org/name`.*; give --config"):
        parsed(change)


def test_a_folder_inside_data_of_the_hubs(parsed):
    stream, _ = parsed(of_task(data_dir="sub"))
    assert stream.task_configs()[0].data_dir == "sub"
    with pytest.raises(ConfigurationError, match="in its recipe data_dir of task 'pets' '../x' is absolute"):
        parsed(of_task(data_dir="../x"))


def test_paths_in_the_folder_are_found_and_go_back_as_they_came(parsed, root):
    recipe = {
        "tasks": [
            {"name": "a", "dataset": "pets", "data_files": "train/*.png", "class_names": "names.txt"},
            {"name": "b", "dataset": "webdataset", "data_files": {"train": "./sub/*.tar", "test": ["sub/a.tar"]}},
            {"name": "c", "dataset": "imagefolder", "data_dir": "sub", "data_files": "*.png"},
            {
                "name": "d",
                "dataset": "org/d",
                "data_dir": "train",
                "data_files": "*.parquet",
                "class_names": ["/m/1", "/"],
            },
            {"name": "e", "dataset": "embedded:digits"},
        ],
        "model_name_or_path": "./clip",
    }
    stream, _ = parsed(recipe, "--data_root", "../data")
    tasks = stream.task_configs()
    assert stream.model_name_or_path == f"{root}/./clip"
    assert (tasks[0].dataset, tasks[0].data_files, tasks[0].class_names) == (
        f"{root}/pets", "train/*.png", f"{root}/names.txt",
    )  # fmt: skip
    assert tasks[1].data_files == {"train": f"{root}/./sub/*.tar", "test": [f"{root}/sub/a.tar"]}
    assert (tasks[2].dataset, tasks[2].data_dir, tasks[2].data_files) == ("imagefolder", f"{root}/sub", "*.png")
    assert dict(stream.tasks[3]) == recipe["tasks"][3] and tasks[4].dataset == "embedded:digits"
    shared = shareable_settings(vars(stream))
    assert {name: shared[name] for name in recipe} == recipe


def test_a_folder_with_the_name_of_the_hubs(parsed, root, tmp_path, caplog):
    """Is not taken by chance, and said where the user gave it."""
    (tmp_path / "work/org/pets").mkdir(parents=True)
    with pytest.raises(
        ConfigurationError, match="'org/pets' would be read from '.*work/org/pets', which has that name"
    ):
        parsed({})
    (tmp_path / "work/json").mkdir()
    files = {"dataset": "json", "data_files": "names.txt"}
    assert parsed(of_task(**files), "--data_root", str(root))
    (tmp_path / "work/json/dataset_dict.json").touch()
    with pytest.raises(ConfigurationError, match="'json' would be read from '.*work/json'"):
        parsed(of_task(**files), "--data_root", str(root))
    with caplog.at_level(logging.WARNING):
        stream, _ = parsed(of_task(dataset="org/both"), "--data_root", str(root))
    assert stream.task_configs()[0].dataset == f"{root}/org/both"
    assert "'org/both' is read from data_root" in caplog.text


@pytest.mark.parametrize("revision", ["../../x", "a/../../x", "/x", "..", "~/x"])
def test_a_revision_is_no_path(parsed, revision):
    """In the Hub's cache it is the name of a file."""
    for recipe in ({"model_revision": revision}, {"reference_revision": revision}, of_task(revision=revision)):
        with pytest.raises(ConfigurationError, match="in its recipe .*revision.* is no branch, tag or commit"):
            parsed(recipe)


def test_what_yaml_has_beyond_json_is_no_way_round(root):
    with pytest.raises(ConfigurationError, match="its recipe can't be read"):
        confined(of_task(dataset="parquet", data_files={"/etc/passwd"}), "org/task1", str(root))


def test_the_folder_is_for_recipes_from_the_hub(parsed, stream_yaml):
    with pytest.raises(ConfigurationError, match="data_root is for a recipe from the Hub"):
        parsed({}, "--config", str(stream_yaml()), "--data_root", ".")


def test_a_recipe_of_an_older_version_has_one_protocol(parsed):
    assert parsed({"protocol": "cil"})[0].protocols == ["cil"]


def test_own_options_may_name_anything(parsed, root, tmp_path):
    stream, _ = parsed({}, "--model_name_or_path", str(tmp_path))
    assert stream.model_name_or_path == str(tmp_path)


class TestMethod:
    """It chooses no code either."""

    @pytest.fixture(autouse=True)
    def module(self, tmp_path, monkeypatch):
        """One that says when it is imported."""
        content = "from mulki_hf.objectives.mulki import MulKI\nclass Hooked(MulKI): pass\nprint('imported')\n"
        (tmp_path / "hooked.py").write_text(content)
        monkeypatch.syspath_prepend(tmp_path)
        yield
        sys.modules.pop("hooked", None)

    def test_is_not_imported_for_a_recipe(self, parsed, capsys):
        message = "'org/task1': its recipe's method 'hooked:Hooked' is code .* give --method hooked:Hooked yourself"
        with pytest.raises(ConfigurationError, match=message):
            parsed({"method": "hooked:Hooked"})
        assert "imported" not in capsys.readouterr().out and "hooked" not in sys.modules

    def test_is_for_the_user(self, parsed, capsys):
        _, config = parsed({"method": "hooked:Hooked"}, "--method", "hooked:Hooked")
        assert config.method == "hooked:Hooked" and "imported" in capsys.readouterr().out
        assert parsed({"method": "hooked:Hooked"}, "--method", "snd")[1].method == "snd"
