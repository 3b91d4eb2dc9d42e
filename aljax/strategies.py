"""Query strategies by name: which images of a sub-pool to label next.

A strategy is a function of a key, a view of the sub-pool and a budget. To add one, write it
here and name it in `STRATEGIES`; nothing else changes.

Shapes: M images in the sub-pool, L the most images ever labeled, B the budget.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from aljax import scoring
from aljax.errors import RunFailed
from aljax.kcenter import k_center_greedy
from aljax.train import Outputs


class View(NamedTuple):
    """What a strategy may look at: the model's outputs for the sub-pool and the labeled images."""

    outputs: Outputs | None  # [M + L, ...], the sub-pool first; None while there is no model
    subset_size: int  # M
    num_labeled: int  # so many of the last L rows are valid
    mesh: Mesh  # the devices to spread over


class Selection(NamedTuple):
    """What a strategy chose."""

    chosen: np.ndarray  # positions in the sub-pool in the order of choice, [B] int32
    scores: np.ndarray  # of the whole sub-pool, higher is wanted more, [M] float32; or [0]


Strategy = Callable[[jax.Array, View, int], Selection]


def random(key: jax.Array, view: View, budget: int) -> Selection:
    """A uniform draw without replacement; needs no model."""
    return _highest(jax.random.uniform(key, (view.subset_size,)), budget)


def by_score(score: Callable[[Outputs], jax.Array], key: jax.Array, view: View, budget: int) -> Selection:
    """The images of highest score, where `score` takes the outputs of one image to a scalar."""
    assert view.outputs is not None
    scores = jax.vmap(score)(view.outputs)[: view.subset_size]
    return _highest(scores, budget)


def core_set(key: jax.Array, view: View, budget: int) -> Selection:
    """Greedy k-center on the backbone's features, around all labeled images; no scores.

    Source: Sener & Savarese, ICLR 2018, algorithm 1.
    """
    assert view.outputs is not None
    features = view.outputs.features
    row = np.arange(len(features))
    chosen = k_center_greedy(
        features,
        is_center=(row >= view.subset_size) & (row < view.subset_size + view.num_labeled),
        is_candidate=row < view.subset_size,
        budget=budget,
        mesh=view.mesh,
    )
    return Selection(np.asarray(chosen), np.empty(0, np.float32))


def _highest(scores: jax.Array, budget: int) -> Selection:
    """The `budget` highest scores, highest first, ties to the lowest position."""
    values = np.asarray(scores, np.float32)
    if not np.isfinite(values).all():
        raise RunFailed(f"{np.sum(~np.isfinite(values))} of {len(values)} scores are not finite")
    return Selection(np.argsort(-values, kind="stable")[:budget].astype(np.int32), values)


STRATEGIES: dict[str, Strategy] = {
    "random": random,
    "least_confidence": partial(by_score, lambda outputs: scoring.least_confidence(outputs.log_probs)),
    "margin": partial(by_score, lambda outputs: scoring.margin(outputs.log_probs)),
    "entropy": partial(by_score, lambda outputs: scoring.entropy(outputs.log_probs)),
    "learning_loss": partial(by_score, scoring.predicted_loss),
    "core_set": core_set,
}
