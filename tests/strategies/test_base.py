import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.runtime import mesh
from aljax.scoring import LOGARITHM
from aljax.strategies import Selection, View, highest, needs, scored
from aljax.strategies.base import (
    OUTPUTS,
    checked,
    of_unit_length,
    outputs_from,
    restricted,
    tie_order,
    ties_at_cut,
)

KEY = jax.random.key(0)


def test_the_highest_come_first():
    selection = highest(KEY, [0.1, 3.0, -1.0, 2.0], 3)
    assert list(selection.chosen) == [1, 3, 0]
    assert selection.chosen.dtype == np.int32
    np.testing.assert_array_equal(selection.scores, np.float32([0.1, 3.0, -1.0, 2.0]))
    assert selection.ties == 0


def test_ties_are_counted_where_the_cut_divides_them():
    scores = [5, 1, 1, 5, 0, 1]
    assert [highest(KEY, scores, budget).ties for budget in (1, 2, 3, 4, 5, 6)] == [2, 0, 3, 3, 0, 0]
    assert ties_at_cut(np.array(scores), np.array([0, 3, 1])) == (1, 3)
    assert ties_at_cut(np.empty(0), np.array([0])) == (0, 0)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_ties_change_nothing_but_which_of_equals_are_chosen(seed, budget):
    scores = np.random.default_rng(seed).integers(0, 4, 20).astype(np.float32)
    selection = highest(jax.random.key(seed), scores, budget)
    np.testing.assert_array_equal(scores[selection.chosen], np.sort(scores)[::-1][:budget])
    np.testing.assert_array_equal(selection.scores, scores)
    again = highest(jax.random.key(seed), scores, budget)
    np.testing.assert_array_equal(again.chosen, selection.chosen)


def test_of_equal_scores_each_is_chosen_as_often():
    """Of 30 images, 10 of each class in order, none is favored, and no batch is of one class."""
    counts, classes = np.zeros(30), np.repeat(np.arange(3), 10)
    for seed in range(300):
        chosen = highest(jax.random.key(seed), np.zeros(30), 10).chosen
        assert len(set(classes[chosen])) > 1
        counts[chosen] += 1
    # Without replacement the counts vary less than chi-square's by (M - B)/(M - 1).
    statistic = ((counts - 100) ** 2).sum() / 100 * 29 / 20
    assert scipy.stats.chi2.sf(statistic, 29) > 0.01


def test_ties_do_not_follow_what_else_a_key_draws():
    assert list(tie_order(KEY, 20)) != list(jax.random.permutation(KEY, 20))
    assert sorted(tie_order(KEY, 20)) == list(range(20))


def test_a_batch_that_is_mostly_ties_is_noted():
    scores = np.array([2, 2, 1, 1, 1, 1, 1, 0], np.float32)
    selection = checked(Selection(np.array([0, 1, 2, 3, 4]), scores), 8, 5)
    assert selection.ties == 5
    assert selection.note == "3 of the 5 images were drawn among 5 of equal score"
    assert checked(Selection(np.array([0, 1, 2, 3]), scores), 8, 4).note == ""
    in_haste = Selection(np.array([0, 1, 2, 3, 4]), scores, "in haste")
    assert checked(in_haste, 8, 5).note == f"in haste; {selection.note}"


def test_a_view_declares_which_outputs_are_of_the_images():
    plain = {"subset_size", "mesh", "num_labeled", "num_classes", "cycle", "space"}
    assert set(View._fields) - plain == set(OUTPUTS)
    assert outputs_from("ensemble") == {"member_log_probs"}
    assert outputs_from("dropout") == {"dropout_classes"}
    assert outputs_from("data") == {"indices", "labels", "given", "given_labeled"}
    assert outputs_from("model", "dropout", "ensemble", "data") == set(OUTPUTS)


def test_a_restricted_view_has_the_rows_of_some_images():
    sizes = {"log_probs": (6, 3), "predicted_loss": (6,), "features": (6, 2), "member_log_probs": (2, 6, 3)}
    values = {name: jax.random.normal(KEY, size) for name, size in sizes.items()}
    values |= {"indices": np.arange(10, 16, dtype=np.int32), "given": jnp.ones((6, 3))}
    whole = View(6, mesh.local(1, 2), 2, labeled_features=jnp.ones((4, 2)), labels=np.ones(4), **values)
    part = restricted(whole, np.array([4, 1]))
    assert part.subset_size == 2
    assert part.num_labeled == 2
    for name in values:
        axis = OUTPUTS[name].image_axis
        np.testing.assert_array_equal(getattr(part, name), np.take(values[name], [4, 1], axis))
    assert part.labeled_features is whole.labeled_features
    assert part.labels is whole.labels
    assert restricted(whole._replace(features=None), np.array([0])).features is None


def test_declarations_stand_beside_the_function():
    @needs("features")
    @scored(LOGARITHM)
    def own(key, view, budget):
        return range(budget)

    assert own.needs == {"features"}
    assert own.scale is LOGARITHM


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_unit_length_at_any_scale(scale):
    features = (scale * np.array([[3.0, 4.0], [0.0, -2.0], [0.0, 0.0]])).astype(np.float32)
    np.testing.assert_allclose(of_unit_length(features), [[0.6, 0.8], [0, -1], [0, 0]], rtol=1e-6)
