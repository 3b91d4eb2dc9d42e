"""The accuracies of several runs on the same seeds: areas, wins, ranks, and the trials that a gap needs.

Shapes: S runs, T trials that all have, L numbers of labels that all of these have reached.
"""

import bisect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from aljax.config import flatten
from aljax.errors import InvalidInputError
from aljax.records import reader
from aljax.records.reader import Run
from aljax.report.claims import LEVEL
from aljax.report.comparison import Difference, by_labels, paired, same_data

POINT = 0.01  # of accuracy: one percentage point
POWER = 0.8
MOST = 10_000  # trials that are worth counting
OF_SELECTION = ("acquire", "uncertainty", "diversity", "compare", "ensemble")  # fields that may differ


class Accuracies(NamedTuple):
    """Accuracies at equal labels, on equal seeds."""

    names: list[str]  # S
    trials: list[int]  # T
    labels: list[int]  # L
    values: np.ndarray  # shares of the test set, [S, T, L]
    differing: list[str]  # names of other fields of the config in which the runs differ


class Ranking(NamedTuple):
    """The mean ranks of runs, and the difference that two of them need to differ."""

    ranks: np.ndarray  # [S], 1 is best
    difference: float  # the critical one
    p: float | None  # of Friedman's test that all rank alike; None of two runs
    groups: list[list[int]]  # runs that cannot be told apart, the best first; as large as they can be


def aligned(shown: Sequence[Run]) -> Accuracies:
    """Returns the accuracies of runs in the trials and at the numbers of labels that all of them have.

    Raises:
      InvalidInputError: if there are fewer than two runs, if their data or seeds differ, or if they share
        no trial, or no number of labels.
    """
    if len(shown) < 2:
        raise InvalidInputError(f"{shown[0].path}: one run alone; accepted: two or more runs")
    first = shown[0]
    for run in shown[1:]:
        if not same_data(run, first):
            raise InvalidInputError(
                f"{run.path}: its data is not that of {first.path}; accepted: the same data"
            )
        if run.config.get("seed") != first.config.get("seed"):
            raise InvalidInputError(
                f"{run.path}: config.seed={run.config.get('seed')}; accepted: {first.config.get('seed')}, as "
                f"in {first.path}"
            )
    curves = [by_labels(run.lines) for run in shown]
    trials = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not trials:
        raise InvalidInputError(
            f"{shown[-1].path}: no trial is in all runs; accepted: runs of the same trials"
        )
    reached = [set(curve[trial]) for curve in curves for trial in trials]
    labels = sorted(set.intersection(*reached))
    if not labels:
        raise InvalidInputError(
            f"{shown[-1].path}: no number of labels is in all runs; accepted: runs that share some"
        )
    values = np.array([[[curve[t][count] for count in labels] for t in trials] for curve in curves])
    return Accuracies(_names(shown), trials, labels, values, _differing(shown))


def areas(found: Accuracies) -> np.ndarray:
    """Returns the mean heights of the curves over the labels, by the trapezoid rule, [S, T]."""
    if len(found.labels) == 1:
        return found.values[:, :, 0]
    return np.trapezoid(found.values, found.labels) / (found.labels[-1] - found.labels[0])


def penalties(values: np.ndarray) -> np.ndarray:
    """Returns at which share of the numbers of labels the row's run beats the column's, [S, S].

    One run beats another where the paired t-test over trials says so (two-sided, 5 %). Numbers of labels
    at which all runs are equal in all trials, as after a first random batch, are not counted. The mean
    of a column says how often its run is beaten.

    Source: Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR
    2020, section 4, the pairwise penalty matrix.

    Args:
      values: [S, T, L].
    """
    from scipy.special import stdtrit

    count = values.shape[1]
    gaps = values[:, None] - values[None]  # [S, S, T, L]
    told = gaps.any(axis=(0, 1, 2))
    if count < 2 or not told.any():
        return np.zeros(gaps.shape[:2])
    mean, error = gaps.mean(axis=2), gaps.std(axis=2, ddof=1) / math.sqrt(count)
    wins = mean > stdtrit(count - 1, 1 - LEVEL / 2) * error
    return wins[:, :, told].mean(axis=2)


