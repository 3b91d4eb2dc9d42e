"""Does a run reproduce the study? Each claim against what was measured.

A claim is a range in which a mean over trials should lie. It is reproduced where the 95 %
interval of the mean (Student's t) lies inside the range, not reproduced where it lies outside,
and there are too few trials to tell where it lies across a bound or does not exist.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from aljax.agreement import correlation
from aljax.config import flatten
from aljax.records.files import Record
from aljax.records.summary import by_trial, spread

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
TOO_FEW = "too few trials to tell"
DOES_NOT_APPLY = "does not apply"

LEVEL = 0.05  # of the tests

# The study's protocol. Its points: C after 39 and after 404 of 1,000 shared images.
SELECTION = {
    "dataset.name": "cifar10",
    "uncertainty": "learning_loss",
    "diversity": "core_set",
    "budget": 1_000,
    "subset_size": 10_000,
}
TRAINING = {"cycles": 10, "trials": 5, "model.width": 64, "train.epochs": 200, "train.batch_size": 128}
POINTS = {2: -0.355, 10: 0.596}


class Band(NamedTuple):
    """Test accuracy on CIFAR-10 as published, of a ResNet-18 trained afresh."""

    labeled: int
    strategy: str  # that chose the labels; "any" at the first
    low: float  # %
    high: float  # %


BANDS = (
    Band(1_000, "any", 46, 51),
    Band(5_000, "random", 76, 80.5),
    Band(5_000, "learning_loss", 80.5, 85),
    Band(10_000, "random", 85, 88),
    Band(10_000, "core_set", 89, 90),
    Band(10_000, "entropy", 89.5, 90.6),
    Band(10_000, "learning_loss", 90, 91),
)


class Claim(NamedTuple):
    """One claim of the study beside what was measured; texts, ready to be shown."""

    text: str
    measured: str
    interval: str  # 95 %, of the mean; or the p of the test
    trials: int
    verdict: str
    note: str = ""


class Difference(NamedTuple):
    """A paired comparison of two series, trial by trial."""

    text: str
    trials: int
    mean: float | None  # of the differences
    low: float | None
    high: float | None
    p: float | None  # of the paired t-test, two-sided
    verdict: str


def claims(config: Mapping[str, Any], lines: Sequence[Record]) -> list[Claim]:
    """The study's claims, judged.

    Args:
      config: what config.json holds.
      lines: records of cycles.jsonl; the run may be unfinished.

    Returns:
      A claim each for the sign of C at cycle 2 and at the last, its rise, the study's last value,
      and every published accuracy that applies.
    """
    series = by_trial(lines, "C")
    last = config["cycles"]
    return [
        _of_mean("C is negative at cycle 2", _at(series, 2), high=0.0, planned=last >= 2),
        _of_mean(f"C is positive at the last cycle ({last})", _at(series, last), low=0.0, planned=last > 2),
        _rise(series, last),
        _last_value(config, _at(series, last)),
        *_accuracies(config, lines),
    ]


def is_study(config: Mapping[str, Any]) -> bool:
    """Whether selection went by the study's protocol, so that its values of C can be compared."""
    return not departures(config, SELECTION) and config.get("acquire", "uncertainty") in (
        "uncertainty",
        "learning_loss",
    )


def departures(config: Mapping[str, Any], protocol: Mapping[str, Any] = TRAINING) -> list[str]:
    """How a config differs from the study's, as "field value (the study: value)"."""
    fields = flatten(dict(config))
    return [
        f"{name} {fields.get(name)} (the study: {value})"
        for name, value in protocol.items()
        if fields.get(name) != value
    ]


def bands(config: Mapping[str, Any]) -> list[Band]:
    """The published accuracies that a run on this data can be put beside."""
    return list(BANDS) if config["dataset"]["name"] == "cifar10" else []


def chance_band(budget: int, subset_size: int) -> tuple[float, float]:
    """Between which values 95 % of the C of independent selections lie.

    From the quantiles of the overlap, which is hypergeometric: B drawn from M, B of them marked.
    """
    overlaps = stats.hypergeom(subset_size, budget, budget).ppf([0.025, 0.975])
    low, high = correlation(overlaps, budget, subset_size)
    return float(low), float(high)


