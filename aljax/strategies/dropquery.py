"""DropQuery: the images whose class changes where features are dropped, one of each cluster of them.

Shapes: M images, D features, S samples of dropout, B the budget, n images that are clustered.
"""

import jax
import numpy as np

from aljax.ops import kmeans
from aljax.strategies.base import (
    NO_SCORES,
    Selection,
    View,
    finite,
    needs,
    of_unit_length,
    seed_of,
    tie_order,
)

ITERATIONS = 100  # of k-means, at most


@needs("log_probs", "features", "dropout_classes")
def dropquery(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects, of each of B clusters of inconsistent images, the nearest to its center; no scores.

    An image is inconsistent if more than half of the predictions with dropout are of another class than the
    prediction without. Where fewer than B are, the next most inconsistent ones complete them, drawn where
    they are equally so.

    Source: Gupte, Aklilu, Nirschl & Yeung-Levy, "Revisiting Active Learning in the Era of Vision Foundation
    Models", TMLR 2024, section 5, with features of length 1 as in the authors' code.
    """
    assert view.log_probs is not None
    order = tie_order(key, view.subset_size)
    dropped = np.asarray(view.dropout_classes)[order]
    predicted = np.asarray(view.log_probs)[order].argmax(axis=1)
    changes = (dropped != predicted[:, None]).sum(axis=1)
    count = max(budget, int(np.sum(2 * changes > dropped.shape[1])))
    inconsistent = np.sort(np.argsort(-changes, kind="stable")[:count])
    features = of_unit_length(finite(view.features))[order[inconsistent]]
    return Selection(order[inconsistent[nearest_to_centers(features, budget, seed_of(key))]], NO_SCORES)


def nearest_to_centers(points: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """Takes the nearest point to the center of each of B clusters of k-means.

    Where there are fewer different points than B, the first points that are left complete them.

    Args:
      points: [n, D].
      budget: from 1 to n.
      seed: of k-means, below 2**32.

    Returns:
      Positions, [B].
    """
    if budget == len(points):
        return np.arange(budget)
    num_clusters = kmeans.count_different(points, budget)
    labels, centers = kmeans.k_means(points, num_clusters, seed, starts=1, iterations=ITERATIONS)
    apart = np.linalg.norm(points - centers[labels], axis=1)
    nearest_first = np.lexsort((apart, labels))
    _, first = np.unique(labels[nearest_first], return_index=True)
    chosen = nearest_first[first]
    rest = np.delete(np.arange(len(points)), chosen)
    return np.concatenate([chosen, rest[: budget - len(chosen)]])
