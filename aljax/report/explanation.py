"""Rank correlations of C with the fit of the model that selected, over the cycles of several runs.

A point is a (run, trial, cycle) whose selections a model made. C stands against that model: its
accuracy, its training loss and its number of labels are those of the cycle before, after which it was
trained. Points of one trial are not independent, so trials are resampled whole.

Shapes: n points, k measures, R resamples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aljax.records import reader
from aljax.records.places import place_of
from aljax.records.reader import Run, get

MEASURES = {
    "accuracy": "test accuracy (%)",
    "train_loss": "training loss (nats)",
    "labeled": "labeled images",
    "distance": "correlation of score and distance",
    "length": "correlation of score and feature length",
}
KINDS = {
    "overall": "over all points",
    "within": "within runs",
    "partial": "given the other measures",
}
METHOD = (
    "Spearman's rank correlations: over all points; within runs, of ranks less the mean of their run, which "
    "is the partial correlation given the run; and partial given the other measures (Conover & Iman, The "
    "American Statistician 35, 1981). 95 % intervals by the bootstrap that resamples whole trials, of all "
    "runs together (Field & Welsh, JRSS B 69, 2007): 2,000 times, percentiles; of few trials they are "
    "somewhat narrow. They speak of these runs; how far other recipes or data would agree they do not say."
)
RESAMPLES = 2_000
FEWEST = 5  # trials that have an interval


class Point(NamedTuple):
    """C of one cycle, and the model that selected."""

    run: int  # position among the runs
    trial: int
    cycle: int
    C: float
    accuracy: float | None  # %
    train_loss: float | None
    labeled: float
    distance: float | None  # Spearman, of the scores with the distance to the nearest labeled image
    length: float | None  # Spearman, of the scores with the length of the features


class Estimate(NamedTuple):
    """A rank correlation with its 95 % interval; None where there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Row(NamedTuple):
    """The rank correlations of C with one measure."""

    measure: str
    points: int
    trials: int
    overall: Estimate
    within: Estimate
    partial: Estimate


class Explanation(NamedTuple):
    """Rank correlations of C with every measure, and what follows."""

    points: list[Point]
    rows: list[Row]
    sentences: list[str]


def points_of(shown: Sequence[Run]) -> list[Point]:
    """Returns the points of some runs; cycles without a model, or without C, have none."""
    found = []
    for number, run in enumerate(shown):
        lines = {place_of(line): line for line in run.lines}
        noted = {place_of(line): line for line in run.diagnostics}
        for (trial, cycle), line in lines.items():
            before = lines.get((trial, cycle - 1))
            if before is None or line.get("C") is None:
                continue
            diagnosed = noted.get((trial, cycle), {})
            found.append(
                Point(
                    number,
                    trial,
                    cycle,
                    line["C"],
                    100 * before["accuracy"],
                    before.get("train_loss"),
                    before["labeled"],
                    get(diagnosed, "spearman", "distance"),
                    get(diagnosed, "spearman", "length"),
                )
            )
    return found


def explain(shown: Sequence[Run]) -> Explanation | None:
    """Correlates C with every measure over the points of several runs; None of fewer than three points.

    A measure that some points lack is correlated over its own points, takes no part in the partial
    correlations of the others, and is not compared with them.
    """
    points = points_of(shown)
    if len(points) < 3:
        return None
    whole = [name for name in MEASURES if all(getattr(point, name) is not None for point in points)]
    estimates, draws = _correlate(points, whole)
    rows = []
    for name in MEASURES:
        having = [point for point in points if getattr(point, name) is not None]
        if name in whole:
            found = estimates[name]
        elif len(having) < 3:
            found = [Estimate()] * len(KINDS)
        else:
            found = _correlate(having, [*whole, name])[0][name]
        rows.append(Row(name, len(having), len({(point.run, point.trial) for point in having}), *found))
    sentences = [
        _best(KINDS[kind], {name: estimates[name][i] for name in whole}, draws[:, i])
        for i, kind in enumerate(KINDS)
    ]
    return Explanation(points, rows, [*filter(None, sentences), *_lacking(shown, points)])


