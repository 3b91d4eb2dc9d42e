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
