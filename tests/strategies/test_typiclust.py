import importlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

typiclust = importlib.import_module("aljax.strategies.typiclust")

# Three clusters on a line, of 17, 13 and 9 points; the middle one of each is the most typical.
OFFSETS = np.array([0.0, *(side * x for x in (0.1, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1) for side in (1, -1))])
LINE = np.concatenate([OFFSETS, 20 + OFFSETS[:13], 40 + OFFSETS[:9]])[:, None].astype(np.float32)
NONE = np.empty((0, 1), np.float32)


def squares(points):
    points = np.asarray(points, np.float64)
    return ((points[:, None] - points) ** 2).sum(axis=-1)


def test_typicality_is_one_over_the_mean_squared_distance_to_half_of_the_others():
    # Of five points two neighbors count: 1 and 4 from 0, 1 and 1 from 1, and so on.
    values = typiclust.typicality(squares([[0.0], [1.0], [2.0], [4.0], [10.0]]))
    means = np.array([(1 + 4) / 2, (1 + 1) / 2, (1 + 4) / 2, (4 + 9) / 2, (36 + 64) / 2])
    np.testing.assert_allclose(values, 1 / (1e-5 + means), rtol=1e-6)


def test_typicality_looks_at_20_neighbors():
    values = typiclust.typicality(squares(np.arange(100.0)[:, None]))
    np.testing.assert_allclose(values[50], 1 / (1e-5 + np.mean(np.square([*range(1, 11)] * 2))), rtol=1e-6)
    np.testing.assert_allclose(values[0], 1 / (1e-5 + np.mean(np.square(range(1, 21)))), rtol=1e-6)


def test_one_point_and_duplicates_are_as_typical_as_can_be():
    np.testing.assert_allclose(typiclust.typicality(np.zeros((1, 1))), [1e5])
    np.testing.assert_allclose(typiclust.typicality(np.zeros((3, 3))), [1e5] * 3)


def one_after_the_other(points):
    """All distances at every turn."""
    rest = np.arange(len(points))
    while len(rest):
        best = int(typiclust.typicality(squares(points[rest])).argmax())
        yield int(rest[best])
        rest = np.delete(rest, best)


@pytest.mark.parametrize("kind", ["normal", "grid", "one point"])
def test_neighbors_that_are_kept_give_what_a_new_search_gives(kind, monkeypatch):
    monkeypatch.setattr(typiclust, "KEPT", 40)
    monkeypatch.setattr(typiclust, "REFRESHED", 3)
    rng = np.random.default_rng(0)
    points = {
        "normal": rng.normal(size=(150, 3)),
        "grid": rng.integers(0, 5, (150, 2)),
        "one point": np.full((150, 2), 0.1),
    }[kind].astype(np.float32)
    order = list(typiclust.typical_first(points))
    assert order == list(one_after_the_other(points))
    if kind == "one point":
        assert order == list(range(150))


def test_a_later_pick_searches_few_neighbors(monkeypatch):
    searched = []
    nearest = typiclust._nearest

    def counted(points, rows, free):
        searched.append(len(rows))
        return nearest(points, rows, free)

    monkeypatch.setattr(typiclust, "_nearest", counted)
    points = np.abs(np.random.default_rng(0).normal(size=(1000, 8))).astype(np.float32)
    order = list(itertools.islice(typiclust.typical_first(points), 300))
    assert len(set(order)) == 300
    assert searched[0] == 1000
    assert sum(searched[1:]) < 3 * 300


def test_the_middles_of_the_clusters_are_taken_the_largest_first():
    assert list(typiclust.most_typical(LINE, NONE, 3, seed=0)) == [0, 17, 30]


def test_a_cluster_with_a_label_waits():
    # Two labels and a budget of 1 make 3 clusters, of which the first and the third have a label.
    chosen = typiclust.most_typical(LINE, np.array([[0.2], [40.2]], np.float32), 1, seed=0)
    assert list(chosen) == [17]


def test_small_clusters_are_left_to_the_end():
    points = np.concatenate([LINE[:17], [[100.0]], LINE[17:30]]).astype(np.float32)
    chosen = typiclust.most_typical(points, NONE, 3, seed=0)
    assert list(chosen[:2]) == [0, 18]
    assert chosen[2] != 17


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


def test_the_clusters_are_those_of_the_best_of_ten_starts():
    # Twelve groups far apart: one start of k-means++ misses some of them, the best of ten none.
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(12), 5)
    points = (100 * rng.normal(size=(12, 2))[group] + rng.normal(size=(60, 2))).astype(np.float32)
    for seed in range(5):
        clusters = typiclust.clusters_of(points, 12, seed)
        assert len(set(zip(group, clusters, strict=True))) == 12


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
