import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax import losses


def brute_force(predicted, target, margin):
    count = len(predicted)
    hinges = []
    for i in range(count // 2):
        j = count - 1 - i
        sign = 1 if target[i] > target[j] else -1
        hinges.append(max(0.0, margin - sign * (predicted[i] - predicted[j])))
    return sum(hinges) / len(hinges)


values = st.integers(-3, 3).map(lambda x: x / 2)


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from([2, 4, 8]).flatmap(
        lambda n: st.tuples(
            st.lists(values, min_size=n, max_size=n), st.lists(values, min_size=n, max_size=n)
        )
    ),
    st.sampled_from([0.5, 1.0]),
)
def test_ranking_loss_against_brute_force(lists, margin):
    predicted, target = lists
    loss = losses.ranking_loss(jnp.array(predicted), jnp.array(target), margin)
    chex.assert_shape(loss, ())
    assert float(loss) == pytest.approx(brute_force(predicted, target, margin), abs=1e-6)


def test_ranking_loss_and_its_gradient_by_hand():
    #                     pair 0 -------------------- pair 0
    #                            pair 1 -- pair 1
    predicted = jnp.array([2.0, 0.0, 0.5, 1.5])
    target = jnp.array([3.0, 1.0, 2.0, 1.0])
    # Pair 0: 3 > 1, lead 0.5, hinge 1 - 0.5. Pair 1: 1 < 2, lead -0.5, hinge 1 - 0.5. Mean 0.5.
    loss, gradients = jax.value_and_grad(losses.ranking_loss, argnums=(0, 1))(predicted, target)
    assert float(loss) == pytest.approx(0.5)
    chex.assert_trees_all_close(gradients[0], jnp.array([-0.5, 0.5, -0.5, 0.5]))
    chex.assert_trees_all_equal(gradients[1], jnp.zeros(4))


def test_a_tie_of_true_losses_counts_as_not_greater():
    assert float(losses.ranking_loss(jnp.array([0.0, 1.0]), jnp.array([1.0, 1.0]))) == 0.0
    assert float(losses.ranking_loss(jnp.array([1.0, 0.0]), jnp.array([1.0, 1.0]))) == 2.0


def test_ranking_loss_is_zero_for_a_right_ranking_by_the_margin():
    assert float(losses.ranking_loss(jnp.array([5.0, 3.0, 1.0, 0.0]), jnp.array([4.0, 3.0, 2.0, 1.0]))) == 0.0


def test_ranking_loss_refuses_an_odd_batch():
    with pytest.raises(ValueError, match="3 is an odd number"):
        losses.ranking_loss(jnp.zeros(3), jnp.zeros(3))


def test_ranking_loss_refuses_unequal_shapes():
    with pytest.raises(ValueError, match=r"\(4,\) and \(2,\)"):
        losses.ranking_loss(jnp.zeros(4), jnp.zeros(2))


def test_cross_entropy_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"logits \[B, K\] and labels \[B\], not \(4, 3\) and \(5,\)"):
        losses.cross_entropy(jnp.zeros((4, 3)), jnp.zeros(5, int))


class Jitted(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_cross_entropy(self):
        logits = jnp.log(jnp.array([[0.9, 0.09, 0.01], [0.2, 0.5, 0.3]]))
        loss = self.variant(losses.cross_entropy)(logits, jnp.array([0, 2]))
        chex.assert_trees_all_close(loss, -np.log([0.9, 0.3]).astype(np.float32), rtol=1e-5)


def test_label_smoothing_by_hand():
    """A share s of the target is spread: (1 - s) * -log p_label + s * the mean of -log p_k."""
    probs = jnp.array([[0.7, 0.2, 0.1]])
    loss = losses.cross_entropy(jnp.log(probs), jnp.array([0]), 0.3)
    logs = np.log([0.7, 0.2, 0.1])
    assert float(loss[0]) == pytest.approx(-0.7 * logs[0] - 0.3 * logs.mean(), rel=1e-5)
