"""TypiClust: the most typical image of each cluster that has no label yet.

It was made for self-supervised features and small budgets; the features of a network trained on few
labels are not of that kind, and its results with them say little about the paper's.

Shapes: P points of which L are labeled, M = P - L candidates, D features, B the budget, n points of
one cluster.
"""

import heapq
from collections.abc import Iterator

import jax
import numpy as np

from aljax.ops import kmeans
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

# The choices of the authors' code, github.com/avihu111/TypiClust, with the scikit-learn 1.0.2 that it
# names: there the default is 10 initializations of k-means, and 3 in mini-batches, the best of which
# is kept before the first batch.
MOST_CLUSTERS = 500
MOST_CLUSTERS_OF_EXACT_K_MEANS = 50
INITS, INITS_OF_MINI_BATCHES = 10, 3
BATCH_OF_K_MEANS = 5000
MOST_ITERATIONS = 300
NEIGHBORS = 20
SMALLEST_CLUSTER = 5
SOFTENING = 1e-5  # added to a mean of squared distances

KEPT = 100  # neighbors that are kept of each point, as the nearest ones are taken
REFRESHED = 64  # points of which the neighbors are searched anew at a time


@needs("features", "labeled_features")
def typiclust(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the most typical image of each cluster without a label; no scores.

    Source: Hacohen, Dekel & Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High
    and Low Budgets", ICML 2022, on features of length 1 as in the authors' code, but those of the
    trained network instead of self-supervised ones.
    """
    candidates, labeled = map(of_unit_length, features_of(view))
    order = tie_order(key, view.subset_size)
    return Selection(order[most_typical(candidates[order], labeled, budget, seed_of(key))], NO_SCORES)


def most_typical(candidates: np.ndarray, labeled: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """Clusters all points into L + B clusters, at most 500, and takes the most typical candidates.

    Each comes from the cluster that holds the fewest points that are labeled or taken; of these
    from the largest, and then from the first. Clusters of 5 points or fewer are left to the end.
    Typicality is measured among the cluster's candidates that are not yet taken; ties go to the
    lowest position.

    Args:
      candidates: [M, D].
      labeled: [L, D].
      budget: from 1 to M.
      seed: of k-means, below 2**32.

    Returns:
      Positions of candidates in the order in which they were taken, [B] int32.

    Source: Hacohen et al., ICML 2022, section 3.
    """
    points = np.concatenate([candidates, labeled])
    num_clusters = kmeans.count_different(points, min(len(labeled) + budget, MOST_CLUSTERS))
    cluster = clusters_of(points, num_clusters, seed)
    size = np.bincount(cluster, minlength=num_clusters)
    used = np.bincount(cluster[len(candidates) :], minlength=num_clusters)
    members = [np.flatnonzero(cluster[: len(candidates)] == index) for index in range(num_clusters)]
    left = [len(positions) for positions in members]
    typical = [typical_first(candidates[positions]) for positions in members]
    turns = [
        (size[index] <= SMALLEST_CLUSTER, used[index], -size[index], index) for index in range(num_clusters)
    ]
    turns = [turn for turn in turns if left[turn[-1]]]
    heapq.heapify(turns)
    chosen = np.empty(budget, np.int32)
    for i in range(budget):
        small, labels, rank, index = turns[0]
        chosen[i] = members[index][next(typical[index])]
        left[index] -= 1
        if left[index]:
            heapq.heapreplace(turns, (small, labels + 1, rank, index))
        else:
            heapq.heappop(turns)
    return chosen


def clusters_of(features: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Assigns each point to a cluster, [P] int32: by k-means up to 50 clusters, in mini-batches above.

    One thread takes the mini-batches, so that their sums are added in one order and a seed has one result.

    Args:
      features: [P, D].
      num_clusters: from 1 to P.
      seed: below 2**32.
    """
    if num_clusters <= MOST_CLUSTERS_OF_EXACT_K_MEANS:
        return kmeans.k_means(features, num_clusters, seed, INITS, MOST_ITERATIONS).labels
    from sklearn.cluster import MiniBatchKMeans  # late: importing it takes seconds
    from threadpoolctl import threadpool_limits

    method = MiniBatchKMeans(
        num_clusters,
        init=kmeans.first_centers(features, num_clusters, seed, INITS_OF_MINI_BATCHES),
        n_init=1,
        batch_size=BATCH_OF_K_MEANS,
        random_state=seed,
    )
    with threadpool_limits(limits=1, user_api="openmp"):
        return method.fit(features).labels_


def typicality(squares: np.ndarray) -> np.ndarray:
    """Returns 1 / (1e-5 + mean of squared distances to the k nearest others), [n] float32.

    The paper's equation has distances; the authors' code has squared ones, and a constant that
    makes it finite among duplicates.

    Args:
      squares: squared distances between points, 0 of each to itself, [n, n]; k is 20, or half of n
        where that is less, but at least 1.

    Returns:
      [n]; of a single point 1e5.

    Source: Hacohen et al., ICML 2022, section 3, and the authors' code.
    """
    neighbors = _neighbors(len(squares))
    others = squares + np.where(np.eye(len(squares), dtype=bool), np.inf, 0)
    nearest = np.sort(others, axis=1)[:, :neighbors] if len(squares) > 1 else np.zeros((1, 1))
    return _typicality(nearest.sum(axis=1), neighbors)


def typical_first(points: np.ndarray) -> Iterator[int]:
    """Yields positions of a cluster's points [n, D]: the most typical one, and so on of those left.

    Neighbors are searched once, and 100 of them kept. Without those that were taken they bound a
    point's typicality from above, exactly while 20 of them are left; otherwise they are searched
    anew before the point can be the most typical.
    """
    from scipy.spatial.distance import cdist

    free = np.ones(len(points), bool)
    if len(points) > KEPT + 1:
        index, square = _nearest(points, np.arange(len(points)), free)
        exact = np.ones(len(points), bool)
        values = _typicality(square[:, :NEIGHBORS].sum(axis=1), NEIGHBORS)
        while free.sum() > KEPT + 1:
            best = int(values.argmax())
            if not exact[best]:
                inexact = np.flatnonzero(free & ~exact)
                rows = inexact[np.argsort(-values[inexact], kind="stable")[:REFRESHED]]
                index[rows], square[rows] = _nearest(points, rows, free)
                values[rows] = _typicality(square[rows, :NEIGHBORS].sum(axis=1), NEIGHBORS)
                exact[rows] = True
                continue
            yield best
            free[best], values[best] = False, -np.inf
            rows = np.flatnonzero(free & (index == best).any(axis=1))
            left = free[index[rows]]
            left &= left.cumsum(axis=1) <= NEIGHBORS
            missing = NEIGHBORS - left.sum(axis=1)
            least = np.where(left, square[rows], 0).sum(axis=1) + missing * square[rows, -1]
            values[rows] = _typicality(least, NEIGHBORS)
            exact[rows] = missing == 0
    rest = np.flatnonzero(free)
    squares = cdist(points[rest], points[rest], "sqeuclidean")
    while len(rest):
        best = int(typicality(squares).argmax())
        yield int(rest[best])
        rest = np.delete(rest, best)
        squares = np.delete(np.delete(squares, best, axis=0), best, axis=1)


def _neighbors(count: int) -> int:
    return max(1, min(NEIGHBORS, count // 2))


def _typicality(total: np.ndarray, neighbors: int) -> np.ndarray:
    return (1 / (SOFTENING + total / neighbors)).astype(np.float32)


def _nearest(points: np.ndarray, rows: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the nearest other free points of free rows [r]: positions and squared distances, [r, 100]."""
    from sklearn.neighbors import NearestNeighbors

    others = np.flatnonzero(free)
    search = NearestNeighbors(algorithm="brute", metric="sqeuclidean").fit(points[others])
    square, index = search.kneighbors(points[rows], KEPT + 1)
    index = others[index]
    itself = index == rows[:, None]
    itself[~itself.any(axis=1), -1] = True  # among more than 100 duplicates, it may not be found
    shape = len(rows), KEPT
    return index[~itself].reshape(shape), square[~itself].reshape(shape).astype(np.float64)
