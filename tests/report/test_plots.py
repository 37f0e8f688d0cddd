"""Results as pictures."""

import pytest
from PIL import Image
from support.results import empty_results

from mulki_hf.report.plots import plot_accuracy_matrix, plot_curves


@pytest.mark.parametrize("draw", [plot_accuracy_matrix, plot_curves])
@pytest.mark.parametrize(("tasks", "finished"), [(1, 0), (1, 1), (2, 1), (6, 6)])
def test_pictures(tmp_path, draw, tasks, finished):
    results = empty_results(*(f"task {j}" for j in range(tasks)), zero_shot=[40.0] * tasks)
    for i in range(finished):
        results.add({"til": [float(10 * i + j) for j in range(tasks)]})
    draw(results, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24)) > 10
