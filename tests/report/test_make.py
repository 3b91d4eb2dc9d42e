"""The report of a stored run: its numbers, its HTML, and what it says where something is missing."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import html5lib
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from aljax.cli import report as command
from aljax.records import files, reader, summary
from aljax.report import claims, figures, make, page, render, terminal
from tests.harness import BUDGET, SUBSET, config_of, make_run

FIGURES = ("correlation", "accuracy", "distance", "coverage", "spearman", "classes", "subpool-cycle-04")
ALIEN = '<script>alert(1)</script>"&$x^2$'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run and its report."""
    path = make_run(tmp_path_factory.mktemp("report") / "insects")
    make.report(path)
    return path


def parsed(path):
    """The page as a tree; the parser raises where it is not HTML5."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(path.read_text("utf-8"))


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def rows_of(section):
    return [[text_of(cell) for cell in row if cell.tag in ("td", "th")] for row in section.iter("tr")]


def section(tree, name):
    return next(element for element in tree.iter() if element.get("id") == name)


def page_of(path):
    """The page of a run as a tree, without the files that go with it."""
    loaded = reader.load(path)
    (path / "page.html").write_bytes(make.html([loaded], figures.draw([loaded])))
    return parsed(path / "page.html")


def test_the_page_is_html_without_any_reference_to_elsewhere(run):
    tree = parsed(run / "report.html")
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in tree.iter():
        for name, value in element.attrib.items():
            if name in ("src", "href") or str(name).endswith("}href"):
                assert value.startswith(("#", "data:image/png;base64,")), value
                if value.startswith("#"):
                    assert value[1:] in ids
            for target in re.findall(r"url\(([^)]*)\)", str(value)):
                assert target.startswith("#")
                assert target[1:] in ids
    source = (run / "report.html").read_text("utf-8")
    assert "http" not in re.sub(r"http-equiv", "", source)
    assert "@import" not in source
    assert "url(" not in next(tree.iter("style")).text
    assert not list(tree.iter("script"))


def test_every_figure_is_there_as_a_file_and_in_the_page(run):
    tree = parsed(run / "report.html")
    for name in FIGURES:
        drawing = section(tree, f"figure-{name}")
        svg = next(element for element in drawing.iter() if str(element.tag).endswith("svg"))
        assert svg.get("role") == "img"
        assert svg.get("aria-label") in text_of(drawing)
        with Image.open(run / "figures" / f"{name}.png") as image:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=1)
            assert image.size[0] >= 1_000
        assert (run / "figures" / f"{name}.svg").read_bytes().startswith(b"<?xml")
    assert "correlation C" in text_of(section(tree, "figure-correlation"))
    assert "test accuracy (%)" in text_of(section(tree, "figure-accuracy"))


def test_the_table_of_the_page_is_that_of_the_terminal(run, capsys):
    tree = parsed(run / "report.html")
    terminal.show(run)
    printed = capsys.readouterr().out
    table = rows_of(section(tree, "cycles"))
    lines, _ = files.read_lines(run / "cycles.jsonl")
    for cycle, row in enumerate(table[1:], start=1):
        c = [line["C"] for line in lines if line["cycle"] == cycle]
        accuracy = [100 * line["accuracy"] for line in lines if line["cycle"] == cycle]
        assert row[0] == str(cycle)
        assert row[1] == str(BUDGET * cycle)
        assert row[2] == f"{np.mean(accuracy):.1f} ± {np.std(accuracy, ddof=1):.1f}"
        assert row[4] == f"{BUDGET**2 / SUBSET:g}"
        assert row[5] == f"{np.mean(c):+.3f} ± {np.std(c, ddof=1):.3f}"
        apart = sum(line["p_value"] < 0.05 for line in lines if line["cycle"] == cycle)
        assert row[6] == f"{apart} of 3"
        assert re.search(r"│ +" + r" +│ +".join(re.escape(cell) for cell in row[:6]) + r" +│", printed)
    for claim in claims.judge(reader.load(run).config, lines):
        if claim.verdict != claims.DOES_NOT_APPLY:
            assert f"{claim.text}? {claim.verdict}: {claim.measured}" in printed


def test_the_curves_are_drawn_through_means_and_intervals(run):
    loaded = reader.load(run)
    axes = figures.correlation([loaded])[0].figure.axes[0]
    values = np.array([[line["C"] for line in loaded.lines if line["trial"] == t] for t in range(3)])
    curve = next(line for line in axes.lines if line.get_label().startswith("mean of 3 trials"))
    assert curve.get_xdata().tolist() == [1, 2, 3, 4]
    assert curve.get_ydata() == pytest.approx(values.mean(axis=0))
    area = next(c for c in axes.collections if c.get_paths()[0].vertices.shape[0] > 6).get_paths()[0].vertices
    low, high = stats.t.interval(0.95, 2, values.mean(axis=0), stats.sem(values))
    for edge in (low, high):
        for x, y in zip((1, 2, 3, 4), edge, strict=True):
            assert np.abs(area - (x, y)).sum(axis=1).min() < 1e-9
    for trial in values:
        assert any(np.array_equal(line.get_ydata(), trial) for line in axes.lines)
    overlaps = stats.hypergeom(SUBSET, BUDGET, BUDGET).ppf([0.025, 0.975])
    band = next(patch for patch in axes.patches if "independent" in patch.get_label())
    edges = band.get_bbox().y0, band.get_bbox().y1
    assert edges == pytest.approx(
        tuple(np.log1p((SUBSET - 2 * BUDGET) / BUDGET * SUBSET / BUDGET * overlaps / BUDGET) / np.log(4) - 1)
    )
    accuracy = figures.accuracy([loaded])[0].figure.axes[0]
    curve = next(line for line in accuracy.lines if line.get_label().startswith("mean"))
    assert curve.get_xdata().tolist() == [8, 16, 24, 32]


def test_the_studys_points_and_bands_are_for_its_data_alone(run, tmp_path):
    assert (
        "the study"
        not in figures.correlation([reader.load(run)])[0].figure.axes[0].get_legend_handles_labels()[1]
    )
    loaded = reader.load(run)
    config = {**loaded.config, "dataset": {"name": "cifar10"}, "budget": 1_000, "subset_size": 10_000}
    lines = [
        {**line, "cycle": 1 + 3 * (line["cycle"] - 1), "labeled": 1_000 + 3_000 * (line["cycle"] - 1)}
        for line in loaded.lines
    ]
    study = loaded._replace(config=config, lines=lines)
    drawn = figures.correlation([study])[0]
    points = next(line for line in drawn.figure.axes[0].lines if line.get_label() == "the study")
    assert dict(zip(points.get_xdata(), points.get_ydata(), strict=True)) == {2: -0.355, 10: 0.596}
    assert "stars" in drawn.caption
    texts = {text.get_text() for text in figures.accuracy([study])[0].figure.axes[0].texts}
    assert texts == {"published", "random", "learning_loss", "core_set", "entropy"}


def test_images_and_diagnostics_are_those_of_the_records(run):
    tree = parsed(run / "report.html")
    loaded = reader.load(run)
    leaf = section(tree, "leaf-3")
    kept = loaded.galleries[0, 3]
    images = list(leaf.iter("img"))
    assert len(images) == len(kept.shown)
    assert [image.get("alt") for image in images] == [
        kept.class_names[kept.labels[position]] for position in kept.shown
    ]
    assert f"loss {kept.scores[kept.shown[0]]:.2f}" in text_of(leaf)
    assert f"dist. {kept.distance[kept.shown[-1]]:.2f}" in text_of(leaf)
    assert page.data_uri(kept.images[0]) == images[0].get("src")
    why = rows_of(section(tree, "why"))
    distances = [line["distance"]["uncertainty"] for line in loaded.diagnostics if line["cycle"] == 2]
    assert f"{np.mean(distances):.2f} ± {np.std(distances, ddof=1):.2f}" in next(
        r for r in why if r[0] == "2"
    )
    gap = next(row for row in why if row[0].startswith("cycle 4: mean distance of the uncertainty batch"))
    line = [line["distance"] for line in loaded.diagnostics if line["cycle"] == 4]
    test = stats.ttest_rel([x["uncertainty"] for x in line], [x["pool"] for x in line])
    assert gap[3:5] == ["3", f"{test.pvalue:.2g}"]


def test_timings_by_hand(run):
    table = page.timings(reader.load(run))
    assert table["headings"][1:] == ("score", "select", "train", "evaluate", "all", "images/s in training")
    assert table["rows"][1] == ("2", "0.50", "0.25", "2.00", "0.25", "3.0", "80")  # 10 epochs of 16 in 2 s
    assert table["training"] == "80"
    assert table["scoring"] == f"{(SUBSET + 16) / 0.5:,.0f}"


def test_class_names_stay_text(tmp_path):
    path = make_run(
        tmp_path / "<b>run", class_names=(ALIEN, "b"), uncertainty="<i>mine</i>", trials=1, cycles=2
    )
    tree = page_of(path)
    assert not list(tree.iter("script"))
    assert not list(tree.iter("i"))
    assert ALIEN in text_of(section(tree, "images"))
    assert "<script>alert(1)<…" in text_of(section(tree, "figure-classes"))
    assert "<i>mine</i>" in text_of(next(tree.iter("h1")))
    assert "<b>run" in text_of(tree)


def test_one_trial(tmp_path):
    tree = page_of(make_run(tmp_path / "one", trials=1, cycles=3))
    table = rows_of(section(tree, "verdict"))
    assert {row[-1][2:] for row in table[1:]} <= {claims.TOO_FEW, claims.DOES_NOT_APPLY}
    assert "±" not in text_of(section(tree, "figure-correlation"))
    assert section(tree, "why") is not None


@pytest.mark.parametrize("lines", [0, 1, 5])
def test_an_unfinished_run_says_so(tmp_path, lines):
    path = make_run(tmp_path / "unfinished", lines=lines)
    said = text_of(page_of(path))
    if lines:
        assert f"Unfinished: {lines} of 12 cycles are complete." in said
    else:
        assert "No cycle is complete yet" in said
        assert command.main([str(path)]) == 0
        assert not (path / "summary.json").exists()


def test_what_is_missing_is_said(run, tmp_path):
    path = tmp_path / "poor"
    shutil.copytree(run, path)
    shutil.rmtree(path / "gallery")
    (path / "timings.jsonl").unlink()
    lines = (path / "diagnostics.jsonl").read_bytes().splitlines(keepends=True)
    (path / "diagnostics.jsonl").write_bytes(b"".join(lines[:5]) + b"{")
    said = text_of(page_of(path))
    assert "timings.jsonl: missing; no seconds per phase" in said
    assert "diagnostics.jsonl: lacks 7 of 12 cycles" in said
    assert "gallery/: missing; no images" in said
    (path / "diagnostics.jsonl").write_bytes(b"nonsense\n" + b"".join(lines))
    assert "diagnostics.jsonl: 1: damaged" in text_of(page_of(path))
    shutil.copytree(run / "gallery", path / "gallery")
    (path / "gallery" / "trial-00" / "cycle-03.npz").write_bytes(b"PK")
    said = text_of(page_of(path))
    assert "gallery/trial-00/cycle-03.npz: damaged" in said
    assert "gallery/: missing" not in said


def sections(tree):
    return [element.get("id") for element in tree.iter("section")]


def test_the_verdict_leads_where_the_run_is_on_the_studys_data_and_ends_the_page_elsewhere(run, tmp_path):
    other = sections(parsed(run / "report.html"))
    assert other[:2] == ["curves", "cycles"]
    assert other[-2:] == ["verdict", "config"]
    dataset = config_of("cifar10")["dataset"]
    tree = page_of(make_run(tmp_path / "study", trials=1, cycles=2, dataset=dataset, train={"flip": False}))
    assert sections(tree)[:2] == ["verdict", "curves"]
    said = text_of(section(tree, "verdict"))
    assert "train.flip False (the study: True)" in said
    for one in (tree, parsed(run / "report.html")):
        assert text_of(one).count("a two-page conference paper in Korean") == 1


def test_doubts_are_notices_and_withhold_the_verdict(tmp_path):
    path = make_run(tmp_path / "doubtful", trials=2)
    lines, _ = files.read_lines(path / "cycles.jsonl")
    for line in lines:
        line["doubts"] = ["the test loss <9> is far above ln 3"]
        line["ties"] = line["cycle"] - 1
    files.write(path / "cycles.jsonl", b"".join(map(files.encoded, lines)))
    tree = page_of(path)
    notice = next(text_of(one) for one in tree.iter("div") if one.get("class") == "notice")
    assert "Trial 0, cycle 1: the test loss <9> is far above ln 3" in notice
    assert "... and 3 more like these" in notice
    verdicts = {row[-1][2:] for row in rows_of(section(tree, "verdict"))[1:]}
    assert verdicts == {claims.WITHHELD, claims.DOES_NOT_APPLY}
    heading, *cycles = (row[6] for row in rows_of(section(tree, "cycles")))
    assert heading == "tied at the cut"
    assert cycles == ["0.0 ± 0.0", "1.0 ± 0.0", "2.0 ± 0.0", "3.0 ± 0.0"]


def test_a_stopped_trial_is_no_unfinished_one(tmp_path):
    path = make_run(tmp_path / "stopped", trials=2, lines=6)  # trial 1 has two cycles of four
    assert reader.unfinished(reader.load(path))
    lines, _ = files.read_lines(path / "cycles.jsonl")
    lines[3]["stopped"] = "cycles: all 4, as planned"
    lines[5]["stopped"] = "accuracy: it is enough"
    (path / "cycles.jsonl").write_bytes(b"".join(map(files.encoded, lines)))
    loaded = reader.load(path)
    assert not reader.unfinished(loaded)
    assert reader.stopped(loaded) == ["Trial 1 stopped after cycle 2: accuracy: it is enough"]


def test_pairs_of_strategies_are_a_matrix_of_means(run, tmp_path):
    path = tmp_path / "pairs"
    shutil.copytree(run, path)
    (path / "pairs.jsonl").touch()
    for trial in range(3):
        for cycle in range(1, 5):
            for a, b, c in (("x", "y", 0.2 * cycle), ("x", "z", None), ("y", "z", -0.5 + 0.1 * trial)):
                line = {"trial": trial, "cycle": cycle, "a": a, "b": b, "C": c}
                files.append(path / "pairs.jsonl", line)
    first, last = page.matrices(reader.load(path))
    assert (first["cycle"], last["cycle"]) == (2, 4)
    assert first["names"] == ["x", "y", "z"]
    assert first["means"][0][1] == first["means"][1][0] == pytest.approx(0.4)
    assert last["means"][1][2] == pytest.approx(-0.4)
    assert np.isnan(first["means"][0][2])
    matrix = rows_of(section(page_of(path), "pairs"))
    assert matrix[1] == ["x", "·", "+0.40", "-"]


def test_several_runs_side_by_side(run, tmp_path):
    other = make_run(tmp_path / "other", seed=1, uncertainty="entropy")
    out = tmp_path / "both.html"
    assert command.main([str(run), str(other), f"--out={out}"]) == 0
    tree = parsed(out)
    assert "2 runs side by side" in text_of(tree)
    assert "entropy against core_set" in text_of(tree)
    legend = text_of(section(tree, "figure-correlation"))
    assert "insects" in legend
    assert "other" in legend
    a, b = (summary.by_trial(reader.load(path).lines, "accuracy") for path in (other, run))
    p = stats.ttest_rel([a[t][4] for t in range(3)], [b[t][4] for t in range(3)]).pvalue
    gap = next(row for row in rows_of(tree) if row[0] == "accuracy at 32 labels: other minus insects")
    assert gap[3:5] == ["3", f"{p:.2g}"]


def test_a_finished_report_is_made_once(run):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    make.report(run)
    make.Refresher(run)()
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


def test_the_page_is_refreshed_within_its_share_of_the_time(tmp_path, monkeypatch):
    path = make_run(tmp_path / "going", lines=3)
    now = [100.0]
    monkeypatch.setattr(make.time, "monotonic", lambda: now[0])
    made = []

    def slow_page(*_):
        made.append(now[0])
        now[0] += 2
        return b"a page"

    monkeypatch.setattr(make, "html", slow_page)
    refresh = make.Refresher(path)
    for _ in range(1_010):
        refresh()
        now[0] += 1
    assert made[0] == 100 + make.FIRST
    assert len(made) == 5
    assert min(np.diff(made)) >= 2 / make.SHARE
    assert (path / "report.html").read_text() == "a page"


def test_equal_records_give_equal_figures(run):
    loaded = reader.load(run)
    for make_bytes in (render.svg, render.png):
        first, second = (make_bytes(figures.correlation([loaded])[0].figure) for _ in range(2))
        assert first == second


def test_matplotlib_is_left_as_it_was(run):
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.draw([reader.load(run)])
    assert dict(matplotlib.rcParams) == before


def test_a_folder_that_is_no_run_is_refused_in_one_line(run, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    (broken / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    strange = tmp_path / "strange"
    shutil.copytree(run, strange)
    (strange / "cycles.jsonl").write_bytes(files.encoded({"trial": 0, "cycle": 1, "labeled": "ten"}))
    for path, message in (
        (tmp_path / "none", "none: no config.json; accepted: a run directory"),
        (tmp_path / "empty", "empty: no config.json"),
        (broken, "config.json: not a config that aljax wrote (it lacks 'trials')"),
        (strange, "cycles.jsonl:1: damaged (labeled is 'ten', not a number or null)"),
    ):
        assert command.main([str(path)]) == 2
        said = capsys.readouterr().err.strip()
        assert message in said
        assert "\n" not in said


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 500)])
def test_in_a_browser(run, tmp_path, scheme, width):
    browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if browser is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} on the path")
    # What the page is like once it is laid out, written into its own title.
    probe = """<script>
      const drawings = [...document.querySelectorAll('.drawing svg')];
      const figures = drawings.filter(svg => svg.getBoundingClientRect().width > 200);
      const images = [...document.images].filter(i => i.naturalWidth > 0);
      const text = getComputedStyle(document.querySelector('#figure-correlation svg text')).fill;
      const page = getComputedStyle(document.body);
      document.title = JSON.stringify({figures: figures.length, images: images.length, text: text,
        ink: page.color, paper: page.backgroundColor, wide: document.documentElement.scrollWidth});
    </script>"""
    source = (run / "report.html").read_text("utf-8")
    assert source.count("style-src 'unsafe-inline';") == 1
    probed = source.replace(
        "style-src 'unsafe-inline';", "style-src 'unsafe-inline'; script-src 'unsafe-inline';"
    )
    (tmp_path / "page.html").write_text(probed.replace("</body>", probe + "</body>"), "utf-8")
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        f"--window-size={width},900",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        (tmp_path / "page.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    title = html5lib.parse(done.stdout, namespaceHTMLElements=False).find("head/title")
    found = json.loads(title.text)
    assert found["figures"] == len(FIGURES)  # of the pictures of sub-pools, the chosen cycle's
    assert found["images"] == sum(len(kept.shown) for kept in reader.load(run).galleries.values())
    assert found["text"] == found["ink"]
    assert found["wide"] <= width
    brightness = sum(int(x) for x in re.findall(r"\d+", found["paper"])[:3])
    assert brightness < 200 if scheme == "dark" else brightness > 600


def test_the_template_is_installed_with_the_package():
    root = Path(__file__).parents[2]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    there = {path for path in (root / "aljax" / "report").iterdir() if path.suffix not in (".py", "")}
    forms = listed["aljax.report"]
    assert there == {path for form in forms for path in (root / "aljax" / "report").glob(form)}
    assert [path.name for path in there] == ["template.html.jinja"]


def test_the_command(run, tmp_path):
    copy = tmp_path / run.name
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("report.html", "figures"))
    done = subprocess.run(
        [sys.executable, "-m", "aljax.report", str(copy)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"report: {copy / 'report.html'}" in done.stdout
    assert (copy / "report.html").read_bytes() == (run / "report.html").read_bytes()
    assert {path.name for path in (copy / "figures").iterdir()} == {
        path.name for path in (run / "figures").iterdir()
    }
