"""Every pair of the compared strategies: how far the two agree.

Shapes: B images in each selection, M in the sub-pool.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aljax import agreement
from aljax.records.files import Record


def compare(
    chosen: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray], subset_size: int
) -> list[Record]:
    """The agreement of each pair of strategies.

    Args:
      chosen: by strategy, the indices that it selected from one sub-pool, [B].
      scores: by strategy, its scores of that sub-pool, [M]; or [0] where it has none.
      subset_size: M.

    Returns:
      One record per pair in the order of `chosen`: the strategies a and b, the measures of
      `agreement.Agreement`, and the Spearman correlation of their scores, None where one has
      none or gives all images the same.
    """
    return [
        {
            "a": a,
            "b": b,
            **agreement.measured(chosen[a], chosen[b], subset_size)._asdict(),
            "spearman": spearman(scores[a], scores[b]),
        }
        for a, b in itertools.combinations(chosen, 2)
    ]


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation of two arrays [M], or None where it is not defined."""
    from scipy.stats import spearmanr

    if len(a) != len(b) or len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)


def matrix(lines: Sequence[Record], cycle: int) -> tuple[list[str], np.ndarray]:
    """The mean of C over trials in one cycle, of every pair.

    Args:
      lines: records of pairs.jsonl.
      cycle: from 1.

    Returns:
      The strategies, and the means [S, S], symmetric, with 1 on the diagonal; nan for a pair
      whose C is not defined in any trial.
    """
    lines = [line for line in lines if line["cycle"] == cycle]
    names = list(dict.fromkeys(line[side] for side in ("a", "b") for line in lines))
    found: dict[tuple[str, str], list[Any]] = {}
    for line in lines:
        if line["C"] is not None:
            found.setdefault((line["a"], line["b"]), []).append(line["C"])
    means = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(means, 1)
    for (a, b), values in found.items():
        i, j = names.index(a), names.index(b)
        means[i, j] = means[j, i] = np.mean(values)
    return names, means
