import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax import scoring

D1 = (0.9, 0.09, 0.01)
D2 = (0.2, 0.5, 0.3)
SCORES = (scoring.least_confidence, scoring.margin, scoring.entropy)
compiled = functools.cache(jax.jit)  # one program in place of one for each of its operations


def logs(probabilities):
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, np.float32))


def log_softmax(logits):
    return np.asarray(compiled(jax.nn.log_softmax)(np.asarray(logits, np.float32)))


def score(function, probabilities):
    return float(compiled(function)(logs(probabilities)))


def test_the_tutorial_s_table():
    assert score(scoring.least_confidence, D1) == pytest.approx(0.1, abs=1e-6)
    assert score(scoring.least_confidence, D2) == pytest.approx(0.5, abs=1e-6)
    assert score(scoring.margin, D1) == pytest.approx(-0.81, abs=1e-6)
    assert score(scoring.margin, D2) == pytest.approx(-0.2, abs=1e-6)
    assert score(scoring.entropy, D1) / math.log(10) == pytest.approx(0.155, abs=5e-4)
    assert score(scoring.entropy, D2) / math.log(10) == pytest.approx(0.447, abs=5e-4)


@pytest.mark.parametrize("function", SCORES)
def test_each_score_picks_the_second_of_the_tutorial(function):
    assert np.argmax(jax.jit(jax.vmap(function))(logs([D1, D2]))) == 1


@pytest.mark.parametrize("function", SCORES)
def test_certain_is_lowest_and_uniform_is_highest(function):
    certain, uniform = score(function, [1.0, 0, 0, 0]), score(function, [0.25] * 4)
    assert certain < score(function, [0.4, 0.3, 0.2, 0.1]) < uniform
    assert np.isfinite(certain)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-20, 20), min_size=5, max_size=5))
def test_bounds_and_permutations(logits):
    log_probs = log_softmax(logits)
    bounds = {
        scoring.least_confidence: (0, 0.8),
        scoring.margin: (-1, 0),
        scoring.entropy: (0, math.log(5)),
    }
    for function, (low, high) in bounds.items():
        value = float(compiled(function)(log_probs))
        assert low - 1e-5 <= value <= high + 1e-5
        assert value == pytest.approx(float(compiled(function)(log_probs[::-1])), abs=1e-5)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_scores_vmap(self):
        batch = jax.nn.log_softmax(jax.random.normal(jax.random.key(0), (7, 10)))
        for function in SCORES:
            together = self.variant(jax.vmap(function))(batch)
            chex.assert_shape(together, (7,))
            chex.assert_trees_all_close(together, np.stack([function(row) for row in batch]), atol=1e-6)


def test_bald_and_vote_entropy_of_an_ensemble():
    one_mind, torn = [[0.8, 0.2], [0.8, 0.2]], [[1 - 1e-6, 1e-6], [1e-6, 1 - 1e-6]]
    assert score(scoring.bald, one_mind) == pytest.approx(0, abs=1e-6)
    assert score(scoring.vote_entropy, one_mind) == 0
    assert score(scoring.bald, torn) == pytest.approx(math.log(2), abs=1e-4)
    assert score(scoring.vote_entropy, torn) == pytest.approx(math.log(2), abs=1e-6)
    # Means 0.6 and 0.4: H = 0.6730; of 0.9 and 0.3 the entropies are 0.3251 and 0.6109.
    between = score(scoring.bald, [[0.9, 0.1], [0.3, 0.7]])
    assert between == pytest.approx(0.6730 - (0.3251 + 0.6109) / 2, abs=1e-4)


def test_vote_entropy_counts_votes():
    votes = [[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3]]
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert score(scoring.vote_entropy, votes) == pytest.approx(expected, abs=1e-6)


def test_the_scores_of_an_ensemble_that_agrees_are_not_rounded_below_0():
    logits = np.random.default_rng(0).normal(size=(500, 1, 10))
    alike = log_softmax(np.tile(logits, (1, 3, 1)))

    def plain(alike):
        mean = jax.nn.logsumexp(alike, axis=1) - jnp.log(3)
        return jax.vmap(scoring.entropy)(mean) - jax.vmap(jax.vmap(scoring.entropy))(alike).mean(axis=1)

    assert float(jax.jit(plain)(alike).min()) < 0
    for function in (scoring.bald, scoring.vote_entropy):
        scores = np.asarray(jax.jit(jax.vmap(function))(alike))
        assert float(scores.min()) >= 0
        assert float(scores.max()) < 1e-5


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_bald_is_that_of_float64(seed):
    log_probs = log_softmax(3 * np.random.default_rng(seed).normal(size=(4, 5)))
    probs = np.exp(np.asarray(log_probs, np.float64))
    probs /= probs.sum(axis=1, keepdims=True)

    def entropy(p):
        return -(p * np.log(p)).sum(axis=-1)

    expected = entropy(probs.mean(axis=0)) - entropy(probs).mean()
    assert float(compiled(scoring.bald)(log_probs)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("scale", "scores"),
    [
        (scoring.PROBABILITY, [0.0, 0.3, 0.9]),
        (scoring.GAP, [-1.0, -0.3, -0.01]),
        (scoring.LOGARITHM, [0.0, 0.5, 5.0]),
    ],
)
def test_a_scale_maps_to_a_confidence_of_1_and_less_and_back(scale, scores):
    confidence = np.asarray(jax.jit(scale.confidence)(np.array(scores, np.float32)))
    assert float(confidence[0]) == 1
    assert np.all(np.diff(confidence) < 0)
    assert np.all(confidence > 0)
    np.testing.assert_allclose(jax.jit(scale.score)(confidence), scores, atol=1e-6)
