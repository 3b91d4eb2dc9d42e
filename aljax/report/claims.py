"""The study's claims, each beside what was measured.

A claim is a range in which a mean over trials should lie. It holds where the 95 % interval of the
mean (Student's t) lies inside the range, and does not hold where it lies outside; there are too few
trials to tell where it lies across a bound or does not exist. A run that follows the study's
protocol in every field reproduces a claim, or does not; of other runs a claim holds, or does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aljax.agreement import correlation
from aljax.config import labeled_after
from aljax.records.files import Record
from aljax.records.summary import by_trial, spread
from aljax.report.protocol import POINTS, bands, departures

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
HOLDS = "holds"
DOES_NOT_HOLD = "does not hold"
TOO_FEW = "too few trials to tell"
DOES_NOT_APPLY = "does not apply"
WITHHELD = "withheld"
ALL_EQUAL = "all equal"

LEVEL = 0.05  # of the tests


class Claim(NamedTuple):
    """A claim of the study beside what was measured, as texts to be shown."""

    text: str
    measured: str
    interval: str  # 95 %, of the mean; or the p of the test
    trials: int
    verdict: str
    note: str = ""


def judge(config: Mapping[str, Any], lines: Sequence[Record]) -> list[Claim]:
    """Judges the study's claims by a run's records.

    Args:
      config: the content of config.json.
      lines: records of cycles.jsonl; the run may be unfinished.

    Returns:
      A claim each for the sign of C at cycle 2 and at the last, its rise, the study's last value,
      and every published accuracy that applies. The verdicts are withheld if a line has `doubts`,
      sentences that say why its numbers may mean nothing.
    """
    series = by_trial(lines, "C")
    last = config["cycles"]
    claims = [
        _of_mean("C is negative at cycle 2", _at(series, 2), high=0.0, planned=last >= 2),
        _of_mean(f"C is positive at the last cycle ({last})", _at(series, last), low=0.0, planned=last > 2),
        _rise(series, last),
        _last_value(config, _at(series, last)),
        *_accuracies(config, lines),
    ]
    if any(line.get("doubts") for line in lines):
        return [
            claim if claim.verdict == DOES_NOT_APPLY else claim._replace(verdict=WITHHELD) for claim in claims
        ]
    if departures(config):
        words = {REPRODUCED: HOLDS, NOT_REPRODUCED: DOES_NOT_HOLD}
        return [claim._replace(verdict=words.get(claim.verdict, claim.verdict)) for claim in claims]
    return claims


def chance_band(budget: int, subset_size: int) -> tuple[float, float]:
    """Returns the bounds between which 95 % of the C of independent selections lie.

    From the quantiles of the overlap, which is hypergeometric: B drawn from M, B of them marked.
    """
    from scipy import stats  # late: importing it takes a second

    overlaps = stats.hypergeom(subset_size, budget, budget).ppf([0.025, 0.975])
    low, high = correlation(overlaps, budget, subset_size)
    return float(low), float(high)


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
    """Judges the claim that the mean of `values` lies between `low` and `high`."""
    if not planned:
        return Claim(text, "-", "-", 0, DOES_NOT_APPLY, "the run has no such cycle")
    if not values:
        return Claim(text, "-", "-", 0, TOO_FEW, "no trial has come so far")
    measured = spread(values)
    bounds = measured["low"], measured["high"]
    mean = format(measured["mean"], form) + unit
    return Claim(text, mean, _interval(bounds, form), len(values), _judged(bounds, low, high))


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
    """Judges the rise of C: Page's trend test over trials; of one trial Kendall's tau (Mann-Kendall)."""
    from scipy import stats

    text = "C rises over the cycles that have a model"
    cycles = list(range(2, last + 1))
    if len(cycles) < 3:
        return Claim(text, "-", "-", 0, DOES_NOT_APPLY, "a trend needs three cycles with a model")
    whole = np.array([[of[c] for c in cycles] for of in series.values() if set(cycles) <= of.keys()])
    if not len(whole):
        return Claim(text, "-", "-", 0, TOO_FEW, "no trial has come to its end")
    mean = whole.mean(axis=0)
    if np.ptp(whole, axis=1).max() == 0 or np.ptp(mean) == 0:
        return Claim(text, ALL_EQUAL, "-", len(whole), TOO_FEW, "C is the same in all of these cycles")
    kendall = stats.kendalltau(cycles, mean)
    measured = f"tau {kendall.statistic:+.2f}"
    if len(whole) == 1:
        return Claim(text, measured, f"p {kendall.pvalue:.2g}", 1, TOO_FEW, "Mann-Kendall test of one trial")
    up, down = trend(whole), trend(whole[:, ::-1])
    verdict = REPRODUCED if up < LEVEL else NOT_REPRODUCED if down < LEVEL else TOO_FEW
    return Claim(text, measured, f"p {up:.2g}", len(whole), verdict, "Page's trend test, one-sided")


def trend(rows: np.ndarray) -> float:
    """Returns the p-value of Page's test that rows [trials, cycles] rise, exact for the study's size.

    The exact distribution is a sum over all orders of a row, which takes too long for more than 9 cycles.
    """
    from scipy import stats

    trials, cycles = rows.shape
    exact = cycles <= 9 and trials <= 20
    return float(stats.page_trend_test(rows, method="exact" if exact else "asymptotic").pvalue)


def _last_value(config: Mapping[str, Any], values: Sequence[float]) -> Claim:
    """Judges whether the interval of C at the last cycle holds the study's value, and leaves out 0."""
    cycle, value = max(POINTS.items())
    text = f"C at cycle {cycle} is the study's, {value:+.3f}"
    if others := departures(config):
        more = f"; and {len(others) - 3} other fields" if len(others) > 3 else ""
        return Claim(text, "-", "-", 0, DOES_NOT_APPLY, "; ".join(others[:3]) + more)
    claim = _of_mean(text, values)
    measured = spread(values)
    low, high = measured["low"], measured["high"]
    if low is None or high is None:
        return claim._replace(verdict=TOO_FEW)
    inside = low <= value <= high
    verdict = NOT_REPRODUCED if not inside else TOO_FEW if low <= 0 <= high else REPRODUCED
    return claim._replace(verdict=verdict, note="the interval has to hold it and to leave out 0")


def _accuracies(config: Mapping[str, Any], lines: Sequence[Record]) -> list[Claim]:
    """Judges the published accuracies of the strategy whose labels are trained on."""
    acquired = config.get("acquire", "uncertainty")
    strategy = config.get(acquired, acquired) if isinstance(acquired, str) else None
    found = []
    for band in bands(config):
        if band.strategy not in ("any", strategy):
            continue
        text = f"accuracy at {band.labeled:,} labels is as published, {band.low:g} to {band.high:g} %"
        values = [100 * line["accuracy"] for line in lines if line["labeled"] == band.labeled]
        planned = labeled_after(config, config["cycles"]) >= band.labeled
        found.append(
            _of_mean(text, values, low=band.low, high=band.high, planned=planned, form=".1f", unit=" %")
        )
    return found
