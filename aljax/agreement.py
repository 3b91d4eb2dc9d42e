"""The agreement of two selections from one sub-pool: the correlation C, and what other papers report.

Shapes: B images in each selection, M in the sub-pool.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Agreement(NamedTuple):
    """Two selections of B from M, compared; r = B/M. A measure that is not defined is None."""

    overlap: int  # n, images in both
    chance: float  # B * r, the mean overlap of independent selections
    C: float | None  # the study's correlation, in [-1, 1]
    kappa: float | None  # (n/B - r) / (1 - r)
    jaccard: float | None  # n / (2B - n)
    p_value: float | None  # two-sided, of n under independence


def compare(a: ArrayLike, b: ArrayLike, subset_size: int) -> Agreement:
    """Returns all measures of agreement.

    Args:
      a, b: indices of the two selections, [B] each, no index twice.
      subset_size: M, greater than B.

    Returns:
      The agreement.

    Raises:
      ValueError: if the selections differ in size, hold an index twice, or B is not below M.

    Source: kappa is Cohen's, "A Coefficient of Agreement for Nominal Scales", 1960; the p-value
    is that of the hypergeometric distribution (M, B, B), by Fisher's exact test.
    """
    budget = len(np.asarray(a))
    if len(np.asarray(b)) != budget:
        raise ValueError(f"the selections hold {budget} and {len(np.asarray(b))} images")
    n = overlap(a, b)
    r = budget / subset_size
    from scipy.stats import fisher_exact  # late: importing it takes half a second

    table = [[n, budget - n], [budget - n, subset_size - 2 * budget + n]]
    return Agreement(
        overlap=n,
        chance=budget * r,
        C=float(correlation(n, budget, subset_size)),
        kappa=(n / budget - r) / (1 - r),
        jaccard=n / (2 * budget - n),
        p_value=float(fisher_exact(table).pvalue),
    )


def measured(a: ArrayLike, b: ArrayLike, subset_size: int) -> Agreement:
    """Returns what `compare` does; where both selections hold nothing or everything, the overlap alone."""
    count = len(np.asarray(a))
    if count == len(np.asarray(b)) and count in (0, subset_size):
        return Agreement(overlap(a, b), float(count), None, None, None, None)
    return compare(a, b, subset_size)


def compare_all(
    chosen: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray], subset_size: int
) -> list[dict[str, Any]]:
    """Compares each pair of strategies.

    Args:
      chosen: by strategy, the indices that it selected from one sub-pool, [B].
      scores: by strategy, its scores of that sub-pool, [M]; or [0] where it has none.
      subset_size: M.

    Returns:
      One dictionary per pair, in the order of `chosen`: the strategies "a" and "b", the fields of
      `Agreement`, and "spearman", the rank correlation of their scores.
    """
    return [
        {
            "a": a,
            "b": b,
            **measured(chosen[a], chosen[b], subset_size)._asdict(),
            "spearman": spearman(scores[a], scores[b]),
        }
        for a, b in itertools.combinations(chosen, 2)
    ]


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Returns Spearman's rank correlation of two arrays [M]; None if one is constant or lengths differ."""
    if len(a) != len(b) or len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def overlap(a: ArrayLike, b: ArrayLike) -> int:
    """Counts the indices that both selections hold.

    Args:
      a, b: indices, [B] each, no index twice.

    Raises:
      ValueError: if a selection holds an index twice.
    """
    for selection in (np.asarray(a), np.asarray(b)):
        if len(np.unique(selection)) != len(selection):
            raise ValueError("a selection holds an index twice")
    return len(np.intersect1d(a, b))


def correlation(overlap: ArrayLike, budget: ArrayLike, subset_size: ArrayLike) -> np.ndarray:
    """Returns the study's correlation C of two selections.

    With r = B/M, the logarithm through C(0) = -1, C(B r) = 0 and C(B) = 1:

        C(n) = log(1 + beta n/B) / log(base) - 1,   beta = (1 - 2r) / r^2,   base = (1 - r) / r

    and its limit 2 n/B - 1 at r = 1/2. For r > 1/2 real selections share at least 2B - M images,
    so that their C stays above -1.

    Args:
      overlap: n, images in both selections; means of several are allowed.
      budget: B, images in each selection.
      subset_size: M, images that they were taken from. The three broadcast.

    Returns:
      C, float64, in [-1, 1]; exactly 1 where n = B.

    Raises:
      ValueError: if B is not in 1..M-1 (for B = M every selection is the whole sub-pool), or n
        not in 0..B.
    """
    n, b, m = (np.asarray(x, np.float64) for x in (overlap, budget, subset_size))
    if not np.all((b >= 1) & (b < m)):
        raise ValueError(f"budget is {b}; accepted: at least 1 and below {m}, the sub-pool")
    if not np.all((n >= 0) & (n <= b)):
        raise ValueError(f"overlap is {n}; accepted: 0 to {b}, the budget")
    excess = (m - 2 * b) / b  # base - 1; beta is excess * M/B
    even = excess == 0
    safe = np.where(even, 1.0, excess)
    base = (m - b) / b
    with np.errstate(divide="ignore"):  # near B = M the first form rounds to log(0), and is not used
        grown = np.where(
            safe > -0.5,
            np.log1p(safe * m / b * (n / b)),
            np.log((b - n) / b + n / b * base**2),  # the same number, whose sum does not cancel
        )
    curve = np.clip(grown / np.log1p(safe) - 1, -1, 1)  # rounding may pass the bounds
    return np.where(n == b, 1.0, np.where(even, 2 * n / b - 1, curve))
