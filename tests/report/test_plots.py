"""Results as pictures."""

import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.results import by_protocols, empty_results

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


@pytest.mark.parametrize(("protocol", "value"), [(None, 80.25), ("cil", 80.25), ("til", 60.25)])
def test_each_protocol_has_pictures_of_its_own(tmp_path, monkeypatch, protocol, value):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(figure))
    for draw in (plot_accuracy_matrix, plot_curves):
        draw(by_protocols(), tmp_path / "x.png", protocol)
    matrix, curves = drawn
    assert matrix.axes[0].images[0].get_array()[1, 0] == value
    assert curves.axes[0].lines[1].get_ydata()[1] == value
    titles = [matrix.axes[0].get_title(), curves.get_suptitle()]
    assert all(title.startswith(f"mulki, {protocol or 'cil'}: ") for title in titles)


@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_the_title_is_not_cut_off(tmp_path, monkeypatch, tasks):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(figure))
    results = empty_results(*(f"task {j}" for j in range(tasks)), protocol="xtail", zero_shot=[40.0] * tasks)
    plot_curves(results, tmp_path / "x.png")
    drawn[0].canvas.draw()
    (title,) = (text for text in drawn[0].texts if text.get_text() == drawn[0].get_suptitle())
    extent = title.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= drawn[0].bbox.width


@pytest.mark.parametrize("tasks", [3, 6, 7, 8, 11])
def test_a_panel_with_none_below_has_its_ticks_written(tmp_path, monkeypatch, tasks):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(figure))
    plot_curves(empty_results(*(f"$task_{j}$" for j in range(tasks)), zero_shot=[40.0] * tasks), tmp_path / "x.png")
    panels = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == [f"$task_{j}$" for j in range(tasks)]
    written = [axes.xaxis.get_tick_params()["labelbottom"] for axes in panels]
    assert written == [j + 5 >= tasks for j in range(tasks)]
    assert [bool(axes.get_ylabel()) for axes in panels] == [j % 5 == 0 for j in range(tasks)]
