import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax import kcenter
from aljax.kcenter import k_center_greedy, search
from aljax.runtime import mesh


def brute_force(features, is_center, is_candidate, budget, first=None):
    """Every distance at every turn, in float64; ties to the lowest index."""
    features = np.asarray(features, np.float64)
    centers, free = list(np.flatnonzero(is_center)), list(np.flatnonzero(is_candidate))
    taken = []
    for _ in range(budget):
        if not centers:
            best = first
        else:
            nearest = [min(np.sum((features[i] - features[c]) ** 2) for c in centers) for i in free]
            best = free[int(np.argmax(nearest))]
        taken.append(best)
        centers.append(best)
        free.remove(best)
    return taken


def brute_force_of_many(features, is_center, is_candidate, budget):
    """The same, faster, with a center to begin with."""
    features = np.asarray(features, np.float64)
    distance = np.where(is_candidate, np.inf, -np.inf)
    for center in features[is_center]:
        distance = np.minimum(distance, np.sum((features - center) ** 2, axis=1))
    taken = []
    for _ in range(budget):
        taken.append(int(distance.argmax()))
        distance = np.minimum(distance, np.sum((features - features[taken[-1]]) ** 2, axis=1))
        distance[taken[-1]] = -np.inf
    return taken


# points, dimensions, candidates, budget, devices, rows in the front
CASES = [
    (1, 1, 1, 1, 1, None),
    (9, 1, 9, 9, 1, 2),
    (9, 1, 5, 5, 2, 2),
    (12, 3, 12, 12, 2, 1),
    (40, 2, 30, 30, 1, 4),
    (40, 2, 40, 15, 2, 7),
    (40, 2, 40, 25, 1, 40),  # all are in the front, as on an accelerator
    (40, 2, 40, 40, 2, 20),
]


@st.composite
def problems(draw):
    """Small whole coordinates: distances are exact, ties and duplicates are many."""
    points, dimensions, candidates, *rest = draw(st.sampled_from(CASES))
    coordinates = st.lists(st.integers(-2, 2), min_size=dimensions, max_size=dimensions)
    features = draw(st.lists(coordinates, min_size=points, max_size=points))
    is_center = draw(st.lists(st.booleans(), min_size=points, max_size=points))
    order = draw(st.permutations(range(points)))
    is_candidate = np.isin(np.arange(points), order[:candidates])
    return np.array(features, np.float32), np.array(is_center), is_candidate, *rest


@settings(deadline=None, max_examples=80)
@given(problems())
def test_against_brute_force(problem):
    features, is_center, is_candidate, budget, num_devices, front_size = problem
    devices = mesh.local(min(num_devices, jax.local_device_count()), batch_size=2)
    taken, _ = search(features, is_center, is_candidate, budget, devices, front_size)
    assert taken.shape == (budget,)
    assert taken.dtype == np.int32
    first = None
    if not is_center.any():
        first = int(taken[0])
        lengths = np.sum((features - features[is_candidate].mean(0)) ** 2, axis=1)
        assert is_candidate[first]
        assert lengths[first] <= lengths[is_candidate].min() + 1e-5
    assert np.asarray(taken).tolist() == brute_force(features, is_center, is_candidate, budget, first)


def test_by_hand():
    #        0    1    2    3    4
    line = [[0.0], [1.0], [4.0], [9.0], [10.0]]
    is_center = [True, False, False, False, False]
    taken = k_center_greedy(line, is_center, [False, True, True, True, True], budget=4)
    assert list(taken) == [4, 2, 1, 3]  # 10; then 4 (16 from 0); then 1 before 3, both 1 away
    chex.assert_shape(taken, (4,))


def test_with_no_center_the_first_is_nearest_to_the_mean_of_the_candidates():
    points = [[100.0], [0.0], [3.0], [6.0], [12.0]]
    taken = k_center_greedy(points, [False] * 5, [False, True, True, True, True], budget=2)
    assert list(taken) == [3, 1]  # mean 5.25; then 0 and 12 are both 6 away


def test_duplicates_of_a_center_come_last_however_far_from_the_origin():
    far = np.full((6, 16), 1000.3, np.float32)
    far[3] += 0.01
    is_center = np.arange(6) == 0
    taken = k_center_greedy(far, is_center, ~is_center, budget=5)
    assert list(taken) == [3, 1, 2, 4, 5]