def ranking(heights: np.ndarray) -> Ranking:
    """Ranks runs in each trial, and says how far apart mean ranks have to be.

    Friedman's test and the critical difference of Nemenyi's. Trials take the place of data sets, so that
    it speaks of this data alone.

    Source: Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006.

    Args:
      heights: of which the largest is best, [S, T].
    """
    from scipy import stats

    runs, trials = heights.shape
    ranks = stats.rankdata(-heights, axis=0).mean(axis=1)
    quantile = float(stats.studentized_range.ppf(1 - LEVEL, runs, np.inf)) / math.sqrt(2)
    difference = quantile * math.sqrt(runs * (runs + 1) / (6 * trials))
    distinct = runs > 2 and np.ptp(heights, axis=0).any()
    p = float(stats.friedmanchisquare(*heights).pvalue) if distinct else None
    return Ranking(ranks, difference, p, _groups(ranks, difference))


def trials_needed(sd: float, gap: float = POINT) -> int | None:
    """Returns the trials in which a paired t-test finds a gap with a power of 80 %; None above `MOST`.

    Args:
      sd: standard deviation of the differences over trials.
      gap: the true mean of the differences.
    """
    from scipy import stats

    if sd == 0:
        return 2

    def power(count: int) -> float:
        edge = stats.t.ppf(1 - LEVEL / 2, count - 1)
        shift = gap / sd * math.sqrt(count)
        return float(stats.nct.sf(edge, count - 1, shift) + stats.nct.cdf(-edge, count - 1, shift))

    count = 2 + bisect.bisect_left(range(2, MOST + 1), POWER, key=power)
    return count if count <= MOST else None


def differences(found: Accuracies) -> list[tuple[Difference, int | None]]:
    """Compares the area of each further run with the first's, with the trials that one point would need."""
    heights = areas(found)

    def by_trial(row: int) -> dict[int, float]:
        return dict(zip(found.trials, heights[row].tolist(), strict=True))

    compared = []
    for row, name in list(enumerate(found.names))[1:]:
        needed = None
        if len(found.trials) > 1:
            needed = trials_needed(float(np.std(heights[row] - heights[0], ddof=1)))
        compared.append((paired(f"{name} minus {found.names[0]}", by_trial(row), by_trial(0)), needed))
    return compared


def _groups(ranks: np.ndarray, difference: float) -> list[list[int]]:
    order = np.argsort(ranks, kind="stable").tolist()
    groups: list[list[int]] = []
    for place, first in enumerate(order):
        group = [row for row in order[place:] if ranks[row] - ranks[first] <= difference]
        if len(group) > 1 and not any(set(group) <= set(other) for other in groups):
            groups.append(group)
    return groups


def _names(shown: Sequence[Run]) -> list[str]:
    """Returns the strategies whose choice is labeled, or the runs' names where two are the same."""
    acquired = [_acquired(run.config) for run in shown]
    return acquired if len(set(acquired)) == len(shown) else reader.names(shown)


def _acquired(config: dict[str, Any]) -> str:
    name = config.get("acquire", "uncertainty")
    return str(config.get(name, name))


def _differing(shown: Sequence[Run]) -> list[str]:
    """Names the fields that are in all configs, differ, and are not of the selection or of the machine."""
    configs = [flatten(run.config) for run in shown]
    of_machine = ("device", "devices", "checkpoint_minutes", "tracker")
    left_out = (*OF_SELECTION, *of_machine, "trials", "first_trial")
    return sorted(
        name
        for name in set.intersection(*map(set, configs))
        if name not in left_out
        and not name.startswith("versions.")
        and any(config[name] != configs[0][name] for config in configs)
    )
