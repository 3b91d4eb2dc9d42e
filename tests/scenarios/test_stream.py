import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax import scoring
from aljax.scenarios import stream

SIZE, BUDGET = 40, 6
SCALES = {"least_confidence": scoring.PROBABILITY, "margin": scoring.GAP, "entropy": scoring.LOGARITHM}


def passage(scores, policy, strategy="least_confidence", budget=BUDGET, **fields):
    told = stream.Settings(**{"threshold": 0.6, "step": 0.1, "window": 10.0, **fields})
    scores = np.asarray(scores, np.float32)
    passed = stream.query(scores, np.int32(budget), told, policy=policy, scale=SCALES[strategy])
    return jax.device_get(passed)


def some_scores(seed, strategy="least_confidence", size=SIZE):
    scores = np.random.default_rng(seed).uniform(size=size).astype(np.float32)
    return scores - 1 if strategy == "margin" else scores


def reference(scores, policy, strategy, budget=BUDGET, threshold=0.6, step=0.1, window=10.0):
    """The policies as one would write them for a single stream of Python floats."""
    queried, past, theta, spent = [], [], 1.0, 0.0
    for score in map(float, scores):
        left = budget - sum(queried)
        confidence = {"least_confidence": 1 - score, "margin": -score}.get(strategy, math.exp(-score))
        may_spend = spent / window < budget / len(scores)
        if policy == "fixed":
            wanted = score > threshold
        elif policy == "variable":
            wanted = may_spend and confidence < theta
        else:
            rank = left * (len(past) + 1) // (len(scores) - len(past))
            wanted = rank > len(past) or (rank > 0 and score > sorted(past, reverse=True)[rank - 1])
        queried.append(wanted and left > 0)
        if may_spend:
            theta *= 1 - step if queried[-1] else 1 + step
        spent = spent * (window - 1) / window + queried[-1]
        past.append(score)
    return queried


def test_a_fixed_threshold_by_hand():
    scores = [0.2, 0.7, 0.6, 0.9, 0.61, 0.8]
    result = passage(scores, "fixed", budget=3)
    assert list(result.queried) == [False, True, False, True, True, False]
    chex.assert_trees_all_close(result.thresholds, np.array([0.6] * 5 + [np.inf], np.float32))
    assert stream.seen(result, 3) == 5
    assert stream.seen(passage(scores, "fixed", budget=4), 4) == 6  # spent with the last image
    assert stream.seen(passage(scores, "fixed", budget=5), 5) == 6  # the stream is over


def test_a_variable_threshold_by_hand():
    """B/M = 1/2 and w = 2: a query counts 1 at first, which is too much for the next image."""
    result = passage([0.5, 0.9, 0.05, 0.05, 0.3, 0.9], "variable", budget=3, window=2.0)
    assert list(result.queried) == [True, False, False, True, False, True]
    thetas = [1, -np.inf, 0.9, 0.9 * 1.1, -np.inf, 0.9 * 1.1 * 0.9]
    chex.assert_trees_all_close(result.thresholds, 1 - np.array(thetas, np.float32), atol=1e-6)


def test_a_quantile_by_hand():
    """A budget of 2 in 6: r is 2/6, 4/5, 6/4, 8/3 ... rounded down; the last are taken if budget is left."""
    result = passage([0.5, 0.4, 0.6, 0.7, 0.8, 0.9], "quantile", budget=2)
    assert list(result.queried) == [False, False, True, True, False, False]
    low, high = -np.inf, np.inf
    expected = np.array([high, high, 0.5, 0.6, high, high], np.float32)
    chex.assert_trees_all_close(result.thresholds, expected)
    falling = passage([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], "quantile", budget=2)
    assert list(falling.queried) == [False, False, False, False, True, True]
    assert list(falling.thresholds[4:]) == [low, low]


def test_a_quantile_takes_the_first_image_no_more_often_than_the_budget_allows():
    firsts = [bool(passage(some_scores(seed), "quantile").queried[0]) for seed in range(20)]
    assert not any(firsts)
    always_lower = np.linspace(1, 0, SIZE)  # the first is the best, and nothing says so before it
    assert not passage(always_lower, "quantile").queried[0]


def test_a_quantile_queries_what_is_high():
    chosen = []
    for seed in range(20):
        scores = some_scores(seed, size=200)
        chosen.append(scores[np.asarray(passage(scores, "quantile", budget=20).queried)].mean())
    assert np.mean(chosen) > 0.85  # of the 20 highest 0.95, of any 20 0.5


@pytest.mark.parametrize("policy", stream.POLICIES)
@pytest.mark.parametrize("strategy", SCALES)
def test_the_policies_are_those_of_a_plain_loop(policy, strategy):
    threshold = {"margin": -0.4}.get(strategy, 0.6)
    for seed in range(20):
        scores = some_scores(seed, strategy)
        result = passage(scores, policy, strategy, threshold=threshold)
        assert list(result.queried) == reference(scores, policy, strategy, threshold=threshold)