@pytest.mark.usefixtures("two_devices")
def test_devices_agree_on_real_numbers():
    features = jax.random.normal(jax.random.key(0), (301, 16))
    is_center = np.arange(301) < 40
    one, two = (
        k_center_greedy(features, is_center, ~is_center, 100, mesh=mesh.local(n, batch_size=2))
        for n in (1, 2)
    )
    chex.assert_trees_all_equal(np.asarray(one), np.asarray(two))
    assert list(one) == brute_force_of_many(features, is_center, ~is_center, 100)


@pytest.mark.parametrize("candidates", [3, 9, 10])
def test_devices_that_hold_nothing_but_padding(candidates):
    """On eight devices; the last row of all, far off, is no candidate."""
    code = (
        "import numpy as np; from aljax.runtime import mesh; from aljax.kcenter import k_center_greedy\n"
        f"points = np.array([[float(x)] for x in range({candidates})] + [[0.4], [1e6]])\n"
        "rows = np.arange(len(points))\n"
        f"is_candidate, is_center = rows < {candidates}, rows == {candidates}\n"
        f"taken = k_center_greedy(points, is_center, is_candidate, {candidates}, mesh=mesh.local(8, 8))\n"
        "print(taken.tolist())"
    )
    on_cpu = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    environment = {**os.environ, **on_cpu, "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    points = [[float(x)] for x in range(candidates)] + [[0.4]]
    rows = np.arange(candidates + 1)
    expected = brute_force(points, rows == candidates, rows < candidates, candidates)
    assert run.stdout.strip() == str([int(index) for index in expected])


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0])
def test_points_far_from_the_origin(offset):
    features = np.asarray(0.1 * jax.random.normal(jax.random.key(2), (300, 32)) + offset)
    is_center = np.arange(300) < 100
    taken = k_center_greedy(features, is_center, ~is_center, 40)
    assert list(taken) == brute_force_of_many(features, is_center, ~is_center, 40)


def test_many_centers():
    features = jax.random.normal(jax.random.key(1), (400, 8))
    is_center = np.arange(400) % 4 > 0  # 300, more than are handled at once
    taken = k_center_greedy(features, is_center, ~is_center, 50)
    assert list(taken) == brute_force_of_many(features, is_center, ~is_center, 50)


