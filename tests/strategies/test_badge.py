import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.runtime import mesh
from aljax.strategies.badge import _draw, gradient_factors, k_means_plus_plus, squared_distances

KEY = jax.random.key(0)
distances = jax.jit(squared_distances)


def drawn(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def embeddings(left, right):
    return np.einsum("mk,md->mkd", left, right).reshape(len(left), -1)


def test_gradients_are_the_probabilities_less_the_prediction():
    log_probs = np.log(np.array([[0.7, 0.3], [0.1, 0.9]], np.float32))
    left, right = jax.jit(gradient_factors)(log_probs, np.ones((2, 3), np.float32))
    np.testing.assert_allclose(left, [[-0.3, 0.3], [0.1, -0.1]], atol=1e-6)
    assert right.shape == (2, 3)


def test_distances_are_those_of_the_outer_products():
    left, right = drawn((7, 3), (7, 5))
    products = embeddings(left, right)
    for center in range(7):
        expected = ((products - products[center]) ** 2).sum(axis=1)
        np.testing.assert_allclose(distances(left, right, center), expected, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_a_duplicate_is_at_distance_0(seed, scale):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(6, 3)).astype("f4"), scale * rng.normal(size=(6, 5)).astype("f4")
    left[4], right[4] = left[1], right[1]
    lengths = np.asarray(distances(left, right, 1))
    assert lengths[1] == lengths[4] == 0
    assert np.all(lengths >= 0)


def test_the_first_has_the_longest_gradient_and_a_duplicate_comes_last(devices):
    left, right = np.array([[1.0], [2.0], [5.0], [5.0], [-3.0]], np.float32), np.ones((5, 1), np.float32)
    firsts = set()
    for seed in range(12):
        chosen = np.asarray(k_means_plus_plus(jax.random.key(seed), left, right, 5, devices))
        firsts.add(int(chosen[0]))
        assert {int(chosen[0]), int(chosen[4])} == {2, 3}
        assert sorted(chosen) == list(range(5))
    assert firsts == {2, 3}


@jax.jit
def gumbel(key, i):
    return jax.random.gumbel(jax.random.fold_in(key, i), (40,))


def brute_force_distances(left, right, center):
    products = embeddings(np.asarray(left, np.float64), np.asarray(right, np.float64))
    return ((products - products[center]) ** 2).sum(axis=1)


@pytest.mark.parametrize("scale", [1e-22, 1.0, 1e19])
@pytest.mark.parametrize("certainty", [1.0, 1e-12])
def test_features_of_any_scale_are_drawn_alike(scale, certainty, devices):
    rng = np.random.default_rng(0)
    left = (certainty * rng.normal(size=(40, 3))).astype(np.float32)
    right = rng.normal(size=(40, 6))
    one, other = (
        np.asarray(k_means_plus_plus(KEY, left, rows.astype(np.float32), 15, devices))
        for rows in (right, scale * right)
    )
    lengths = (left.astype(float) ** 2).sum(1) * (right**2).sum(1)
    assert other[0] == lengths.argmax()
    np.testing.assert_array_equal(one, other)
    # The same noise on float64 distances falls on the same images.
    nearest, free = np.full(40, np.inf), np.ones(40, bool)
    for i in range(1, 15):
        nearest = np.minimum(nearest, brute_force_distances(left, right, int(other[i - 1])))
        free[int(other[i - 1])] = False
        noise = np.asarray(gumbel(KEY, i))
        assert other[i] == np.where(free, np.log(np.maximum(nearest, 1e-300)) + noise, -np.inf).argmax()


def test_each_is_drawn_in_proportion_to_its_squared_distance(devices):
    # From 4, which is first, the others lie at squared distances 16, 9 and 1, of 26 together.
    left, right = np.array([[0.0], [1.0], [3.0], [4.0]], np.float32), np.ones((4, 1), np.float32)
    counts = np.zeros(4)
    for seed in range(250):
        chosen = np.asarray(k_means_plus_plus(jax.random.key(seed), left, right, 2, devices))
        assert chosen[0] == 3
        counts[chosen[1]] += 1
    np.testing.assert_allclose(counts / 250, np.array([16, 9, 1, 0]) / 26, atol=0.1)


def test_where_all_are_alike_any_is_drawn_and_none_twice():
    firsts, seconds = set(), set()
    for seed in range(30):
        chosen = np.asarray(
            k_means_plus_plus(jax.random.key(seed), np.ones((5, 2)), np.ones((5, 3)), 5, mesh.local(1, 2))
        )
        assert sorted(chosen) == list(range(5))
        firsts.add(int(chosen[0]))
        seconds.add(int(chosen[1]))
    assert firsts == seconds == {0, 1, 2, 3, 4}


@pytest.mark.usefixtures("two_devices")
def test_devices_do_not_matter():
    left, right = drawn((23, 3), (23, 4))
    one, two = (k_means_plus_plus(KEY, left, right, 9, mesh.local(count, 2)) for count in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_one_trace_serves_every_cycle(devices):
    _draw.clear_cache()
    for seed in range(3):
        left, right = drawn((11, 3), (11, 4), seed=seed)
        k_means_plus_plus(jax.random.key(seed), left, right, 5, devices)
    assert _draw._cache_size() == 1


@pytest.mark.parametrize("budget", [1, 3])
def test_scikit_activeml_draws_with_the_same_probabilities(budget):
    pytest.importorskip("skactiveml", reason="compares with scikit-activeml, of the bench extra")
    from skactiveml.classifier import ParzenWindowClassifier
    from skactiveml.pool import Badge

    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(24, 4)), np.full(24, np.nan)
    labels[:4] = [0, 1, 2, 0]
    model = ParzenWindowClassifier(classes=[0, 1, 2]).fit(points, labels)
    peer, chances = Badge(random_state=0).query(
        points, labels, model, batch_size=budget, return_utilities=True
    )
    unlabeled = np.arange(4, 24)
    log_probs = jnp.log(model.predict_proba(points[unlabeled]))
    left, right = gradient_factors(log_probs, jnp.array(points[unlabeled], jnp.float32))
    assert k_means_plus_plus(KEY, left, right, 1, mesh.local(1, 2))[0] == peer[0] - 4
    nearest = (embeddings(left, right) ** 2).sum(axis=1)  # there the origin counts as a center too
    for step in range(1, budget):
        nearest = np.minimum(nearest, squared_distances(left, right, peer[step - 1] - 4))
        np.testing.assert_allclose(
            nearest / nearest.sum(), np.nan_to_num(chances[step][unlabeled]), atol=1e-5
        )
