import importlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

robust = importlib.import_module("aljax.strategies.robust_core_set")

NONE = np.empty((0, 1), np.float32)


def column(*values):
    return np.array(values, np.float32)[:, None]


def radius_of(candidates, labeled, chosen, outliers=1):
    centers = np.concatenate([candidates[np.asarray(chosen)], labeled])
    nearest = np.linalg.norm(candidates[:, None] - centers, axis=-1).min(axis=1)
    return np.sort(nearest)[-1 - outliers]


def test_one_outlier_is_left_out():
    # Greedy runs to 100; one point may be left out, and then 1 and 11 cover the rest.
    cover = robust.robust_k_center(column(0, 1, 2, 10, 11, 12, 100), NONE, 2)
    assert sorted(cover.chosen) == [1, 4]
    assert cover.radius == cover.bound == pytest.approx(1, abs=1e-3)
    assert cover.greedy_radius > 1.5
    assert cover.unsolved == ""


@pytest.mark.parametrize("scale", [1e-22, 1e19])
def test_features_of_any_scale_have_the_scaled_radius(scale):
    candidates = column(0, 1, 2, 10, 11, 12, 100) * np.float32(scale)
    cover = robust.robust_k_center(candidates, NONE, 2)
    assert sorted(cover.chosen) == [1, 4]
    assert cover.radius == pytest.approx(scale, rel=1e-3)


def test_labeled_points_cover_too():
    cover = robust.robust_k_center(column(0, 1, 2, 10, 11, 12, 13, 14, 100), column(1), 1)
    assert list(cover.chosen) == [5]
    assert cover.radius == pytest.approx(2, abs=1e-3)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 2))
def test_no_other_centers_do_better(seed, budget, num_labeled):
    points = np.random.default_rng(seed).integers(0, 20, (9 + num_labeled, 2)).astype(np.float32)
    candidates, labeled = points[:9], points[9:]
    cover = robust.robust_k_center(candidates, labeled, budget)
    best = min(radius_of(candidates, labeled, some) for some in itertools.combinations(range(9), budget))
    assert len(set(cover.chosen)) == budget
    assert radius_of(candidates, labeled, cover.chosen) == pytest.approx(best, abs=1e-3)
    assert cover.radius == pytest.approx(best, abs=1e-3)
    assert cover.greedy_radius >= cover.radius - 1e-3


def test_spare_centers_go_to_the_farthest():
    cover = robust.robust_k_center(column(0, 0, 0, 7, 7, 9), NONE, 5)
    assert len(set(cover.chosen)) == 5
    assert set(cover.chosen) >= {5}
    assert cover.radius == pytest.approx(0, abs=5e-3)  # a thousandth of the distance from the mean


def test_without_time_the_greedy_answer_stands_and_it_is_said():
    points = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    cover = robust.robust_k_center(points, points[:0], 5, seconds=0)
    assert cover.unsolved == "the time limit of 0 s, 10 s for a radius, left one undecided"
    assert cover.radius == cover.greedy_radius == pytest.approx(radius_of(points, points[:0], cover.chosen))
    assert cover.bound <= robust.robust_k_center(points, points[:0], 5).radius < cover.radius


def test_too_many_pairs_are_not_tried_and_it_is_said(monkeypatch):
    monkeypatch.setattr(robust, "MOST_PAIRS", 10)
    points = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    cover = robust.robust_k_center(points, points[:0], 5)
    assert cover.unsolved == "more than 10 pairs lie within the greedy radius"
    assert len(set(cover.chosen)) == 5
