import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.cluster.hierarchy as hierarchy
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.runtime import mesh
from aljax.strategies import View, select
from aljax.strategies.base import of_unit_length

cluster_margin = importlib.import_module("aljax.strategies.cluster_margin")


def test_a_turn_takes_one_of_each_cluster_the_smallest_first():
    cluster = np.array([7, 7, 7, 2, 2, 9])
    assert list(cluster_margin.in_turns(cluster)) == [5, 3, 0, 4, 1, 2]
    assert list(cluster_margin.in_turns(np.zeros(3, int))) == [0, 1, 2]


def test_directions_are_clusters():
    angles = np.array([0, 5, 90, 95, 180, 3, 92])
    points = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1)
    cluster = cluster_margin.clusters_of(points, 3)
    assert [set(np.flatnonzero(cluster == c)) for c in cluster[[0, 2, 4]]] == [{0, 1, 5}, {2, 3, 6}, {4}]
    assert len(set(cluster_margin.clusters_of(points, 7))) == 7
    assert len(set(cluster_margin.clusters_of(points, 1))) == 1


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 5))
def test_merges_are_those_of_scipy(seed, count, dimensions):
    points = of_unit_length(np.random.default_rng(seed).normal(1, 1, (count, dimensions)))
    pairs, heights = cluster_margin.merges(points)
    tree = hierarchy.linkage(points.astype(float), "average", metric="cosine")
    assert pairs.shape == (count - 1, 2)
    np.testing.assert_allclose(np.sort(heights), tree[:, 2], atol=2e-6)


def test_clusters_are_those_of_scipy_over_many_blocks(monkeypatch):
    monkeypatch.setattr(cluster_margin, "ROWS_AT_ONCE", 16)
    points = of_unit_length(np.random.default_rng(0).normal(1, 1, (120, 6)))
    tree = hierarchy.linkage(points.astype(float), "average", metric="cosine")
    expected = hierarchy.fcluster(tree, 12, "maxclust")
    cluster = cluster_margin.clusters_of(points, 12)
    assert len(set(zip(cluster, expected, strict=True))) == 12


@pytest.mark.parametrize("points", [np.ones((30, 3)) / 3**0.5, np.zeros((30, 3)), np.eye(30)])
def test_points_that_are_all_equally_far_are_clustered(points):
    cluster = cluster_margin.clusters_of(points, 4)
    assert len(set(cluster)) == 4


def test_rounding_that_makes_a_ring_of_nearest_does_not_hang():
    left, right = cluster_margin._mutual(np.array([1, 2, 0]), np.array([0.5, 0.5, 0.4]))
    assert sorted([*left, *right]) == [0, 2]


def test_only_images_of_small_margin_are_taken_and_from_all_clusters():
    # Of 40 images in four directions the first 20 are uncertain: 17 in one direction, 3 in the others.
    direction = np.r_[np.zeros(17, int), 1, 2, 3, np.arange(20) % 4]
    probs = np.where(np.arange(40)[:, None] < 20, [0.5, 0.5], [0.9, 0.1])
    given = View(
        40,
        mesh.local(1, 2),
        log_probs=jnp.log(jnp.array(probs, jnp.float32)),
        features=jnp.array(np.eye(4)[direction] * np.arange(1, 41)[:, None]),
    )
    for seed in range(3):
        chosen = select("cluster_margin", jax.random.key(seed), given, 16).chosen
        assert list(direction[chosen]).count(0) == 13
        assert set(chosen) >= {17, 18, 19}
        assert max(chosen) < 20
        assert sorted(direction[chosen[:4]]) == [0, 1, 2, 3]
        assert direction[chosen[3]] == 0
