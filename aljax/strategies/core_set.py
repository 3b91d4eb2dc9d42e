"""Core-set: the images that, together with the labeled ones, cover the sub-pool best."""

import jax
import jax.numpy as jnp
import numpy as np

from aljax.kcenter import k_center_greedy
from aljax.runtime.mesh import of_own_memory
from aljax.strategies.base import NO_SCORES, Selection, View, needs


@needs("features", "labeled_features")
def core_set(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects greedy k-centers around all labeled images; no scores.

    Source: Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
    Approach", ICLR 2018, algorithm 1.
    """
    assert view.features is not None
    assert view.labeled_features is not None
    features = jnp.concatenate([view.features, view.labeled_features])
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
