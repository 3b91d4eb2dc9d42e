"""The list of figures, their size, and names that the font does not have."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from aljax.records import files, reader
from aljax.report import figures, make, plots, render
from tests.harness import make_run

SCRIPTS = ["cat", "猫", "كلب", "पक्षी", "line\nbreak", "\udcff", "été", "🐸", "$x^2$", "<b>"]
DRAWABLE = ["cat", "été", "$x^2$", "<b>"]


def test_every_figure_has_a_section_and_is_written_and_shown(tmp_path, monkeypatch):
    """A new figure is a function and a line: on the page, and in its file, without a change elsewhere."""

    def calibration(shown):
        return [figures.Drawn("calibration", plots.empty()[0], f"of {len(shown)}")]

    more = [(place, lambda shown, place=place: extra(place)) for place in ("why", "images", "curves")]
    monkeypatch.setattr(figures, "FIGURES", (*figures.FIGURES, ("reliability", calibration), *more))

    def extra(place):
        return [figures.Drawn(f"extra-{place}", plots.empty()[0], "")]

    path = make_run(tmp_path / "run", trials=1, cycles=2)
    (path / "diagnostics.jsonl").unlink()
    make.report(path)
    page = (path / "report.html").read_text()
    for drawn in figures.draw([reader.load(path)]):
        assert page.count(f'id="figure-{drawn.name}"') == 1
        assert (path / "figures" / f"{drawn.name}.png").exists()
    assert '<section id="figures-reliability">' in page
    assert '<a href="#figures-reliability">' in page
    both = make.side_by_side([path, path], tmp_path / "both.html").read_text()
    assert 'id="figure-calibration"' in both


def test_of_several_runs_only_curves_and_c_against_fit_are_drawn(tmp_path):
    run = reader.load(make_run(tmp_path / "run", trials=1, cycles=2))
    assert [drawn.name for drawn in figures.draw([run, run])] == ["correlation", "accuracy", "fit"]
    assert [drawn.name for drawn in figures.draw([run, run._replace(lines=run.lines[:1])])][-1] == "fit"
    without = run._replace(lines=run.lines[:1])  # no cycle with a model
    assert [drawn.name for drawn in figures.draw([without, without])] == ["correlation", "accuracy"]
    assert figures.draw([run._replace(lines=[])]) == []


@pytest.mark.parametrize("count", [3, 40, 5_000])
def test_the_figure_of_classes_is_bounded(tmp_path, count):
    path = make_run(tmp_path / "run", trials=1, cycles=3, class_names=[f"class {i}" for i in range(count)])
    (drawn,) = figures.classes([reader.load(path)])
    width, height = drawn.figure.get_size_inches()
    assert width <= 12
    assert height <= 10
    shown = [label.get_text() for label in drawn.figure.axes[0].get_yticklabels()]
    assert len(shown) == min(count, 40)
    assert ("Of 5,000 classes, the 40 that the batches hold most of" in drawn.caption) == (count == 5_000)


def test_the_classes_shown_are_those_that_the_batches_hold_most_of(tmp_path):
    run = reader.load(make_run(tmp_path / "run", trials=1, cycles=2))
    counts = np.zeros(100, int)
    counts[[7, 30, 99]] = 5
    line = {"classes": {"pool": [1] * 100, "uncertainty": counts.tolist(), "diversity": counts.tolist()}}
    run = run._replace(diagnostics=[{"cycle": 1, **line}], galleries={})
    (drawn,) = figures.classes([run])
    shown = [label.get_text() for label in drawn.figure.axes[0].get_yticklabels()]
    assert shown == sorted(shown, key=lambda name: int(name.split()[1]))
    assert {"class 7", "class 30", "class 99"} <= set(shown)


def test_many_cycles_are_bounded_too():
    shares = {"a": np.zeros((3, 500)), "b": np.zeros((3, 500))}
    figure = plots.class_shares(shares, range(1, 501), ["x", "y", "z"])
    assert figure.get_size_inches()[0] <= 12
    assert len(figure.axes[0].get_xticks()) <= 25
    assert len(render.svg(figure)) < 1_000_000


@pytest.mark.parametrize("name", SCRIPTS)
def test_names_are_drawn_or_not_tried(name):
    assert plots.drawable(name) == (name in DRAWABLE)
    if name in DRAWABLE:
        figure, axes = plots.empty()
        axes.set_title(name, parse_math=False)
        render.png(figure)  # a letter that is missing would be a warning, which is an error


def test_classes_in_any_script_are_numbered_and_named_in_the_text(tmp_path):
    path = make_run(tmp_path / "run", trials=1, cycles=2, class_names=["cat", "猫", "كلب"])
    make.report(path)
    (drawn,) = figures.classes([reader.load(path)])
    assert [label.get_text() for label in drawn.figure.axes[0].get_yticklabels()] == ["0", "1", "2"]
    assert "The classes: 0 cat, 1 猫, 2 كلب." in drawn.caption
    page = (path / "report.html").read_text("utf-8")
    assert "1 猫" in page


def test_runs_in_any_script_are_numbered_and_named_in_the_text(tmp_path):
    paths = [make_run(tmp_path / name, trials=1, cycles=2) for name in ("猫", "Ant")]
    page = make.side_by_side(paths, tmp_path / "both.html").read_text("utf-8")
    assert "In the legend, run 1 is 猫, run 2 is Ant." in page


def test_a_name_that_is_no_text_does_not_stop_the_page(tmp_path):
    path = make_run(tmp_path / "run", trials=1, cycles=2)
    config = json.loads((path / "config.json").read_text())
    config["dataset"]["name"] = "\udcff"
    files.write(path / "config.json", json.dumps(config).encode())
    make.report(path)
    assert isinstance(figures.draw([reader.load(path)])[0].figure, Figure)
