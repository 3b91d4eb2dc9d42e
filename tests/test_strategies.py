import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax import mesh, strategies
from aljax.errors import Refused, RunFailed
from aljax.strategies import STRATEGIES, View, find, needs_of, select

KEY = jax.random.key(0)


def view(subset_size=4, **fields):
    return View(subset_size, mesh.local(1, 2), **fields)


def of_probabilities(*rows):
    return view(len(rows), log_probs=jnp.log(jnp.array(rows)))


def any_view(key=KEY, subset_size=6, num_labeled=3, capacity=5):
    keys = jax.random.split(key, 5)
    return view(
        subset_size,
        num_labeled=num_labeled,
        log_probs=jax.nn.log_softmax(jax.random.normal(keys[0], (subset_size, 3))),
        predicted_loss=jax.random.normal(keys[1], (subset_size,)),
        features=jax.random.normal(keys[2], (subset_size, 2)),
        labeled_features=jax.random.normal(keys[3], (capacity, 2)),
        member_log_probs=jax.nn.log_softmax(jax.random.normal(keys[4], (2, subset_size, 3))),
    )


CERTAIN, UNSURE, TORN = [0.98, 0.01, 0.01], [0.4, 0.35, 0.25], [0.499, 0.499, 0.002]


@pytest.mark.parametrize(
    ("name", "order"),
    [("least_confidence", [2, 3, 1, 0]), ("margin", [3, 2, 1, 0]), ("entropy", [2, 1, 3, 0])],
)
def test_scores_of_probabilities_take_the_highest_first(name, order):
    selection = select(name, KEY, of_probabilities(CERTAIN, [0.6, 0.2, 0.2], UNSURE, TORN), 4)
    assert list(selection.chosen) == order
    assert np.all(np.diff(selection.scores[selection.chosen]) <= 0)


@pytest.mark.parametrize("name", ["least_confidence", "margin", "entropy"])
def test_the_tutorial_s_table(name):
    selection = select(name, KEY, of_probabilities([0.9, 0.09, 0.01], [0.2, 0.5, 0.3]), 1)
    assert list(selection.chosen) == [1]


def test_learning_loss_takes_the_highest_predicted_losses():
    selection = select("learning_loss", KEY, view(predicted_loss=jnp.array([0.1, 3.0, -1.0, 2.0])), 2)
    assert list(selection.chosen) == [1, 3]


def test_ties_go_to_the_lowest_position():
    selection = select("learning_loss", KEY, view(predicted_loss=jnp.array([1.0, 2.0, 1.0, 2.0])), 3)
    assert list(selection.chosen) == [1, 3, 0]


def test_an_ensemble_is_asked_where_it_disagrees():
    # Of three images: both models sure and of one mind; both unsure; both sure, and not of one mind.
    first = jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5], [0.9, 0.1]]))
    second = jnp.log(jnp.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]))
    given = view(3, member_log_probs=jnp.stack([first, second]))
    assert select("bald", KEY, given, 1).chosen == [2]
    assert select("vote_entropy", KEY, given, 1).chosen == [2]
    np.testing.assert_allclose(select("vote_entropy", KEY, given, 1).scores, [0, 0, np.log(2)], atol=1e-6)


FAR = {"features": jnp.array([[1.0], [5.0], [9.0], [2.0]])}


def test_core_set_goes_away_from_the_labeled():
    given = view(**FAR, labeled_features=jnp.array([[0.0]]), num_labeled=1)
    assert list(select("core_set", KEY, given, 3).chosen) == [2, 1, 3]


def test_core_set_ignores_rows_that_are_not_labeled_yet():
    given = view(**FAR, labeled_features=jnp.array([[0.0], [9.0]]), num_labeled=1)
    assert list(select("core_set", KEY, given, 1).chosen) == [2]


def test_random_is_uniform_and_needs_no_model():
    counts = np.zeros(4, int)
    for seed in range(300):
        chosen = select("random", jax.random.key(seed), view(), 2).chosen
        assert len(set(chosen)) == 2
        counts[chosen] += 1
    assert np.all(np.abs(counts - 150) < 45)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_keeps_the_contract_with_what_it_needs_and_no_more(name):
    needed = needs_of(STRATEGIES[name])
    assert needed <= set(View._fields)
    unneeded = dict.fromkeys(strategies.OF_ANY_MODEL - needed)
    for budget in (1, 5, 6):
        given = any_view()._replace(**unneeded)
        selection = select(name, KEY, given, budget)
        assert selection.chosen.dtype == np.int32
        assert len(set(selection.chosen)) == budget
        assert set(selection.chosen) <= set(range(6))
        assert selection.scores.shape in [(6,), (0,)]
        again = select(name, KEY, given, budget)
        np.testing.assert_array_equal(again.chosen, selection.chosen)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"random"}))
def test_what_a_strategy_needs_and_does_not_get_is_named(name):
    with pytest.raises(RunFailed, match=f"strategy '{name}' needs .*{min(needs_of(STRATEGIES[name]))}"):
        select(name, KEY, view(), 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(RunFailed, match="1 of 4 scores are not finite"):
        select("learning_loss", KEY, view(predicted_loss=jnp.array([0.0, bad, 1.0, 2.0])), 2)


def test_a_name_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(Refused, match=r"^config.diversity='corset': accepted: one of random, .*core_set"):
        find("corset", field="config.diversity")