def paired(text: str, a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """Whether two series differ, by the paired t-test over the trials that both have.

    Args:
      text: what a - b is.
      a, b: a value for each trial.

    Returns:
      The difference a - b; its verdict is "differ", "no difference shown" or too few trials.
    """
    shared = sorted(a.keys() & b.keys())
    gaps = [a[trial] - b[trial] for trial in shared]
    measured = spread(gaps)
    p = None
    verdict = TOO_FEW
    if len(gaps) > 1 and np.ptp(gaps) > 0:
        p = float(stats.ttest_rel([a[trial] for trial in shared], [b[trial] for trial in shared]).pvalue)
        verdict = "differ" if p < LEVEL else "no difference shown"
    return Difference(text, len(gaps), measured["mean"], measured["low"], measured["high"], p, verdict)


def _at(series: Mapping[int, Mapping[int, float]], cycle: int) -> list[float]:
    return [values[cycle] for values in series.values() if cycle in values]


def _of_mean(
    text: str,
    values: Sequence[float],
    *,
    low: float = -np.inf,
    high: float = np.inf,
    planned: bool = True,
    form: str = "+.3f",
    unit: str = "",
) -> Claim:
    """A claim that the mean of `values` lies between `low` and `high`."""
    if not planned:
        return Claim(text, "-", "-", 0, DOES_NOT_APPLY, "the run has no such cycle")
    if not values:
        return Claim(text, "-", "-", 0, TOO_FEW, "no trial has come so far")
    measured = spread(values)
    bounds = measured["low"], measured["high"]
    return Claim(
        text,
        format(measured["mean"], form) + unit,
        _interval(bounds, form),
        len(values),
        _judged(bounds, low, high),
    )


def _judged(bounds: tuple[float | None, float | None], low: float, high: float) -> str:
    lower, upper = bounds
    if lower is None or upper is None:
        return TOO_FEW
    if low < lower and upper < high:
        return REPRODUCED
    if upper <= low or high <= lower:
        return NOT_REPRODUCED
    return TOO_FEW


def _interval(bounds: Iterable[float | None], form: str) -> str:
    low, high = bounds
    return "-" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _rise(series: Mapping[int, Mapping[int, float]], last: int) -> Claim:
    """C rises: Page's trend test over trials; of one trial, Kendall's tau alone (Mann-Kendall)."""
    text = "C rises over the cycles that have a model"
    cycles = list(range(2, last + 1))
    if len(cycles) < 3:
        return Claim(text, "-", "-", 0, DOES_NOT_APPLY, "a trend needs three cycles with a model")
    whole = np.array([[of[c] for c in cycles] for of in series.values() if set(cycles) <= of.keys()])
    if not len(whole):
        return Claim(text, "-", "-", 0, TOO_FEW, "no trial has come to its end")
    kendall = stats.kendalltau(cycles, whole.mean(axis=0))
    measured = f"tau {kendall.statistic:+.2f}"
    if len(whole) == 1:
        return Claim(text, measured, f"p {kendall.pvalue:.2g}", 1, TOO_FEW, "Mann-Kendall test of one trial")
    up, down = (stats.page_trend_test(rows).pvalue for rows in (whole, whole[:, ::-1]))
    verdict = REPRODUCED if up < LEVEL else NOT_REPRODUCED if down < LEVEL else TOO_FEW
    return Claim(text, measured, f"p {up:.2g}", len(whole), verdict, "Page's trend test, one-sided")


def _last_value(config: Mapping[str, Any], values: Sequence[float]) -> Claim:
    """The study's C at its last cycle lies in the interval, which has to leave out 0."""
    cycle, value = max(POINTS.items())
    text = f"C at cycle {cycle} is the study's, {value:+.3f}"
    others = [] if is_study(config) else departures(config, SELECTION) or ["acquire is another"]
    if config["cycles"] != cycle:
        others.append(f"cycles {config['cycles']} (the study: {cycle})")
    claim = _of_mean(text, values)
    if others:
        return Claim(text, "-", "-", 0, DOES_NOT_APPLY, "; ".join(others))
    measured = spread(values)
    low, high = measured["low"], measured["high"]
    if low is None or high is None:
        return claim._replace(verdict=TOO_FEW)
    inside = low <= value <= high
    verdict = NOT_REPRODUCED if not inside else TOO_FEW if low <= 0 <= high else REPRODUCED
    return claim._replace(verdict=verdict, note="the interval has to hold it and to leave out 0")


def _accuracies(config: Mapping[str, Any], lines: Sequence[Record]) -> list[Claim]:
    """The published accuracy of the strategy whose labels are trained on, at each number of labels."""
    acquired = config.get("acquire", "uncertainty")
    strategy = config.get(acquired, acquired) if isinstance(acquired, str) else None
    note = "; ".join(departures(config))
    found = []
    for band in bands(config):
        if band.strategy not in ("any", strategy):
            continue
        text = f"accuracy at {band.labeled:,} labels is as published, {band.low:g} to {band.high:g} %"
        values = [100 * line["accuracy"] for line in lines if line["labeled"] == band.labeled]
        planned = config["cycles"] * config["budget"] >= band.labeled
        claim = _of_mean(text, values, low=band.low, high=band.high, planned=planned, form=".1f", unit=" %")
        found.append(claim._replace(note=claim.note or note))
    return found
