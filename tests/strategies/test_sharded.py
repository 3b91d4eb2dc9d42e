import itertools
import tempfile
import weakref
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.data import shards
from aljax.kcenter import k_center_greedy
from aljax.strategies import rounds, sharded
from aljax.strategies.base import of_unit_length
from aljax.strategies.maxherding import _herd, herded
from aljax.strategies.probcover import coverage


def stored(folder, points, parts=3):
    for number, part in enumerate(np.array_split(points, parts)):
        np.save(Path(folder) / f"part-{number:02d}.npy", part.astype(np.float32))
    return shards.opened(Path(folder))


def normal(count, dimensions, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def radius_of(points, centers):
    return np.sqrt(((points[:, None] - centers) ** 2).sum(-1)).min(axis=1).max()


def exact(points, labeled, budget):
    whole = np.concatenate([points, labeled])
    row = np.arange(len(whole))
    return np.asarray(k_center_greedy(whole, row >= len(points), row < len(points), budget))


def test_where_all_points_fit_it_is_the_exact_greedy_answer(tmp_path):
    points, labeled = normal(200, 3), normal(5, 3, seed=1)
    found = sharded.k_center(stored(tmp_path, points), 10, labeled)
    assert list(found.chosen) == list(exact(points, labeled, 10))
    assert (found.rounds, found.among) == (0, 200)
    known = np.concatenate([labeled, points[found.chosen]])
    assert found.reached == pytest.approx(radius_of(points, known), rel=1e-5)


def test_points_on_a_line_laid_out_by_hand(tmp_path):
    """Of both blocks, the farthest from 5 stay: 0, 3 and 14, 10; of these, 14 and 0 are taken.

    Then 10 is farthest, 4 from 14, and would be the next.
    """
    points = np.array([[0], [1], [2], [3], [10], [11], [12], [14]], np.float32)
    found = sharded.k_center(stored(tmp_path, points, 2), 2, np.array([[5.0]]), more=1, block=4, last=4)
    assert list(found.chosen) == [7, 0]
    assert (found.reached, found.bound) == (4, 2)


PLACES = st.tuples(st.integers(-3, 3), st.integers(-3, 3))


@settings(max_examples=25, deadline=None)
@given(  # of few shapes, as each is compiled
    st.sampled_from([7, 12]).flatmap(lambda size: st.lists(PLACES, min_size=size, max_size=size)),
    st.sampled_from([1, 3]),
    st.booleans(),
)
def test_the_optimal_radius_lies_between_the_bound_and_the_radius_reached(places, budget, with_label):
    """By brute force over all batches; ties and duplicates included."""
    points = np.array(places, np.float32)
    labeled = np.array([[0.5, 0.5]], np.float32) if with_label else None
    known = np.empty((0, 2), np.float32) if labeled is None else labeled
    with tempfile.TemporaryDirectory() as folder:
        found = sharded.k_center(stored(folder, points, 2), budget, labeled, more=1, block=4, last=4)
    batches = itertools.combinations(range(len(points)), budget)
    best = min(radius_of(points, np.concatenate([known, points[list(batch)]])) for batch in batches)
    assert len({*found.chosen}) == budget
    assert found.reached == pytest.approx(radius_of(points, np.concatenate([known, points[found.chosen]])))
    assert found.bound <= best + 1e-5
    assert best <= found.reached + 1e-5
    assert found.reached <= 2 * best * (1 + 2 * found.rounds) + 1e-5


@pytest.mark.parametrize("kind", ["gaussian", "clusters in order"])
def test_the_radius_is_near_that_of_one_block_of_all(tmp_path, kind):
    points = normal(6_000, 8)
    if kind != "gaussian":
        points += 6 * normal(12, 8, seed=1)[np.arange(6_000) // 500]  # a block sees two of the clusters
    found = sharded.k_center(stored(tmp_path, points), 40, block=640, last=4_000)
    greedy = radius_of(points, points[exact(points, np.empty((0, 8), np.float32), 40)])
    assert found.rounds >= 1
    assert found.reached <= 1.1 * greedy
    assert found.bound <= greedy <= 2 * found.reached


def mean_similarity(points, centers):
    squares = ((points[:, None] - centers) ** 2).sum(-1)
    return np.exp(-squares).max(axis=1).mean()


def test_maxherding_in_rounds_against_one_block_of_all(tmp_path):
    points = normal(3_000, 5)
    unit = of_unit_length(points)
    key, none = jax.random.key(0), np.empty((0, 5), np.float32)
    whole = herded(key, unit, none, np.ones(3_000, np.float32), 0.5, 20).chosen
    files = stored(tmp_path, points)
    fits = sharded.maxherding(key, files, 20, radius=0.5, block=3_000)
    assert list(fits.chosen) == list(whole)
    found = sharded.maxherding(key, files, 20, radius=0.5, block=1_000)
    assert found.rounds >= 1
    assert found.reached == pytest.approx(mean_similarity(unit / 0.5, unit[found.chosen] / 0.5), rel=1e-4)
    assert found.reached > 0.93 * mean_similarity(unit / 0.5, unit[whole] / 0.5)


def test_rounds_with_judges_compile_once_for_all_blocks(tmp_path):
    files = stored(tmp_path, normal(6_000, 5))
    before = _herd._cache_size()
    found = sharded.maxherding(jax.random.key(0), files, 50, radius=0.5, block=250)
    assert found.rounds == 2
    # whole blocks, blocks with judges, the last of these, and the last round
    assert _herd._cache_size() - before <= 4
    assert len(set(found.chosen.tolist())) == 50


def test_probcover_in_rounds_against_one_block_of_all(tmp_path):
    points, labeled = normal(3_000, 4), normal(3, 4, seed=1)
    unit, known = of_unit_length(points), of_unit_length(labeled)
    files = stored(tmp_path, points)
    whole = coverage(unit, known, 15, 0.4)
    fits = sharded.probcover(jax.random.key(0), files, 15, 0.4, labeled, block=3_000)
    assert list(fits.chosen) == list(whole)
    found = sharded.probcover(jax.random.key(0), files, 15, 0.4, labeled, block=1_000)
    for batch in (fits, found):
        near = np.sqrt(((unit[:, None] - np.concatenate([known, unit[batch.chosen]])) ** 2).sum(-1)) < 0.4
        assert batch.reached == pytest.approx(near.any(axis=1).mean(), abs=2e-3)
    assert found.rounds >= 1
    assert found.reached > 0.9 * fits.reached
    everything = sharded.probcover(jax.random.key(0), files, 15, 2.5, labeled, block=1_000)
    assert (len(everything.chosen), everything.reached) == (0, 1)


def test_weights_count_as_copies_do():
    points = normal(60, 3)
    weights = np.random.default_rng(0).integers(1, 4, 60)
    copied = np.repeat(np.arange(60), weights)
    none = np.empty((0, 3), np.float32)
    of_copies = copied[coverage(points[copied], none, 8, 1.0)]
    assert list(coverage(points, none, 8, 1.0, weights)) == list(of_copies)


def test_smallest_margins_first_and_then_in_turns_from_their_clusters(tmp_path):
    angle = np.repeat([0.0, 1.0, 2.0], 40) + np.random.default_rng(0).uniform(0, 0.01, 120)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    margins = np.full(120, 0.9)
    margins[[3, 5, 50, 51, 52, 100, 7, 101]] = np.linspace(0.1, 0.2, 8)
    found = sharded.cluster_margin(stored(tmp_path, points), margins, 4, keep=2)
    assert len({*found.tolist()}) == 4
    assert {*found.tolist()} <= {3, 5, 50, 51, 52, 100, 7, 101}
    assert len(sharded.cluster_margin(stored(tmp_path, points), margins, 120)) == 120


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 10))
def test_the_smallest_are_those_of_a_stable_sort(values, count):
    found = sharded.smallest(np.array(values), count, len(values))
    assert list(found) == list(np.argsort(values, kind="stable")[:count])


