import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.strategies import typiclust

# Three clusters on a line, of 11, 9 and 7 points; the middle one of each is the most typical.
OFFSETS = np.array([0.0, 0.1, -0.1, 0.3, -0.3, 0.6, -0.6, 0.9, -0.9, 1.2, -1.2])
LINE = np.concatenate([OFFSETS, 10 + OFFSETS[:9], 20 + OFFSETS[:7]])[:, None].astype(np.float32)
NONE = np.empty((0, 1), np.float32)


def test_typicality_is_one_over_the_mean_distance_to_the_others():
    points = np.array([[0.0], [1.0], [3.0]])
    np.testing.assert_allclose(typiclust.typicality(points), [1 / 2, 1 / 1.5, 1 / 2.5])


def test_typicality_looks_at_20_neighbors():
    points = np.arange(100.0)[:, None]
    values = typiclust.typicality(points)
    np.testing.assert_allclose(values[50], 1 / np.mean([*range(1, 11), *range(1, 11)]))
    np.testing.assert_allclose(values[0], 1 / np.mean(range(1, 21)))


def test_one_point_and_duplicates_are_as_typical_as_can_be():
    assert typiclust.typicality(np.zeros((1, 2))) == [np.inf]
    assert np.all(typiclust.typicality(np.zeros((3, 2))) == np.inf)


def test_the_middles_of_the_clusters_are_taken_the_largest_first():
    assert list(typiclust.most_typical(LINE, NONE, 3, seed=0)) == [0, 11, 20]


def test_a_cluster_with_a_label_waits():
    # Two labels and a budget of 1 make 3 clusters, of which the first and the third have a label.
    chosen = typiclust.most_typical(LINE, np.array([[0.2], [20.2]], np.float32), 1, seed=0)
    assert list(chosen) == [11]


def test_small_clusters_are_left_to_the_end():
    points = np.concatenate([LINE[:11], [[50.0]], LINE[11:20]]).astype(np.float32)
    chosen = typiclust.most_typical(points, NONE, 3, seed=0)
    assert list(chosen[:2]) == [0, 12]
    assert chosen[2] != 11


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 10**6), st.integers(1, 24), st.integers(0, 9))
def test_the_budget_is_met_without_repeats_also_among_duplicates(seed, budget, labeled):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 3, (24 + labeled, 2)).astype(np.float32)
    chosen = typiclust.most_typical(points[:24], points[24:], budget, seed)
    assert chosen.dtype == np.int32
    assert len(set(chosen)) == budget
    assert set(chosen) <= set(range(24))


def test_mini_batches_above_50_clusters_repeat_themselves():
    points = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    clusters = typiclust.clusters_of(points, 60, seed=3)
    assert clusters.shape == (300,)
    assert len(set(clusters)) > 50
    np.testing.assert_array_equal(clusters, typiclust.clusters_of(points, 60, seed=3))


def test_scikit_activeml_takes_the_same():
    pytest.importorskip("skactiveml", reason="compares with scikit-activeml, of the bench extra")
    from skactiveml.pool import TypiClust

    # Clusters with gaps between, so that k-means has one answer, and each with an odd one out.
    rng = np.random.default_rng(1)
    centers = 100 * np.eye(6, 8)
    points = np.concatenate([c + rng.normal(size=(30 + 3 * i, 8)) for i, c in enumerate(centers)])
    labels = np.full(len(points), np.nan)
    labels[[0, 40]] = 0
    peer = TypiClust(random_state=0, k=typiclust.NEIGHBORS, cluster_algo_dict={"n_init": 10}).query(
        points, labels, batch_size=4
    )
    unlabeled = np.flatnonzero(np.isnan(labels))
    chosen = typiclust.most_typical(points[unlabeled], points[[0, 40]], 4, seed=0)
    assert sorted(unlabeled[chosen]) == sorted(peer)
