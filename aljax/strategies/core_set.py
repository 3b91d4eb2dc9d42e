"""Core-set: the images that, together with the labeled ones, cover the sub-pool best.

Shapes: M images in the sub-pool, L the most images ever labeled, B the budget, D features.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from aljax.kcenter import k_center_greedy
from aljax.runtime.mesh import of_own_memory
from aljax.strategies.base import NO_SCORES, Selection, View, features_of, needs, of_unit_length


@needs("features", "labeled_features")
def core_set(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects greedy k-centers around all labeled images; no scores.

    Source: Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
    Approach", ICLR 2018, algorithm 1.
    """
    assert view.features is not None
    assert view.labeled_features is not None
    return _covering(key, view, view.features, view.labeled_features, budget)


@needs("features", "labeled_features")
def core_set_cosine(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects greedy k-centers on features of length 1, where distances are those of angles; no scores."""
    assert view.labeled_features is not None
    candidates, labeled = map(of_unit_length, features_of(view))
    rows = np.zeros((len(view.labeled_features), labeled.shape[1]), np.float32)  # of a fixed shape, [L, D]
    rows[: len(labeled)] = labeled
    return _covering(key, view, candidates, rows, budget)


def _covering(
    key: jax.Array, view: View, candidates: ArrayLike, labeled: ArrayLike, budget: int
) -> Selection:
    """Selects k-centers of candidates [M, D] around the valid rows of labeled ones [L, D]."""
    features = jnp.concatenate([jnp.asarray(candidates), jnp.asarray(labeled)])
    row = np.arange(len(features))
    chosen = k_center_greedy(
        features,
        is_center=(row >= view.subset_size) & (row < view.subset_size + view.num_labeled),
        is_candidate=row < view.subset_size,
        budget=budget,
        mesh=of_own_memory(view.mesh),
        key=key,
    )
    return Selection(np.asarray(chosen), NO_SCORES)