@pytest.mark.parametrize("policy", stream.POLICIES)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), now=st.integers(0, SIZE - 1), levels=st.integers(1, 50))
def test_a_policy_never_looks_ahead(policy, seed, now, levels):
    scores = np.floor(some_scores(seed) * levels) / levels  # with ties
    changed = np.concatenate([scores[: now + 1], some_scores(seed + 1)[now + 1 :]])
    before, after = (passage(each, policy) for each in (scores, changed))
    chex.assert_trees_all_equal(before.queried[: now + 1], after.queried[: now + 1])
    chex.assert_trees_all_equal(before.thresholds[: now + 1], after.thresholds[: now + 1])


@pytest.mark.parametrize("policy", stream.POLICIES)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), budget=st.integers(1, SIZE - 1), levels=st.integers(1, 50))
def test_a_policy_keeps_to_its_budget(policy, seed, budget, levels):
    scores = np.floor(some_scores(seed) * levels) / levels
    result = passage(scores, policy, budget=budget)
    count = int(result.queried.sum())
    assert count <= budget
    if policy == "quantile":
        assert count == budget
    assert np.array_equal(result.queried, np.asarray(scores, np.float32) > result.thresholds)
    seen = stream.seen(result, budget)
    assert not result.queried[seen:].any()
    assert seen == SIZE or (count == budget and result.queried[seen - 1])


def test_the_variable_threshold_tracks_the_budget():
    """Over a long stream the queries come near the budget, and not all at its beginning."""
    scores = some_scores(0, size=2000)
    queried = np.asarray(passage(scores, "variable", budget=200, window=100.0, step=0.01).queried)
    assert 190 <= queried.sum() <= 200
    assert 90 <= queried[:1000].sum() <= 120
    assert scores[queried].mean() > scores.mean() + 0.1


@pytest.mark.parametrize("strategy", SCALES)
def test_the_scales_are_inverses(strategy):
    scale = SCALES[strategy]
    scores = some_scores(3, strategy)
    chex.assert_trees_all_close(scale.score(scale.confidence(jnp.asarray(scores))), scores, atol=1e-6)


# Against scikit-activeml


def managers():
    return pytest.importorskip("skactiveml.stream.budgetmanager")


def of_a_manager(manager, utilities):
    """What a budget manager queries of a stream that it sees one image at a time."""
    queried = []
    for utility in np.asarray(utilities, np.float64):
        chosen = manager.query_by_utility(np.array([utility]))
        manager.update(np.zeros((1, 1)), chosen)
        queried.append(len(chosen) == 1)
    return queried


def same_while_there_is_budget(ours, theirs, budget):
    """Their managers know a rate but no end: equal until our budget is spent."""
    seen = stream.seen(ours, budget)
    assert list(np.asarray(ours.queried[:seen])) == theirs[:seen]


@pytest.mark.parametrize("strategy", SCALES)
def test_the_variable_threshold_against_scikit_activeml(strategy):
    for seed in range(5):
        scores = some_scores(seed, strategy, 300)
        scale = SCALES[strategy]
        theirs = managers().VariableUncertaintyBudgetManager(theta=1.0, s=0.05, w=20, budget=30 / 300)
        utilities = 1 - np.asarray(scale.confidence(jnp.asarray(scores)))
        ours = passage(scores, "variable", strategy, budget=30, step=0.05, window=20.0)
        same_while_there_is_budget(ours, of_a_manager(theirs, utilities), 30)
        assert int(ours.queried.sum()) > 20


def test_the_fixed_threshold_against_scikit_activeml():
    scores = some_scores(1, size=300)
    theirs = managers().FixedUncertaintyBudgetManager(classes=range(5), w=10**9, budget=0.25)
    ours = passage(scores, "fixed", budget=100, threshold=1 - (1 / 5 + 0.25 * 4 / 5))
    same_while_there_is_budget(ours, of_a_manager(theirs, scores), 100)
    assert int(ours.queried.sum()) == 100


def test_the_quantile_queries_nothing_that_scikit_activeml_would_not():
    """The balanced incremental quantile filter, given the rate of each moment and not to balance.

    It rounds the rank of a score up where ours is rounded down, and so takes every first image.
    """
    scores = some_scores(2, size=100)
    ours = np.asarray(passage(scores, "quantile", budget=15).queried)
    agreed = 0
    for now in range(1, 100):
        left = 15 - ours[:now].sum()
        if left == 0:
            break
        theirs = managers().BalancedIncrementalQuantileFilter(w=100, w_tol=1e12, budget=left / (100 - now))
        theirs.update(np.zeros((now, 1)), np.flatnonzero(ours[:now]), scores[:now].astype(float))
        wanted = len(theirs.query_by_utility(scores[now : now + 1].astype(float)))
        assert ours[now] <= wanted
        agreed += ours[now] == wanted
    assert agreed > 0.9 * now
