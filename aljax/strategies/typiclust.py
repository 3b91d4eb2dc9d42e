"""TypiClust: the most typical image of each cluster that has no label yet.

Shapes: P points of which L are labeled, M = P - L candidates, D features, B the budget.
"""

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import pairwise_distances_chunked
from threadpoolctl import threadpool_limits

MOST_CLUSTERS = 500
MOST_CLUSTERS_OF_EXACT_K_MEANS = 50
BATCH_OF_K_MEANS = 5000
NEIGHBORS = 20
SMALLEST_CLUSTER = 5


def clusters_of(features: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """The cluster of each point, [P] int32: k-means up to 50 clusters, in mini-batches above.

    One thread does it, so that its sums are added in one order and a seed has one result.

    Args:
      features: [P, D].
      num_clusters: from 1 to P.
      seed: below 2**32.
    """
    if num_clusters <= MOST_CLUSTERS_OF_EXACT_K_MEANS:
        method = KMeans(num_clusters, n_init=1, random_state=seed)
    else:
        method = MiniBatchKMeans(
            num_clusters,
            n_init=1,
            batch_size=BATCH_OF_K_MEANS,
            init_size=3 * num_clusters,  # k-means++ takes far longer than the rest on more
            random_state=seed,
        )
    with threadpool_limits(limits=1, user_api="openmp"):
        return method.fit(features).labels_


def typicality(features: np.ndarray) -> np.ndarray:
    """(1/k sum_i |x - x_i|)^-1 over the k nearest others of each point; infinite among duplicates.

    Args:
      features: [n, D]; k is 20, or n - 1 where that is less.

    Returns:
      [n]; of a single point infinity.

    Source: Hacohen, Dekel & Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High
    and Low Budgets", ICML 2022, section 3.
    """
    if len(features) == 1:
        return np.array([np.inf])
    neighbors = min(NEIGHBORS, len(features) - 1)

    def mean_of_nearest(lengths: np.ndarray, start: int) -> np.ndarray:
        row = np.arange(len(lengths))
        lengths[row, start + row] = np.inf
        return np.partition(lengths, neighbors - 1, axis=1)[:, :neighbors].mean(axis=1)

    with np.errstate(divide="ignore"):
        return 1 / np.concatenate([*pairwise_distances_chunked(features, reduce_func=mean_of_nearest)])


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

    Source: Hacohen et al., ICML 2022, section 3; the limits are those of the authors' code.
    """
    points = np.concatenate([candidates, labeled])
    num_clusters = min(len(labeled) + budget, MOST_CLUSTERS, len(np.unique(points, axis=0)))
    cluster = clusters_of(points, num_clusters, seed)
    size = np.bincount(cluster, minlength=num_clusters)
    used = np.bincount(cluster[len(candidates) :], minlength=num_clusters)
    free = [np.flatnonzero(cluster[: len(candidates)] == index) for index in range(num_clusters)]
    chosen = np.empty(budget, np.int32)
    for i in range(budget):
        index = min(
            (index for index in range(num_clusters) if len(free[index])),
            key=lambda index: (size[index] <= SMALLEST_CLUSTER, used[index], -size[index], index),
        )
        best = np.argmax(typicality(candidates[free[index]]))
        chosen[i] = free[index][best]
        free[index] = np.delete(free[index], best)
        used[index] += 1
    return chosen
