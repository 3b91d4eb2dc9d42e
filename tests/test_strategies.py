import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax import mesh
from aljax.errors import RunFailed
from aljax.strategies import STRATEGIES, View
from aljax.train import Outputs

KEY = jax.random.key(0)


def view(probabilities=None, predicted_loss=None, features=None, subset_size=4, num_labeled=1):
    rows = subset_size + num_labeled
    outputs = Outputs(
        log_probs=jnp.log(jnp.array(probabilities or [[0.5, 0.5]] * rows)),
        predicted_loss=jnp.array(predicted_loss or [0.0] * rows),
        features=jnp.array(features or [[0.0]] * rows),
    )
    return View(outputs, subset_size, num_labeled, mesh.local(1, 2))


CERTAIN, UNSURE, TORN = [0.98, 0.01, 0.01], [0.4, 0.35, 0.25], [0.499, 0.499, 0.002]


@pytest.mark.parametrize(
    ("name", "order"),
    [("least_confidence", [2, 3, 1, 0]), ("margin", [3, 2, 1, 0]), ("entropy", [2, 1, 3, 0])],
)
def test_scores_of_probabilities_take_the_highest_first(name, order):
    selection = STRATEGIES[name](KEY, view([CERTAIN, [0.6, 0.2, 0.2], UNSURE, TORN, UNSURE]), 4)
    assert list(selection.chosen) == order
    assert selection.scores.shape == (4,)
    assert np.all(np.diff(selection.scores[selection.chosen]) <= 0)


def test_learning_loss_takes_the_highest_predicted_losses_of_the_sub_pool():
    # The last row is a labeled image: its predicted loss, the highest of all, must not count.
    selection = STRATEGIES["learning_loss"](KEY, view(predicted_loss=[0.1, 3.0, -1.0, 2.0, 9.0]), 2)
    assert list(selection.chosen) == [1, 3]


def test_ties_go_to_the_lowest_position():
    selection = STRATEGIES["learning_loss"](KEY, view(predicted_loss=[1.0, 2.0, 1.0, 2.0, 0.0]), 3)
    assert list(selection.chosen) == [1, 3, 0]


def test_core_set_goes_away_from_the_labeled():
    selection = STRATEGIES["core_set"](KEY, view(features=[[1.0], [5.0], [9.0], [2.0], [0.0]]), 3)
    assert list(selection.chosen) == [2, 1, 3]


def test_core_set_ignores_rows_that_are_not_labeled_yet():
    outputs = view(features=[[1.0], [5.0], [9.0], [2.0], [0.0], [9.0]], num_labeled=2).outputs
    selection = STRATEGIES["core_set"](KEY, View(outputs, 4, 1, mesh.local(1, 2)), 1)
    assert list(selection.chosen) == [2]


def test_random_is_uniform_and_needs_no_model():
    counts = np.zeros(4, int)
    for seed in range(300):
        chosen = STRATEGIES["random"](jax.random.key(seed), View(None, 4, 0, mesh.local(1, 2)), 2).chosen
        assert len(set(chosen)) == 2
        counts[chosen] += 1
    assert np.all(np.abs(counts - 150) < 45)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_keeps_the_contract(name):
    probabilities = jax.nn.softmax(jax.random.normal(KEY, (9, 3))).tolist()
    features = jax.random.normal(KEY, (9, 2)).tolist()
    losses = jax.random.normal(KEY, (9,)).tolist()
    for budget in (1, 6):
        given = view(probabilities, losses, features, subset_size=6, num_labeled=3)
        selection = STRATEGIES[name](KEY, given, budget)
        assert selection.chosen.dtype == np.int32
        assert len(set(selection.chosen)) == budget
        assert set(selection.chosen) <= set(range(6))
        assert selection.scores.shape in [(6,), (0,)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(RunFailed, match="1 of 4 scores are not finite"):
        STRATEGIES["learning_loss"](KEY, view(predicted_loss=[0.0, bad, 1.0, 2.0, 0.0]), 2)
