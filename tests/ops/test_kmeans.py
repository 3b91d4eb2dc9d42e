import numpy as np
import pytest
from sklearn.cluster import KMeans

from aljax.ops import kmeans


def inertia(points, partition):
    return ((points - partition.centers[partition.labels]) ** 2).sum()


def blobs(count, num_clusters, size=5, seed=0):
    rng = np.random.default_rng(seed)
    centers = 20 * rng.normal(size=(num_clusters, size))
    kinds = np.arange(count) % num_clusters
    return (centers[kinds] + rng.normal(size=(count, size))).astype(np.float32), kinds


def test_clusters_that_lie_apart_are_found_with_their_means():
    points, kinds = blobs(120, 4)
    found = kmeans.k_means(points, 4, seed=3, starts=5, iterations=100)
    assert len({*zip(kinds.tolist(), found.labels.tolist(), strict=True)}) == 4  # one label for each kind
    for kind, label in {*zip(kinds.tolist(), found.labels.tolist(), strict=True)}:
        np.testing.assert_allclose(found.centers[label], points[kinds == kind].mean(axis=0), atol=1e-3)


@pytest.mark.parametrize("num_clusters", [2, 7])
def test_it_is_as_good_as_scikit_learn(num_clusters):
    points = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
    found = kmeans.k_means(points, num_clusters, seed=0, starts=10, iterations=300)
    best = KMeans(num_clusters, n_init=10, random_state=0).fit(points).inertia_
    assert inertia(points, found) <= 1.02 * best
    lengths = ((points[:, None] - found.centers) ** 2).sum(-1)
    np.testing.assert_array_equal(found.labels, lengths.argmin(1))  # each point with its nearest center


def test_a_seed_gives_the_same_clusters_and_far_points_do_not_matter():
    points, _ = blobs(90, 3)
    a, b = (kmeans.k_means(points, 3, seed=5, starts=3, iterations=50) for _ in range(2))
    np.testing.assert_array_equal(a.labels, b.labels)
    far = kmeans.k_means(points + 1e4, 3, seed=5, starts=3, iterations=50)
    assert len({*zip(a.labels.tolist(), far.labels.tolist(), strict=True)}) == 3


def test_as_many_clusters_as_points_that_differ():
    points = np.repeat(np.arange(5, dtype=np.float32)[:, None] * 3, 4, axis=0)
    found = kmeans.k_means(points, 5, seed=0, starts=4, iterations=50)
    assert inertia(points, found) == pytest.approx(0, abs=1e-6)
    assert len(set(found.labels.tolist())) == 5


def test_first_centers_are_different_points():
    points, kinds = blobs(60, 6)
    centers = kmeans.first_centers(points, 6, seed=2, starts=3)
    rows = [int(((points - center) ** 2).sum(1).argmin()) for center in centers]
    np.testing.assert_allclose(points[rows], centers, atol=1e-4)
    assert len(set(kinds[rows])) == 6  # of clusters far apart, one center in each


def plain(points, centers):
    """Lloyd's algorithm as it is written in books."""
    for _ in range(100):
        labels = ((points[:, None] - centers) ** 2).sum(-1).argmin(1)
        moved = np.stack([points[labels == k].mean(axis=0) for k in range(len(centers))])
        if np.array_equal(moved, centers):
            break
        centers = moved
    return labels, centers


@pytest.mark.parametrize("num_clusters", [3, 40])
def test_centers_that_stand_still_are_where_all_being_moved_leaves_them(num_clusters):
    points = np.random.default_rng(4).normal(size=(400, 4)).astype(np.float32)
    found = kmeans.k_means(points, num_clusters, seed=1, starts=1, iterations=100)
    begin = kmeans.first_centers(points, num_clusters, seed=1, starts=1)
    labels, centers = plain(points.astype(float), begin.astype(float))
    moved = inertia(points, kmeans.Partition(labels, centers))
    assert inertia(points, found) == pytest.approx(moved, rel=1e-3)  # it ends where they hardly move
    assert np.mean(found.labels == labels) > 0.98


def test_different_points_are_counted_up_to_a_number():
    points = np.array([[0.0, 1], [-0.0, 1], [2, 1], [2, 1], [3, 1]], np.float32)
    assert kmeans.count_different(points, 9) == 3
    assert kmeans.count_different(points, 2) == 2
