import numpy as np
import pytest

from aljax.ops import distances


def test_the_blocks_make_up_the_whole(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 4)
    rng = np.random.default_rng(0)
    left, right = (1000 + rng.normal(size=(size, 3)).astype(np.float32) for size in (11, 6))
    whole = np.full((11, 6), np.nan)
    for rows, columns, values in distances.blocks(left, right):
        assert np.isnan(whole[rows, columns]).all()
        whole[rows, columns] = values
    np.testing.assert_allclose(whole, np.linalg.norm(left[:, None] - right, axis=-1), atol=1e-3)


def test_few_traces_serve_all_blocks(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 4)
    before = distances._distances._cache_size()
    for size in (9, 13, 17):  # each ends with one row
        list(distances.blocks(np.zeros((size, 7)), np.ones((8, 7))))
    assert distances._distances._cache_size() == before + 2


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1.0, 1e19, 1e36])
def test_points_of_any_scale(scale):
    points = (scale * np.random.default_rng(0).normal(size=(20, 5))).astype(np.float32)
    ((_, _, values),) = distances.blocks(points, points)
    expected = np.linalg.norm(points[:, None].astype(float) - points, axis=-1)
    np.testing.assert_allclose(values, expected, atol=2e-3 * scale)


@pytest.mark.parametrize("largest", [1e-38, 3e-22, 1.0, 1024.0, 3e38])
def test_the_power_of_two_brings_the_largest_near_its_exponent(largest):
    scale = distances.power_of_two(np.float32(largest), exponent=20)
    assert np.frexp(scale)[0] == 0.5
    assert 2**19 <= largest * float(scale) < 2**20 or scale == 2.0**126
    assert distances.power_of_two(0.0) == 1


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_nearest_by_brute_force_in_any_units_and_of_duplicates(scale):
    rng = np.random.default_rng(0)
    points, others = rng.normal(size=(700, 5)), rng.normal(size=(30, 5))
    points[::7] = others[np.arange(100) % 30]
    expected = np.linalg.norm(points[:, None] - others[None], axis=-1).min(axis=1)
    found = distances.nearest_on_host(
        (points * scale).astype(np.float32), (others * scale).astype(np.float32)
    )
    np.testing.assert_allclose(found / scale, expected, rtol=1e-5, atol=1e-6)
    assert not found[::7].any()


@pytest.mark.parametrize("kind", ["clusters", "any labels", "one mean", "one label"])
def test_the_nearest_of_another_label_by_brute_force(kind, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 16)
    rng = np.random.default_rng(0)
    centers = 4 * rng.normal(size=(4, 6))
    points = np.concatenate([centers[np.arange(90) % 4] + rng.normal(size=(90, 6)), -np.eye(6), np.eye(6)])
    labels = {
        "clusters": np.linalg.norm(points[:, None] - centers, axis=-1).argmin(axis=1),
        "any labels": rng.integers(0, 3, len(points)),
        "one mean": np.r_[np.zeros(90), np.ones(6), np.full(6, 2)].astype(int) % 2,
        "one label": np.zeros(len(points), int),
    }[kind]
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    expected = np.sort(np.where(labels[:, None] != labels, apart, np.inf).min(axis=1))
    for count in (1, 9, len(points)):
        found = distances.nearest_other(points.astype(np.float32), labels, count)
        np.testing.assert_allclose(found, expected[:count], rtol=1e-4)


def test_of_clusters_far_apart_few_pairs_are_compared(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 16)
    compared, nearest = [], distances._nearest_other
    monkeypatch.setattr(distances, "_nearest_other", lambda *sides: compared.append(1) or nearest(*sides))
    points = np.random.default_rng(0).normal(size=(320, 3)).astype(np.float32)
    distances.nearest_other(points, (points[:, 0] > 0).astype(int), 16)
    assert len(compared) < 100  # of 210


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e30])
@pytest.mark.parametrize("count", [2, 4, 5, 9, 16])
def test_the_least_by_brute_force_in_any_units(count, scale, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 4)
    points = (scale * (100 + np.random.default_rng(count).normal(size=(count, 3)))).astype(np.float32)
    apart = np.linalg.norm(points[:, None].astype(float) - points, axis=-1)
    expected = apart[np.triu_indices(count, 1)].min()
    assert distances.least(points) == pytest.approx(expected, rel=1e-3)
    assert distances.least(np.concatenate([points, points[-1:]])) == 0


def test_the_least_of_fewer_than_two_is_infinite(monkeypatch):
    assert (
        distances.least(np.zeros((0, 3), np.float32))
        == distances.least(np.zeros((1, 3), np.float32))
        == np.inf
    )