def test_what_does_not_fit_is_refused(tmp_path):
    files = stored(tmp_path, normal(10, 2))
    for budget in (0, 11):
        with pytest.raises(ValueError, match=rf"budget is {budget}; accepted: 1 to 10"):
            sharded.k_center(files, budget)
    with pytest.raises(ValueError, match=r"labeled points have shape \(2, 3\); accepted: \[L, 2\]"):
        sharded.k_center(files, 1, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"margins have shape \(9,\); accepted: \(10,\)"):
        sharded.cluster_margin(files, np.zeros(9), 1)
    with pytest.raises(ValueError, match="margin 4 is not finite"):
        sharded.smallest(np.array([0, 1, 2, 3, np.nan]), 1, 5)


def test_blocks_are_let_go_as_they_are_narrowed(monkeypatch):
    read, alive = [], []

    def blocks(_, size):
        for start in range(0, 40, size):
            part = np.zeros((size, 1), np.float32)
            read.append(weakref.ref(part))
            yield start, part

    def choose(points, count):
        alive.append(sum(reference() is not None for reference in read))
        return np.arange(count)

    monkeypatch.setattr(rounds.files, "blocks", blocks)
    points, count = rounds.narrowed(None, 1, choose, block=4, last=16)
    assert (len(points.rows), count) == (10, 1)
    assert alive[0] >= 4  # five are read before it is known that they do not fit
    assert alive[4:] == [1] * 6
