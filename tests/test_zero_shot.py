"""A stream on the benchmarks' own model says when it is far from what was published before any training."""

import pytest
import yaml
from huggingface_hub import HfApi
from support.hub import connected, stream_and_hub

from mulki_hf.evaluate import main as evaluate
from mulki_hf.report.benchmarks import PUBLISHED_FOR
from mulki_hf.results import StreamResults
from mulki_hf.train import main


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A stream that starts from the model of that name on the Hub; of its first task another accuracy was published."""
    place = tmp_path_factory.mktemp("zero-shot")
    with stream_and_hub(place) as run:
        recipe = yaml.safe_load((place / "stream.yaml").read_text())
        for task, published in zip(recipe["tasks"], (100.0, None), strict=True):
            name = task.pop("name")
            facts = {"zero_shot": published, "notes": [f"Of {name} nothing is confirmed."]}
            (place / f"{name}.yaml").write_text(yaml.safe_dump(task | {"benchmark": facts}))
        recipe["tasks"] = [{"name": name, "dataset": f"./{name}.yaml"} for name in ("colours", "shapes")]
        recipe["model_name_or_path"] = PUBLISHED_FOR
        (place / "stream.yaml").write_text(yaml.safe_dump(recipe))
        with connected(run.env, place):
            api = HfApi(endpoint=run.hub.url)
            api.create_repo("org/clip")
            api.upload_folder(repo_id="org/clip", folder_path=place / "tiny-clip")
            run.hub.repositories[PUBLISHED_FOR] = run.hub.repositories["org/clip"]
            yield run


def test_said_everywhere(ran, capsys):
    main(["--config", "stream.yaml", "--max_steps", "2"])
    said, results = capsys.readouterr().out, StreamResults.load(ran.out)
    (warning,) = results.warnings
    assert f"Zero-shot accuracy on colours is {results.zero_shot[0]:.1f} %" in warning
    assert said.index(f"WARNING: {warning}") < said.index("task 1/2 colours")
    assert said.count(f"WARNING: {warning}") == 2 and "colours: Of colours nothing is confirmed." in said
    for task, name in (("task1-colours", "colours"), ("task2-shapes", "shapes")):
        card = (ran.out / task / "README.md").read_text(encoding="utf-8")
        assert f"**Warning.** {warning}" in card and f"\n- {name}: Of {name} nothing is confirmed.\n" in card
        assert "local files (colours)" in card
    assert results.config["tasks"][0] == {"name": "colours", "dataset": "./colours.yaml"}
    assert results.tasks[0].benchmark["name"] == "colours" and results.tasks[0].class_names[0] == "red"


def test_said_of_the_model_alone(ran, capsys, tmp_path):
    tasks = ["--config", "stream.yaml", "--output_dir", str(tmp_path / "evaluated")]
    evaluate([PUBLISHED_FOR, *tasks])
    assert len(StreamResults.load(tmp_path / "evaluated").warnings) == 1
    assert "WARNING: Zero-shot accuracy on colours" in capsys.readouterr().out
    evaluate([str(ran.out / "task1-colours"), *tasks, "--overwrite"])
    assert not StreamResults.load(tmp_path / "evaluated").warnings


def test_once(ran, capsys):
    """Whoever goes on is not told anew; the table says it."""
    main(["--config", "stream.yaml", "--max_steps", "2", "--resume"])
    assert len(StreamResults.load(ran.out).warnings) == 1
    assert capsys.readouterr().out.count("WARNING: ") == 1
