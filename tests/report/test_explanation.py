"""C against fit: the points, their rank correlations against scipy's, and the sentences that follow."""

import numpy as np
import pytest
from scipy import stats

from aljax.records import reader
from aljax.report import explanation, figures, make
from tests.harness import make_run


def residuals(column, others):
    """What least squares leaves of a column [n], given others [n, k] and a constant."""
    design = np.column_stack([np.ones(len(column)), others])
    return column - design @ np.linalg.lstsq(design, column, rcond=None)[0]


def by_hand(values, run):
    ranks = np.apply_along_axis(stats.rankdata, 0, values)
    groups = np.array([run == one for one in np.unique(run)][1:], float).T
    measures = range(1, values.shape[1])
    pearson = [
        (
            stats.spearmanr(values[:, 0], values[:, k]).statistic,
            stats.pearsonr(residuals(ranks[:, 0], groups), residuals(ranks[:, k], groups)).statistic,
            stats.pearsonr(
                *(residuals(ranks[:, one], ranks[:, [j for j in measures if j != k]]) for one in (0, k))
            ).statistic,
        )
        for k in measures
    ]
    return np.array(pearson).T


def test_rank_correlations_are_scipys_and_weights_are_repetitions():
    rng = np.random.default_rng(0)
    values, run = rng.integers(0, 9, (40, 4)).astype(float), rng.integers(0, 3, 40)
    weights = np.stack([np.ones(40), rng.integers(0, 3, 40)])
    found = explanation.correlations(values, run, weights)
    assert found[0] == pytest.approx(by_hand(values, run))
    rows = np.repeat(np.arange(40), weights[1].astype(int))
    assert found[1] == pytest.approx(by_hand(values[rows], run[rows]))


def test_a_constant_has_no_correlation_and_a_combination_no_partial_one():
    values = np.array([[1.0, 3, 1, 5], [2, 1, 2, 5], [3, 2, 3, 5], [4, 4, 4, 5]])
    run, once = np.zeros(4), np.ones((1, 4))
    found = explanation.correlations(values, run, once)[0]
    assert found[0, :2] == pytest.approx([0.4, 1])
    assert np.isnan(found[:, 2]).all()
    assert np.isnan(explanation.correlations(values[:, :3], run, once)[0, 2]).all()


def made(path, measure, *, trials=4, cycles=8, seed=0, length=True):
    """Loads a run whose C follows one measure of the model before; the others are drawn at random."""
    run = reader.load(make_run(path, trials=trials, cycles=cycles, seed=seed))
    rng = np.random.default_rng(seed)
    for line in run.lines:
        line.update(accuracy=rng.uniform(), train_loss=rng.uniform(0.01, 1))
    lines = {(line["trial"], line["cycle"]): line for line in run.lines}
    for (trial, cycle), line in lines.items():
        if cycle > 1:
            line["C"] = lines[trial, cycle - 1][measure] + 0.1 * rng.normal()
    for line in run.diagnostics:
        line["spearman"] = {**line["spearman"], **({} if length else {"length": None})}
    return run


def test_a_point_stands_against_the_model_that_selected(tmp_path):
    run = made(tmp_path / "run", "accuracy", trials=2, cycles=4)
    run.lines[2]["C"] = None
    points = explanation.points_of([run, run])
    assert [(point.run, point.trial, point.cycle) for point in points[:5]] == [
        *((0, 0, cycle) for cycle in (2, 4)),
        *((0, 1, cycle) for cycle in (2, 3, 4)),
    ]
    assert len(points) == 10
    last = points[1]
    assert (last.C, last.labeled) == (run.lines[3]["C"], run.lines[2]["labeled"])
    assert (last.accuracy, last.train_loss) == (
        100 * run.lines[2]["accuracy"],
        run.lines[2]["train_loss"],
    )
    assert (last.distance, last.length) == tuple(
        run.diagnostics[3]["spearman"][name] for name in ("distance", "length")
    )


@pytest.mark.parametrize(
    ("measure", "named"), [("accuracy", "test accuracy"), ("train_loss", "training loss")]
)
def test_the_measure_that_c_follows_is_named(tmp_path, measure, named):
    shown = [made(tmp_path / str(seed), measure, seed=seed) for seed in range(2)]
    found = explanation.explain(shown)
    rows = {row.measure: row for row in found.rows}
    for estimate in (rows[measure].overall, rows[measure].within, rows[measure].partial):
        assert 0.8 < estimate.low < estimate.value < estimate.high <= 1
    assert abs(rows["labeled"].overall.value) < 0.4
    assert len(found.sentences) == 3
    for sentence in found.sentences:
        assert f"most closely correlated with the {named}" in sentence
        assert "ahead of" in sentence
    assert explanation.explain(shown).rows == found.rows


def test_runs_without_the_length_are_named_and_judged_without_it(tmp_path):
    shown = [made(tmp_path / name, "accuracy", seed=1, length=name == "new") for name in ("new", "old")]
    found = explanation.explain(shown)
    length = next(row for row in found.rows if row.measure == "length")
    assert (length.points, length.trials) == (28, 4)
    assert found.sentences[-1].startswith("Without the correlation of score and feature length")
    assert found.sentences[-1].endswith(": old.")
    assert not any("length" in sentence for sentence in found.sentences[:3])
    alone = explanation.explain([shown[1], shown[1]])
    assert alone.rows[-1].overall == explanation.Estimate()


def test_few_trials_have_no_interval_and_few_points_nothing(tmp_path):
    run = made(tmp_path / "run", "accuracy", trials=1)
    found = explanation.explain([run, run])
    assert found.rows[0].overall.value > 0
    assert found.rows[0].overall.low is None
    assert "fewer than 5 trials, no interval" in found.sentences[0]
    assert explanation.explain([run._replace(lines=run.lines[:2])]) is None


def test_the_page_of_several_runs_has_the_figure_and_the_table(tmp_path):
    shown = [made(tmp_path / name, "accuracy", seed=seed) for seed, name in enumerate(("a", "b"))]
    text = make.html(shown, figures.draw(shown)).decode()
    assert text.count('id="figure-fit"') == 1
    assert "C is most closely correlated with the test accuracy" in text
    assert "correlation of score and feature length" in text
    assert "Field &amp; Welsh" in text
    assert 'id="fit"' not in make.html(shown[:1], figures.draw(shown[:1])).decode()
