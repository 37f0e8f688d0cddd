"""Any task in YAML: it is loaded as it was written, or refused with a message that names the field."""

import dataclasses
import math

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mulki_hf import TaskConfig
from mulki_hf.config.parser import parse
from mulki_hf.data.config import TaskSpec
from mulki_hf.errors import ConfigurationError
from mulki_hf.strict_yaml import parse_yaml


FIELDS = sorted(field.name for field in dataclasses.fields(TaskConfig) if field.name != "benchmark")
names = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["train", "a", "no", "1e-3", "{}", "a {}."])
numbers = st.integers(-(10**20), 10**20) | st.floats() | st.integers(-1, 3)
scalars = st.none() | st.booleans() | numbers | names
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3), max_leaves=6
)
LIKELY = {
    "name": st.sampled_from(["pets", "cars-2", "é"]),
    "dataset": st.sampled_from(["org/pets", "embedded:digits", "parquet"]),
    "templates": st.lists(st.sampled_from(["{}", "a {}.", "ein {} 犬"]), min_size=1, max_size=3),
    "class_names": st.lists(names, max_size=3) | st.dictionaries(names | st.integers(), names, max_size=3),
    "class_incremental": st.integers(1, 5) | st.lists(st.integers(1, 5), min_size=1, max_size=3),
    "class_order_seed": st.none() | st.integers(0, 9),
    "data_files": st.fixed_dictionaries({"train": st.sampled_from(["a.parquet", ["a", "b"]])}),
    "random_split": st.fixed_dictionaries({"share": st.floats(0, 1), "seed": st.integers(0, 3)}),
    "learning_rate": st.floats(1e-6, 1) | st.sampled_from(["1e-5", "x"]),
    "shots": st.integers(0, 20),
    "sample_seed": st.integers(-1, 2**33),
}


def entries():
    """Mostly a task, with values that fit or don't, keys that are none, and one or another left out."""
    plausible = {name: LIKELY.get(name, st.none() | st.sampled_from(["a", "b[:10%]"])) for name in FIELDS}
    likely = st.fixed_dictionaries({}, optional=plausible)
    odd = st.dictionaries(st.sampled_from([*FIELDS, "nme", "streaming"]) | scalars, values, max_size=2)
    base = st.fixed_dictionaries({"name": LIKELY["name"], "dataset": LIKELY["dataset"]})
    return st.builds(lambda base, likely, odd: base | likely | odd, base, likely, odd)


def same(one, other) -> bool:
    """Equality, of NaN too."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def written(value) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def refused(error: ConfigurationError) -> bool:
    """In one line of characters that are seen."""
    return str(error).isprintable() and 0 < len(str(error)) < 2000


@settings(max_examples=200)
@given(entries())
def test_what_is_loaded_is_written_and_loaded_alike(spec):
    try:
        task = TaskConfig.from_dict(spec, 3)
    except ConfigurationError as error:
        message = str(error)
        assert refused(error), message
        assert message.startswith(("tasks, entry 3", "task ")), message
        assert any(str(key) in message or repr(key)[1:-1] in message for key in spec) or "missing" in message, message
        return
    plain = {name: value for name, value in dataclasses.asdict(task).items() if name != "benchmark"}
    again = parse_yaml(written(plain), "here")
    assert same(again, plain)
    given = {name: value for name, value in again.items() if value is not None}
    assert same(dataclasses.asdict(TaskConfig.from_dict(given, 3)) | {"benchmark": None}, plain | {"benchmark": None})


@given(values)
def test_what_is_written_is_read(value):
    """Whatever YAML's own writer makes; but for a number so long that nobody means it."""
    try:
        assert same(parse_yaml(written(value), "here"), value)
    except ConfigurationError as error:
        assert refused(error)


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"#%@,?\n \t01.~<é\\"), max_size=40))
def test_any_text_is_read_or_refused(text):
    for read in (lambda: parse_yaml(text, "here"), lambda: TaskSpec(text)):
        try:
            read()
        except Exception as error:
            assert type(error).__name__ in ("ConfigurationError", "ArgumentTypeError")
            assert "\n" not in str(error) and str(error).startswith(("here", "tasks", "must be"))


@settings(max_examples=12)
@given(
    entries(), st.dictionaries(st.sampled_from(["learning_rate", "max_steps", "method", "protocols", "seed"]), values)
)
def test_a_recipe_is_parsed_or_refused(tmp_path_factory, spec, others):
    path = tmp_path_factory.getbasetemp() / "recipe.yaml"
    path.write_text(written({"tasks": [spec], "output_dir": "out", "use_cpu": True} | others), encoding="utf-8")
    try:
        stream, _ = parse(["--config", str(path)])
        assert [task.name for task in stream.task_configs()] == [spec["name"]]
    except ConfigurationError as error:
        assert "\n" not in str(error)
