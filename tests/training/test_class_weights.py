"""Balanced class weights, beside a loss written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from aljax import losses
from aljax.training import step as train


@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 2, 2], [1, 1], [0, 2, 2, 2]])
def test_weights_are_those_of_scikit_learn(labels):
    present = np.unique(labels)
    expected = np.zeros(3)
    expected[present] = compute_class_weight("balanced", classes=present, y=labels)
    weights = losses.class_weights(jnp.array([*labels, -1, -1]), 3)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert float(weights[jnp.array(labels)].mean()) == pytest.approx(1)


def test_a_step_follows_the_weighted_loss(networks, recipe, examples):
    """Of the images labeled so far, those of a batch count by the rarity of their class; padding does not."""
    recipe = recipe._replace(
        class_weights="balanced", ranking_weight=0.0, pad=0, flip=False, weight_decay=0.0
    )
    recipe = recipe._replace(momentum=0.0, milestones=())
    state = train.init(jax.random.key(0), networks=networks, recipe=recipe, image_shape=(8, 8, 3))
    labels = np.asarray(examples.labels)
    rare, often = np.flatnonzero(labels == 1)[:2], np.flatnonzero(labels == 0)[:6]
    batch = np.r_[rare, often]
    known = jnp.array([*labels[batch], -1, -1])  # 6 of class 0, 2 of class 1: weights 8/12 and 8/4
    step = jax.jit(train.train_step, static_argnums=(5, 6))
    after, _ = step(state, examples, batch, 0.0, jax.random.key(1), networks, recipe, known)

    images = train.standardize(examples.images[batch], examples.mean, examples.std)

    def loss(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        (logits, _), _ = networks.backbone.apply(variables, images, train=True, mutable=["batch_stats"])
        own = -jax.nn.log_softmax(logits)[jnp.arange(8), labels[batch]]
        return (2.0 * own[:2].sum() + 2 / 3 * own[2:].sum()) / 8

    gradients = jax.jit(jax.grad(loss))(state.params["backbone"])
    expected = jax.tree.map(lambda p, g: p - recipe.learning_rate * g, state.params["backbone"], gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.params["backbone"], expected)
