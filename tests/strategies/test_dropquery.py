import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.runtime import mesh
from aljax.strategies import View, select

dropquery = importlib.import_module("aljax.strategies.dropquery")

KEY = jax.random.key(0)
# Two directions, of three images each; in the middle of each the nearest to its center.
ANGLES = np.radians([0, 10, 20, 90, 100, 110, 200, 300])
FEATURES = jnp.array(np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1) * np.arange(1, 9)[:, None])


def view_of(dropout_classes):
    """Shows eight images that are of class 0 without dropout."""
    log_probs = jnp.log(jnp.tile(jnp.array([0.6, 0.4]), (8, 1)))
    return View(
        8,
        mesh.local(1, 2),
        log_probs=log_probs,
        features=FEATURES,
        dropout_classes=jnp.array(dropout_classes, jnp.int32),
    )


INCONSISTENT, WAVERING, SURE = [1, 0, 1], [0, 1, 0], [0, 0, 0]


def test_the_middles_of_the_clusters_of_inconsistent_images_are_taken():
    given = view_of([INCONSISTENT] * 6 + [WAVERING, SURE])
    for seed in range(3):
        assert sorted(select("dropquery", jax.random.key(seed), given, 2).chosen) == [1, 4]


def test_the_most_inconsistent_complete_the_batch():
    given = view_of([SURE, INCONSISTENT, SURE, WAVERING, SURE, INCONSISTENT, SURE, SURE])
    seen = {tuple(sorted(select("dropquery", jax.random.key(seed), given, 4).chosen)) for seed in range(8)}
    assert all({1, 3, 5} < set(chosen) for chosen in seen)
    assert len(seen) > 1


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_the_budget_is_met_without_repeats_also_among_duplicates(seed, budget):
    points = np.random.default_rng(seed).integers(0, 3, (20, 2)).astype(np.float32)
    chosen = dropquery.nearest_to_centers(points, budget, seed)
    assert len(set(chosen)) == budget
    different = len(np.unique(points[chosen], axis=0))
    assert budget == 20 or different == min(budget, len(np.unique(points, axis=0)))


def test_scikit_activeml_takes_as_inconsistent_ones():
    pytest.importorskip("skactiveml", reason="compares with scikit-activeml, of the bench extra")
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import DropQuery
    from sklearn.linear_model import LogisticRegression

    # A feature that decides alone where it is not dropped; images that it leaves at 0 never change.
    points = np.zeros((30, 4))
    points[:10] = 10 * np.array([1, 0, 0, 0]) + np.random.default_rng(0).normal(0, 0.1, (10, 4))
    labels = np.full(30, np.nan)
    labels[[0, 29]] = 1, 0
    classifier = SklearnClassifier(LogisticRegression(), classes=[0, 1])
    peer = DropQuery(random_state=0, dropout_rate=0.9).query(points, labels, classifier, batch_size=3)
    dropped = [INCONSISTENT if 1 <= i < 10 else SURE for i in range(1, 29)]
    given = View(
        28,
        mesh.local(1, 2),
        log_probs=jnp.log(jnp.tile(jnp.array([0.6, 0.4]), (28, 1))),
        features=jnp.array(points[1:29]),
        dropout_classes=jnp.array(dropped, jnp.int32),
    )
    assert set(1 + select("dropquery", KEY, given, 3).chosen) <= set(range(10))
    assert set(peer) <= set(range(10))