def clusters(points, dimensions, seed):
    """30 clusters of different sizes, many points twice, and some far from all."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(30, dimensions))
    features = centers[rng.integers(0, 30, points) ** 2 // 30] + 0.1 * rng.normal(size=(points, dimensions))
    features[rng.integers(0, points, points // 4)] = features[rng.integers(0, points, points // 4)]
    features[:: points // 10] *= 3
    return features.astype(np.float32)


@pytest.mark.parametrize("front_size", [16, 100])
def test_clusters_are_pruned_and_selected_alike(front_size, devices):
    points, centers, budget = 1200, 150, 250
    features = clusters(points, 6, seed=0)
    is_center = np.arange(points) < centers
    taken, effort = search(features, is_center, ~is_center, budget, devices, front_size)
    assert np.asarray(taken).tolist() == brute_force_of_many(features, is_center, ~is_center, budget)
    assert effort.fronts > 2  # the first did not last
    assert effort.rows + effort.center_rows < (points - centers) * budget / 5
    assert effort.rows >= points - centers  # each was looked at once


def test_a_small_budget_needs_one_front():
    """Ten points far out, 400 near: after the first look, only the ten are read again."""
    features = np.concatenate([np.eye(10) * 100, np.random.default_rng(0).normal(size=(400, 10))])
    is_center = np.arange(410) >= 400
    taken, effort = search(features, is_center, ~is_center, 10, front_size=20)
    assert sorted(np.asarray(taken).tolist()) == list(range(10))
    assert int(effort.fronts) == 1
    assert int(effort.rows) == 400 + 20


@pytest.mark.parametrize(
    ("platform", "candidates", "expected"),
    [
        ("cpu", 100, 256),
        ("cpu", 10_000, 312),
        ("cpu", 10**6, 4096),
        ("gpu", 10_000, 10_000),
        ("gpu", 131_072, 131_072),  # 256 MiB
        ("tpu", 131_073, 4096),
    ],
)
def test_an_accelerator_holds_all_candidates_in_the_front(platform, candidates, expected):
    devices = SimpleNamespace(devices=np.array([SimpleNamespace(platform=platform)]))
    assert kcenter.default_front(candidates, 512, devices) == expected


def test_when_all_points_are_the_same_the_order_is_that_of_the_indices():
    features = np.full((60, 3), 7.7, np.float32)
    is_candidate = np.arange(60) % 7 != 3
    taken, _ = search(features, ~is_candidate, is_candidate, int(is_candidate.sum()), front_size=8)
    assert np.asarray(taken).tolist() == np.flatnonzero(is_candidate).tolist()


def test_ties_are_drawn_from_a_key_with_equal_chances():
    """A center at 0, and 6 of 8 candidates at a distance of 5: each is the first as often as the others."""
    points = np.array([[0, 0], [3, 4], [1, 0], [5, 0], [0, 5], [0, 1], [-3, 4], [4, 3], [-5, 0]], np.float32)
    is_center = np.arange(9) == 0
    counts = np.zeros(9)
    for seed in range(300):
        first = k_center_greedy(points, is_center, ~is_center, 1, key=jax.random.key(seed))
        counts[int(first[0])] += 1
    tied = [1, 3, 4, 6, 7, 8]
    assert counts[tied].sum() == 300
    assert scipy.stats.chisquare(counts[tied]).pvalue > 0.01


@settings(deadline=None, max_examples=20)
@given(problems(), st.integers(0, 10**6))
def test_with_a_key_each_pick_is_one_of_the_farthest(problem, seed):
    features, is_center, is_candidate, budget, num_devices, front_size = problem
    devices = mesh.local(min(num_devices, jax.local_device_count()), batch_size=2)
    key = jax.random.key(seed)
    taken = np.asarray(search(features, is_center, is_candidate, budget, devices, front_size, key)[0])
    one, _ = search(features, is_center, is_candidate, budget, mesh.local(1, 2), front_size, key)
    np.testing.assert_array_equal(taken, one)
    assert len(set(taken.tolist())) == budget
    assert is_candidate[taken].all()
    centers = [*np.flatnonzero(is_center), *taken]
    begin = int(is_center.sum())
    for i in range(budget):
        if begin + i == 0:
            continue
        apart = ((features[:, None] - features[centers[: begin + i]]) ** 2).sum(-1).min(1)
        apart = np.where(is_candidate & ~np.isin(np.arange(len(features)), taken[:i]), apart, -1)
        assert apart[taken[i]] == apart.max()


def test_without_ties_a_key_changes_nothing():
    features = clusters(300, 5, seed=1) + np.random.default_rng(2).normal(0, 1e-3, (300, 5))
    is_center = np.arange(300) < 20
    taken = k_center_greedy(features, is_center, ~is_center, 60, key=jax.random.key(3))
    assert list(taken) == brute_force_of_many(np.float32(features), is_center, ~is_center, 60)


@pytest.mark.parametrize("scale", [1e-22, 1e-3, 1e19])
def test_features_of_any_scale(scale):
    features = (scale * np.random.default_rng(0).normal(size=(80, 6))).astype(np.float32)
    is_center = np.arange(80) < 7
    expected = brute_force_of_many(features.astype(float) / scale, is_center, ~is_center, 30)
    assert list(k_center_greedy(features, is_center, ~is_center, 30)) == expected
    first = k_center_greedy(features, np.zeros(80, bool), ~is_center, 30)
    lengths = ((features[7:].astype(float) - features[7:].astype(float).mean(0)) ** 2).sum(1)
    assert int(first[0]) == 7 + int(lengths.argmin())


def test_more_centers_do_not_compile_again():
    features = np.random.default_rng(0).normal(size=(64, 4))
    sizes = set()
    for centers in (8, 20, 32):
        row = np.arange(64)
        k_center_greedy(features, (row >= 32) & (row < 32 + centers), row < 32, 4)
        sizes.add(kcenter._greedy._cache_size())
    assert len(sizes) == 1


@pytest.mark.parametrize(
    ("budget", "message"), [(4, "budget is 4; accepted: 1 to 3"), (0, "budget is 0; accepted: 1 to 3")]
)
def test_refuses_a_budget(budget, message):
    with pytest.raises(ValueError, match=message):
        k_center_greedy(jnp.zeros((5, 2)), [True] * 5, [True, True, True, False, False], budget)


def test_refuses_shapes_and_numbers():
    with pytest.raises(ValueError, match="shapes"):
        k_center_greedy(jnp.zeros((5, 2)), [True] * 4, [True] * 5, 1)
    with pytest.raises(ValueError, match="not finite"):
        k_center_greedy(jnp.array([[0.0], [jnp.nan]]), [True, False], [False, True], 1)
