import importlib

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

maxherding = importlib.import_module("aljax.strategies.maxherding")
herded = maxherding.herded

KEY = jax.random.key(0)
NONE = np.empty((0, 2), np.float32)
EAST, NORTH, WEST = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
COMPASS = np.array([EAST, NORTH, EAST, WEST, EAST, NORTH], np.float32)
ALIKE = np.ones(6, np.float32)


def test_each_direction_is_covered_once_the_largest_group_first():
    selection = herded(KEY, COMPASS, NONE, ALIKE, 1.0, 5)
    assert [list(COMPASS[i]) for i in selection.chosen[:3]] == [EAST, NORTH, WEST]
    assert selection.note == "2 of 5 images were drawn among those that cover nothing new"


def test_what_a_label_covers_counts_no_more_and_what_covers_nothing_is_drawn():
    selection = herded(KEY, COMPASS, np.array([EAST], np.float32), ALIKE, 1.0, 5)
    assert [list(COMPASS[i]) for i in selection.chosen[:2]] == [NORTH, WEST]
    assert selection.note == "3 of 5 images were drawn among those that cover nothing new"
    seen = {tuple(herded(jax.random.key(seed), COMPASS, COMPASS, ALIKE, 1.0, 5).chosen) for seed in range(6)}
    assert len(seen) > 3


def test_weights_say_what_is_worth_covering():
    weights = np.where((COMPASS == WEST).all(axis=1), 1.0, 0.0).astype(np.float32)
    assert herded(KEY, COMPASS, NONE, weights, 1.0, 5).chosen[0] == 3


def similarities(left, right, radius):
    apart = np.asarray(left, float)[:, None] - np.asarray(right, float)
    return np.exp(-(apart**2).sum(axis=-1) / radius**2)


def assert_greedy(chosen, candidates, labeled, weights, radius):
    """Each is, to rounding, the best that there is when it is taken, by all similarities at once."""
    kernel = similarities(candidates, candidates, radius)
    covered = similarities(candidates, labeled, radius).max(axis=1, initial=0)
    free = np.ones(len(candidates), bool)
    for one in chosen:
        gains = weights @ np.maximum(kernel - covered[:, None], 0)
        assert gains[one] >= gains[free].max() - 1e-5
        free[one] = False
        covered = np.maximum(covered, kernel[one])


def on_the_sphere(rng, count):
    points = rng.normal(size=(count, 3)) + np.array([2, 0, 0])
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 5]), st.floats(0.05, 2))
def test_as_by_brute_force(seed, num_labeled, radius):
    rng = np.random.default_rng(seed)
    candidates, labeled = on_the_sphere(rng, 30), on_the_sphere(rng, num_labeled)
    weights = rng.uniform(0, 1, 30).astype(np.float32)
    chosen = herded(KEY, candidates, labeled, weights, radius, 12).chosen
    assert chosen.dtype == np.int32
    assert len(set(chosen)) == 12
    assert_greedy(chosen, candidates, labeled, weights, radius)


def test_as_by_brute_force_over_many_blocks_with_nothing_kept(monkeypatch):
    for name, value in {"AT_ONCE": 16, "FEW_AT_ONCE": 3, "MOST_KEPT": 0}.items():
        monkeypatch.setattr(maxherding, name, value)
    rng = np.random.default_rng(0)
    candidates, labeled = on_the_sphere(rng, 90), on_the_sphere(rng, 37)
    weights = rng.uniform(0, 1, 90).astype(np.float32)
    chosen = herded(KEY, candidates, labeled, weights, 0.5, 40).chosen
    assert_greedy(chosen, candidates, labeled, weights, 0.5)


@pytest.mark.parametrize("kept", [0, maxherding.MOST_KEPT])
def test_candidates_that_do_not_count_are_taken_and_not_covered(kept, monkeypatch):
    for name, value in {"AT_ONCE": 16, "FEW_AT_ONCE": 3, "MOST_KEPT": kept}.items():
        monkeypatch.setattr(maxherding, name, value)
    rng = np.random.default_rng(2)
    candidates, labeled = on_the_sphere(rng, 91), on_the_sphere(rng, 7)
    counting = np.sort(rng.choice(91, 38, replace=False))
    weights = np.zeros(91, np.float32)
    weights[counting] = rng.uniform(0.5, 1, 38)
    chosen = herded(KEY, candidates, labeled, weights, 0.5, 40, counting).chosen
    assert len(set(chosen)) == 40
    assert not set(chosen) <= set(counting)
    assert_greedy(chosen, candidates, labeled, weights, 0.5)


def test_scikit_activeml_takes_the_same():
    pytest.importorskip("skactiveml", reason="compares with scikit-activeml, of the bench extra")
    from skactiveml.pool import MaxHerding

    rng = np.random.default_rng(1)
    points = on_the_sphere(rng, 60)
    labels = np.full(60, np.nan)
    labels[50:] = 0
    peer = MaxHerding(metric_dict={"gamma": 1.0}, random_state=0).query(points, labels, batch_size=8)
    chosen = herded(KEY, points[:50], points[50:], np.ones(50, np.float32), maxherding.RADIUS, 8).chosen
    assert list(chosen[:5]) == list(peer[:5])  # later on, two that cover each other alone tie
    assert_greedy(peer, points[:50], points[50:], np.ones(50), maxherding.RADIUS)
