"""Tasks whose data lie on the Hub: in every format, and in every way out of reach."""

import pytest
from support.benchmark import WEBDATASET, publish_benchmarks
from support.hub import connected, hub_environment, tiny_hub
from support.hub_data import labelled, parquet, repository, webdataset

from mulki_hf import ConfigurationError, StreamConfig, load_stream
from mulki_hf.data import registry


NAMES = ["zebra", "crab", "apple"]


@pytest.fixture(scope="module")
def hub():
    """With a dataset of each kind; to be read alone."""
    train, test = labelled(NAMES, 4), labelled(NAMES, 2, seed=1)
    with tiny_hub() as hub:
        files = repository({"train": train, "test": test}, license="mit")
        hub.publish("datasets/org/plain", files)
        hub.publish("datasets/org/named", repository({"train": train, "test": test}, "main"))
        hub.publish("datasets/org/gated", files, gated=True)
        hub.publish("datasets/org/shards", {f"{n}/0.tar": webdataset(r) for n, r in (("train", train), ("test", test))})
        hub.publish("datasets/org/torn", {f"data/{name}-0.parquet": parquet(train)[:-50] for name in ("train", "test")})
        hub.publish(
            "datasets/org/torn_shards", {f"{name}/0.tar": webdataset(train)[:700] for name in ("train", "test")}
        )
        yield hub


@pytest.fixture(scope="module")
def env(hub, tmp_path_factory):
    return hub_environment(hub, tmp_path_factory.mktemp("hf-home"))


@pytest.fixture
def load(env):
    """The task of an entry without a name."""

    def load(**entry):
        with connected(env):
            return load_stream(StreamConfig(tasks=[{"name": "t"} | entry]))[0]

    return load


def test_parquet(load):
    for entry in ({"dataset": "org/plain"}, {"dataset": "org/named", "config_name": "main"}):
        task = load(**entry)
        assert (task.class_names, len(task.train), len(task.evaluation)) == (NAMES, 12, 6)
    assert load(dataset="org/plain").fingerprint == task.fingerprint


def test_a_webdataset(load):
    task = load(dataset="org/shards", image_column="png", label_column="cls", class_names=NAMES)
    assert task.fingerprint == load(dataset="org/plain").fingerprint


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("org/gated", "'org/gated' is a gated dataset on the Hub. Visit the dataset page"),
        ("org/nowhere", "'org/nowhere' doesn't exist on the Hub or cannot be accessed"),
        ("org/torn", "Parquet magic bytes not found in footer"),
        ("org/torn_shards", "unexpected end of data"),
    ],
)
def test_out_of_reach(load, dataset, message):
    with pytest.raises(
        ConfigurationError, match=f"^task 't', dataset '{dataset}': can't load split 'train': .*{message}"
    ):
        load(dataset=dataset)


def test_a_revision_that_is_not_there(load):
    with pytest.raises(ConfigurationError, match="Revision 'v9' doesn't exist for dataset 'org/plain'"):
        load(dataset="org/plain", revision="v9")


def test_whoever_accepted_the_terms_reads_a_gated_one(hub, load):
    hub.repositories["datasets/org/gated"].accepted.add("ann")
    try:
        assert load(dataset="org/gated").class_names == NAMES
    finally:
        hub.repositories["datasets/org/gated"].accepted.clear()


def test_miniatures_have_the_registered_schemas(tmp_path, monkeypatch):
    """Registered datasets load by their own entries, their counts checked: those of the miniature."""
    with tiny_hub() as hub:
        families = {"mtil_coop", "cil"}
        monkeypatch.setattr(registry, "BENCHMARKS", publish_benchmarks(hub, tmp_path / "yaml", families))
        names = [*registry.names()]
        assert WEBDATASET in names and len(names) == 15
        tasks = [{"name": name.replace(":", "-"), "dataset": name} for name in names]
        with connected(hub_environment(hub, tmp_path / "hf-home")):
            for name, task in zip(names, load_stream(StreamConfig(tasks=tasks)), strict=True):
                _, facts = registry.read(name, "tests")
                assert (facts.classes, facts.train, facts.evaluation) == (
                    len(task.class_names), len(task.train), len(task.evaluation)
                )  # fmt: skip
