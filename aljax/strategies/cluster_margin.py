"""Cluster-Margin: images of small margin, from as many clusters as can be.

Clusters are merged by average linkage of the cosine distance. It follows from the clusters' means, 1 - mean
. mean, so that memory stays M x D. All pairs of clusters that are each other's nearest are merged at once,
as no merge of others brings a cluster nearer (average linkage is reducible); then only those that were
merged, and those whose nearest was, search again: some four comparisons of each point with every other.

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
    nearest, apart = np.zeros(count, np.int64), np.zeros(count, np.float32)  # the nearest other cluster
    stale = np.ones(count, bool)  # whether its nearest is to be searched
    pairs, heights = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    while len(means) > 1:
        _search(means, np.flatnonzero(stale), nearest, apart)
        left, right = _mutual(nearest, apart)
        merged = np.maximum.reduce([apart[left], height[left], height[right]])
        pairs.append(np.stack([member[left], member[right]], axis=1))
        heights.append(merged)
        share = (sizes[left] / (sizes[left] + sizes[right]))[:, None]
        means[left] = share * means[left] + (1 - share) * means[right]
        sizes[left] += sizes[right]
        height[left] = merged
        row = np.arange(len(means))
        stale = np.isin(row, [left, right])
        stale |= stale[nearest]
        kept = ~np.isin(row, right)
        nearest = (np.cumsum(kept) - 1)[nearest]
        means, sizes, member, height = means[kept], sizes[kept], member[kept], height[kept]
        nearest, apart, stale = nearest[kept], apart[kept], stale[kept]
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


def _search(means: np.ndarray, rows: np.ndarray, nearest: np.ndarray, apart: np.ndarray) -> None:
    """Finds the nearest other mean of some rows, and its distance: fills both [c], of c means [c, D]."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        own = rows[start : start + ROWS_AT_ONCE]
        place = np.arange(len(own))
        products = means[own] @ means.T
        products[place, own] = -np.inf
        nearest[own] = products.argmax(axis=1)
        apart[own] = 1 - products[place, nearest[own]]
