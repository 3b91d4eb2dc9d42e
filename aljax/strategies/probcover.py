"""ProbCover: the balls that cover the most images that no ball covers yet.

It was made for self-supervised features, in which a ball holds images of one class; the features
of a network trained on few labels are not of that kind, and its results with them say little
about the paper's.

Shapes: M candidates, L labeled points, P = M + L, D features, B the budget.
"""

import jax
import numpy as np

from aljax.ops import distances
from aljax.strategies.base import (
    NO_SCORES,
    Selection,
    View,
    features_of,
    needs,
    of_unit_length,
    seed_of,
    tie_order,
)
from aljax.strategies.typiclust import clusters_of

PURITY = 0.95  # alpha of the paper
ROWS_AT_ONCE = 256


@needs("features", "labeled_features")
def probcover(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the balls that cover the most images, on features of length 1; no scores.

    Once all images are covered, the rest of the budget is drawn uniformly.

    Source: Yehuda, Dekel, Hacohen & Weinshall, "Active Learning Through a Covering Lens", NeurIPS
    2022, with the features of the trained network instead of self-supervised ones.
    """
    candidates, labeled = map(of_unit_length, features_of(view))
    order = tie_order(key, view.subset_size)
    chosen, radius = most_covering(candidates[order], labeled, budget, view.num_classes, seed_of(key))
    rest = np.delete(np.arange(view.subset_size), chosen)[: budget - len(chosen)]  # of a random order
    note = ""
    if len(rest):
        note = (
            f"{len(chosen)} balls of radius {radius:.6g} cover all images; the other {len(rest)} are random"
        )
    return Selection(order[np.append(chosen, rest)], NO_SCORES, note)


def pure_radius(points: np.ndarray, pseudo_labels: np.ndarray) -> float:
    """Returns delta*: the largest radius at which 95 % of the open balls around the points are pure.

    A ball is pure if all of its points have one pseudo-label. The largest pure ball around a
    point reaches to the nearest point of another pseudo-label; delta* is a quantile of these.

    Args:
      points: [P, D].
      pseudo_labels: [P] int, such as clusters.

    Returns:
      The radius; infinity where there is one pseudo-label only.

    Source: Yehuda et al., NeurIPS 2022, section 3 (the radius is found exactly here, not on a grid).
    """
    reach = distances.nearest_other(points, pseudo_labels)
    return float(np.sort(reach)[len(points) - int(np.ceil(PURITY * len(points)))])


def coverage(
    candidates: np.ndarray,
    labeled: np.ndarray,
    budget: int,
    radius: float,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Takes, one after the other, the candidate whose ball holds the most uncovered candidates.

    What lies in the ball of a labeled or a taken point is covered. Ties go to the lowest
    position. The balls are kept as bits: M^2 / 8 bytes, 12.5 MB for 10,000.

    Args:
      candidates: [M, D].
      labeled: [L, D].
      budget: from 1 to M.
      radius: of the balls, which are open; each holds its own center in any case.
      weights: how many points each candidate counts for, not negative, [M] int. None: one.

    Returns:
      Positions of candidates in the order in which they were taken, [at most B] int32: it ends
      when all are covered.

    Source: Yehuda et al., NeurIPS 2022, algorithm 1.
    """
    size = len(candidates)
    uncovered = distances.nearest(candidates, labeled) >= radius
    balls = distances.balls(candidates, radius)
    degree = np.zeros(size, np.int64)
    weights = np.ones(size, np.int64) if weights is None else weights
    _count(balls, np.flatnonzero(uncovered), degree, weights)
    chosen: list[int] = []
    while len(chosen) < budget and degree.max() > 0:
        best = int(degree.argmax())
        chosen.append(best)
        newly = np.unpackbits(balls[best], count=size).astype(bool) & uncovered
        uncovered &= ~newly
        _count(balls, np.flatnonzero(newly), degree, -weights)
    return np.array(chosen, np.int32)


def most_covering(
    candidates: np.ndarray, labeled: np.ndarray, budget: int, num_classes: int, seed: int
) -> tuple[np.ndarray, float]:
    """Runs `coverage` at the `pure_radius` of k-means clusters, as many as there are classes.

    Args:
      candidates: [M, D].
      labeled: [L, D].
      budget: from 1 to M.
      num_classes: the number of clusters.
      seed: of k-means, below 2**32.

    Returns:
      Positions of candidates [at most B] int32, and the radius.
    """
    points = np.concatenate([candidates, labeled])
    num_clusters = min(num_classes, len(np.unique(points, axis=0)))
    radius = pure_radius(points, clusters_of(points, num_clusters, seed))
    return coverage(candidates, labeled, budget, radius), radius


def _count(balls: np.ndarray, which: np.ndarray, degree: np.ndarray, weights: np.ndarray) -> None:
    """Adds to the degree of each point the weights [P] of those of `which` in its ball."""
    for start in range(0, len(which), ROWS_AT_ONCE):
        rows = which[start : start + ROWS_AT_ONCE]
        inside = np.unpackbits(balls[rows], axis=1, count=len(degree)).astype(bool)
        for weight in np.unique(weights[rows]):
            degree += weight * inside[weights[rows] == weight].sum(axis=0, dtype=np.int64)
