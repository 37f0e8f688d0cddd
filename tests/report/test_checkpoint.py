"""A task's folder speaks for itself."""

import pytest
from PIL import Image
from support.results import by_protocols, make_results
from support.training import short_run

from mulki_hf.report.checkpoint import describe_checkpoint, draw, picture_names
from mulki_hf.results import StreamResults
from mulki_hf.runs.records import describe_method, shareable_results


PICTURES = ["accuracy_matrix.png", "curves.png"]


@pytest.mark.pictures
def test_results_card_and_pictures(tmp_path):
    results = make_results(1)
    tuner = {"peft_type": "OFT", "base_model_name_or_path": "/home/ann/clip", "target_modules": ".*layers/[01]"}
    results.config = short_run("/home/ann/out", seed=3, peft_config=tuner, connecting=False).to_dict()
    results.config["reference_data_files"] = "/home/ann/pictures.tar"
    describe_method(results)
    (tmp_path / "adapter").mkdir()
    describe_checkpoint(tmp_path, shareable_results(results))
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "README.md", "adapter", *PICTURES}
    for name in PICTURES:
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG" and min(picture.size) > 100
    shared = StreamResults.load(tmp_path)
    assert shared.accuracy == results.accuracy and (shared.config["output_dir"], shared.config["seed"]) == ("out", 3)
    written = [(tmp_path / name).read_text() for name in ("results.json", "README.md", "adapter/README.md")]
    assert "home/ann" not in "".join(written) and "`clip`, `target_modules`: `.*layers/[01]`" in written[2]
    assert "pictures.tar" in written[1]
    # What was made shareable is a copy.
    assert results.config["output_dir"] == "/home/ann/out"


def test_pictures_by_each_protocol(tmp_path):
    """The headline's have the names that they have without others."""
    draw(by_protocols(), tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    others = [f"{picture}_{protocol}.png" for protocol in ("xtail", "til") for picture in ("accuracy_matrix", "curves")]
    assert drawn == {*PICTURES, *others} == {*picture_names(["cil", "xtail", "til"])}
    assert len({(tmp_path / name).read_bytes() for name in drawn}) == 6
