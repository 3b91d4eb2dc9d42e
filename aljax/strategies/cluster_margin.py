"""Cluster-Margin: images of small margin, from as many clusters as can be.

Clusters are merged by average linkage of the cosine distance. It follows from the clusters' means, 1 - mean
. mean, so that memory stays M x D. All pairs of clusters that are each other's nearest are merged at once,
as no merge of others brings a cluster nearer (average linkage is reducible). Then those that were merged
search again. Others whose nearest was need not, while one of the few that were close is still nearer than all
that were not: some two comparisons of each point with every other.

Shapes: M images, D features, B the budget, c clusters, n images in them.
"""

import jax
import numpy as np

from aljax import scoring
from aljax.strategies.base import (
    NO_SCORES,
    Selection,
    View,
    each,
    finite,
    needs,
    of_unit_length,
    tie_order,
)

UNCERTAIN = 1.25  # times the budget: images of the smallest margins, from which the batch is drawn
CLUSTER_SIZE = 10  # images of the sub-pool in a cluster, on average
ROWS_AT_ONCE = 1024
CLOSE = 8  # clusters that each one remembers, the nearest of GROUPS of all others
GROUPS = 32


@needs("log_probs", "features")
def cluster_margin(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects among the 1.25 B images of smallest margin, in turns from their clusters; no scores.

    A turn takes one image of each cluster that has any left, those with the fewest first; which one is
    drawn. The paper clusters the pool once, and cuts the tree at a distance that it leaves open. Here each
    sub-pool is clustered, as it is drawn anew, and the tree is cut where a cluster holds ten images.

    Source: Citovsky, DeSalvo, Gentile, Karydas, Rajagopalan, Rostamizadeh & Kumar, "Batch Active Learning at
    Scale", NeurIPS 2021, algorithms 1 and 2; the share of 1.25 B and the clusters' size are our choice.
    """
    order = tie_order(key, view.subset_size)
    margins = np.asarray(each(scoring.margin, view.log_probs))[order]
    features = of_unit_length(finite(view.features))[order]
    uncertain = np.sort(np.argsort(-margins, kind="stable")[: int(np.ceil(UNCERTAIN * budget))])
    cluster = clusters_of(features, -(-len(features) // CLUSTER_SIZE))[uncertain]
    return Selection(order[uncertain[in_turns(cluster)[:budget]]], NO_SCORES)


def in_turns(cluster: np.ndarray) -> np.ndarray:
    """Returns positions in the order of a round robin over the clusters, those of fewest images first.

    Args:
      cluster: of each image, [n] int.

    Returns:
      All positions, [n]: first that of the first image of each cluster, then of the second, and so on.
    """
    _, cluster, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    together = np.argsort(cluster, kind="stable")
    turn = np.empty(len(cluster), np.int64)
    turn[together] = np.arange(len(cluster)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.lexsort((cluster, sizes[cluster], turn))


def clusters_of(points: np.ndarray, num_clusters: int) -> np.ndarray:
    """Assigns points to clusters by average linkage of the cosine distance.

    Args:
      points: of length 1, or 0, [M, D].
      num_clusters: from 1 to M.

    Returns:
      The cluster of each point, [M] int32.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs, heights = merges(points)
    first = np.argsort(heights, kind="stable")[: len(points) - num_clusters]
    left, right = pairs[first].T
    graph = coo_array((np.ones(len(first)), (left, right)), shape=(len(points), len(points)))
    return connected_components(graph, directed=False)[1]


def merges(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merges all points to one cluster by average linkage of the cosine distance.

    Args:
      points: of length 1, or 0, [M, D].

    Returns:
      For each merge a point of either cluster [M - 1, 2], and the clusters' distance [M - 1]; no merge
      comes before those that its clusters are made of.
    """
    count = len(points)
    means, sizes = points.astype(np.float32), np.ones(count, np.float32)
    member = np.arange(count)  # a point of each cluster
    height = np.full(count, -np.inf, np.float32)  # the distance at which its last merge was made
    close = np.zeros((count, CLOSE), np.int64)  # the nearest others when they were searched last
    bound = np.zeros(count, np.float32)  # all that are not among these are at least so far
    nearest, apart = np.zeros(count, np.int64), np.zeros(count, np.float32)  # the nearest, and its distance
    stale = np.arange(count)  # clusters that search again
    pairs, heights = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    while count > 1:
        _search(means[:count], stale, close, bound)
        _nearest_of_close(means, stale, close, nearest, apart)
        left, right = _mutual(nearest[:count], apart[:count])
        merged = np.maximum.reduce([apart[left], height[left], height[right]])
        pairs.append(np.stack([member[left], member[right]], axis=1))
        heights.append(merged)
        share = (sizes[left] / (sizes[left] + sizes[right]))[:, None]
        means[left] = share * means[left] + (1 - share) * means[right]
        sizes[left] += sizes[right]
        height[left] = merged

        # The last clusters move to the places that became free.
        remain = count - len(right)
        free = right[right < remain]
        moved = np.setdiff1d(np.arange(remain, count), right)
        place = np.arange(count)
        place[moved] = free
        place[right] = place[left]
        for values in (means, sizes, member, height, close, bound, nearest, apart):
            values[free] = values[moved]
        left, count = place[left], remain

        renewed = np.zeros(count, bool)
        renewed[left] = True
        close[:count], nearest[:count] = place[close[:count]], place[nearest[:count]]
        near = np.flatnonzero(renewed[nearest[:count]] & ~renewed)  # to a cluster that was merged
        _nearest_of_close(means, near, close, nearest, apart)
        stale = np.concatenate([left, near[apart[near] > bound[near]]])
    return np.concatenate(pairs), np.concatenate(heights)


def _mutual(nearest: np.ndarray, apart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs of clusters that are each other's nearest, at least one, as two arrays."""
    row = np.arange(len(nearest))
    left = np.flatnonzero((nearest[nearest] == row) & (row < nearest))
    if not len(left):  # equal distances that rounding makes a ring
        closest = apart.argmin()
        first, second = sorted([closest, nearest[closest]])
        return np.array([first]), np.array([second])
    return left, nearest[left]


def _search(means: np.ndarray, rows: np.ndarray, close: np.ndarray, bound: np.ndarray) -> None:
    """Finds the close ones of some rows among the means [c, D]: fills both.

    The nearest of each of `GROUPS` are kept, the `CLOSE` best of them.
    """
    groups = min(GROUPS, len(means))
    width = -(-len(means) // groups)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        own = rows[start : start + ROWS_AT_ONCE]
        products = np.full((len(own), groups * width), -np.inf, np.float32)
        np.matmul(means[own], means.T, out=products[:, : len(means)])
        products[np.arange(len(own)), own] = -np.inf
        parts = products.reshape(len(own), groups, width)
        best = parts.argmax(axis=2)[..., None]
        values = np.take_along_axis(parts, best, axis=2)[..., 0]
        np.put_along_axis(parts, best, -np.inf, axis=2)
        order = np.argsort(-values, axis=1)
        values = np.take_along_axis(values, order, axis=1)
        found = np.take_along_axis(best[..., 0] + width * np.arange(groups), order, axis=1)[:, :CLOSE]
        found = np.where(values[:, :CLOSE] > -np.inf, found, own[:, None])  # itself: none
        close[own] = np.pad(found, ((0, 0), (0, CLOSE - found.shape[1])), mode="edge")
        bound[own] = 1 - np.maximum(products.max(axis=1), values[:, CLOSE:].max(axis=1, initial=-np.inf))


def _nearest_of_close(
    means: np.ndarray, rows: np.ndarray, close: np.ndarray, nearest: np.ndarray, apart: np.ndarray
) -> None:
    """Finds the nearest of the close ones of some rows, and its distance: fills the last two."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        own = rows[start : start + ROWS_AT_ONCE]
        others = close[own]
        distances = 1 - (means[others] @ means[own][..., None])[..., 0]
        distances[others == own[:, None]] = np.inf
        first = np.arange(len(own)), distances.argmin(axis=1)
        nearest[own], apart[own] = others[first], distances[first]
