"""ProbCover: the balls that cover the most images that no ball covers yet.

It was made for self-supervised features, in which a ball holds images of one class; the features
of a network trained on few labels are not of that kind, and its results with them say little
about the paper's.

Shapes: M candidates, L labeled points, P = M + L, D features, B the budget.
"""

import jax
import numpy as np

from aljax.ops import distances, kmeans
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
LABELED_AT_ONCE = 1024  # whose balls are looked into before what they cover is left out


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
    impure = len(points) - int(np.ceil(PURITY * len(points)))
    return float(distances.nearest_other(points, pseudo_labels, impure + 1)[-1])


def coverage(
    candidates: np.ndarray,
    labeled: np.ndarray,
    budget: int,
    radius: float,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Takes, one after the other, the candidate whose ball holds the most uncovered candidates.

    What lies in the ball of a labeled or a taken point is covered. Ties go to the lowest
    position. The balls around what the labeled ones leave uncovered are kept as bits: at most M^2 / 8
    bytes, 12.5 MB for 10,000.

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
    weights = np.ones(len(candidates), np.int64) if weights is None else weights
    uncovered = _uncovered(candidates, labeled, radius)
    order = np.append(uncovered, np.delete(np.arange(len(candidates)), uncovered))
    balls = distances.balls(candidates[order], len(uncovered), radius)
    degree = np.zeros(len(candidates), np.int64)
    _count(balls, weights[uncovered], degree)
    left = np.ones(len(uncovered), bool)
    chosen: list[int] = []
    while len(chosen) < budget and degree.max() > 0:
        tied = np.flatnonzero(degree == degree.max())
        best = tied[order[tied].argmin()]
        chosen.append(order[best])
        newly = np.flatnonzero(left & (balls[:, best // 8] & (128 >> best % 8) > 0))
        left[newly] = False
        _count(balls[newly], -weights[uncovered[newly]], degree)
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
    num_clusters = kmeans.count_different(points, num_classes)
    radius = pure_radius(points, clusters_of(points, num_clusters, seed))
    return coverage(candidates, labeled, budget, radius), radius


def _uncovered(candidates: np.ndarray, labeled: np.ndarray, radius: float) -> np.ndarray:
    """Returns positions of the candidates that lie in no ball around a labeled point, rising."""
    left = np.arange(len(candidates))
    for start in range(0, len(labeled), LABELED_AT_ONCE):
        nearest = distances.nearest(candidates[left], labeled[start : start + LABELED_AT_ONCE])
        left = left[nearest >= radius]
    return left


def _count(balls: np.ndarray, weights: np.ndarray, degree: np.ndarray) -> None:
    """Adds the weights [n] of balls, as bits [n, ceil(M / 8)], to the degree of each point in them, [M]."""
    for start in range(0, len(balls), ROWS_AT_ONCE):
        own = weights[start : start + ROWS_AT_ONCE]
        inside = np.unpackbits(balls[start : start + ROWS_AT_ONCE], axis=1, count=len(degree))
        for weight in np.unique(own):
            degree += weight * inside[own == weight].sum(axis=0, dtype=np.int64)
