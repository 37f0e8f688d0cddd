"""A task's folder speaks for itself."""

import pytest
from PIL import Image
from support.results import make_results
from support.training import short_run

from mulki_hf.report.checkpoint import PICTURES, describe_checkpoint
from mulki_hf.results import StreamResults


@pytest.mark.pictures
def test_results_card_and_pictures(tmp_path):
    results = make_results(1)
    results.config = short_run("/home/ann/out", seed=3).to_dict()
    results.about.settings = {"reference_data_files": "/home/ann/pictures.tar"}
    describe_checkpoint(tmp_path, results)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "README.md", *PICTURES}
    for name in PICTURES:
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG" and min(picture.size) > 100
    shared = StreamResults.load(tmp_path)
    assert shared.accuracy == results.accuracy and (shared.config["output_dir"], shared.config["seed"]) == ("out", 3)
    assert "home/ann" not in (tmp_path / "results.json").read_text() + (tmp_path / "README.md").read_text()
    # What was made shareable is a copy.
    assert results.config["output_dir"] == "/home/ann/out"