def correlations(values: np.ndarray, run: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the rank correlations of C with k measures, [R, 3, k], in the order of `KINDS`.

    Args:
      values: C, then the measures, [n, 1 + k].
      run: of each point, [n].
      weights: how often each point is in each resample, [R, n].

    Returns:
      nan for a measure that is constant, and of the last kind if a measure is a combination of others.
    """
    ranks = np.stack([_ranks(column, weights) for column in values.T], axis=2)  # [R, n, 1 + k]
    runs = np.array([run == one for one in np.unique(run)], float)  # [runs, n]
    count = np.maximum(weights @ runs.T, 1)[:, :, None]
    means = np.einsum("gn,rn,rnk->rgk", runs, weights, ranks, optimize=True) / count
    within = _pearson(ranks - np.einsum("gn,rgk->rnk", runs, means), weights)
    overall = _pearson(ranks, weights)
    return np.stack([overall[:, 0, 1:], within[:, 0, 1:], _partial(overall)], axis=1)


def _ranks(column: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the rank of each point in each resample, ties in the middle of their ranks, [R, n]."""
    _, group = np.unique(column, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    totals = np.add.reduceat(weights[:, order], starts, axis=1)
    return (np.cumsum(totals, axis=1) - (totals - 1) / 2)[:, group]


def _pearson(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the matrices of correlations of columns [R, n, k] with weights [R, n]; nan of a constant."""
    mean = np.einsum("rn,rnk->rk", weights, columns) / weights.sum(axis=1)[:, None]
    centered = columns - mean[:, None]
    covariance = np.einsum("rn,rnk,rnl->rkl", weights, centered, centered, optimize=True)
    variance = np.einsum("rkk->rk", covariance)
    scale = np.sqrt(np.where(variance > 1e-9, variance, np.nan))
    return covariance / (scale[:, :, None] * scale[:, None])


def _partial(matrices: np.ndarray) -> np.ndarray:
    """Returns the partial correlations of the first variable with each other, given the rest, [R, k]."""
    regular = np.isfinite(matrices).all(axis=(1, 2))
    regular[regular] = np.linalg.cond(matrices[regular]) < 1e10
    found = np.full(matrices[:, 0, 1:].shape, np.nan)
    inverse = np.linalg.inv(matrices[regular])
    diagonal = np.einsum("rkk->rk", inverse)
    found[regular] = -inverse[:, 0, 1:] / np.sqrt(diagonal[:, :1] * diagonal[:, 1:])
    return found


def _correlate(points: Sequence[Point], names: Sequence[str]) -> tuple[dict[str, list[Estimate]], np.ndarray]:
    """Returns the estimates by measure, in the order of `KINDS`, and the resampled ones, [R, 3, k]."""
    values = np.array([[point.C, *(getattr(point, name) for name in names)] for point in points], float)
    run = np.array([point.run for point in points])
    trial = np.unique([(point.run, point.trial) for point in points], axis=0, return_inverse=True)[1].ravel()
    measured = correlations(values, run, np.ones((1, len(points))))[0]
    trials, resamples = trial.max() + 1, RESAMPLES if trial.max() + 1 >= FEWEST else 0
    picks = np.random.default_rng(0).multinomial(trials, np.full(trials, 1 / trials), size=resamples)
    draws = correlations(values, run, picks[:, trial].astype(float))
    return {
        name: [_estimate(measured[kind, k], draws[:, kind, k]) for kind in range(len(KINDS))]
        for k, name in enumerate(names)
    }, draws


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    """Returns a correlation with the percentiles of its resamples; None where it is not defined."""
    if not np.isfinite(value):
        return Estimate()
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Estimate(float(value))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


def _best(kind: str, estimates: dict[str, Estimate], draws: np.ndarray) -> str:
    """Names the measure of the largest correlation, and tells whether the next is smaller.

    Args:
      kind: of `KINDS`, in words.
      estimates: by measure.
      draws: the resampled ones in the same order, [R, k].
    """
    names = list(estimates)
    known = [name for name in names if estimates[name].value is not None]
    if len(known) < 2:
        return ""
    first, second = sorted(known, key=lambda name: -abs(estimates[name].value or 0))[:2]
    pair = [
        f"the {MEASURES[name].partition(' (')[0]} ({estimates[name].value:+.2f})" for name in (first, second)
    ]
    begin = f"{kind.capitalize()}, C is most closely correlated with {pair[0]}"
    if not len(draws):
        return f"{begin}, then with {pair[1]}; fewer than {FEWEST} trials, no interval."
    gaps = np.abs(draws[:, names.index(first)]) - np.abs(draws[:, names.index(second)])
    low, high = np.nanpercentile(gaps, [2.5, 97.5])
    ahead = "ahead of" if low > 0 else "which cannot be told from"
    return f"{begin}, {ahead} {pair[1]}: the difference of their sizes is {low:+.2f} to {high:+.2f}."


def _lacking(shown: Sequence[Run], points: Sequence[Point]) -> list[str]:
    """Returns a sentence for each measure of diagnostics.jsonl that some runs lack."""
    names = reader.names(shown)
    found = []
    for measure in ("distance", "length"):
        runs = sorted({point.run for point in points if getattr(point, measure) is None})
        if runs:
            listed = ", ".join(names[run] for run in runs)
            found.append(f"Without the {MEASURES[measure]}, in all cycles or some: {listed}.")
    return found
