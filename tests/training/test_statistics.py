import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.runtime import mesh
from aljax.training import ensemble, statistics
from aljax.training.step import Networks, batch_order

KEY = jax.random.key(3)


class OneLayer(nn.Module):
    """A batch normalization of the images themselves, with a momentum of its own."""

    @nn.compact
    def __call__(self, images, train):
        return nn.BatchNorm(not train, momentum=0.7)(images), ()


class NoNorm(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        x = nn.Dense(3)(images.mean((1, 2)))
        return x, (x,)


def recomputed(state, examples, networks, recipe, devices, num_labeled):
    state, examples = jax.device_put((state, examples), mesh.everywhere(devices))
    return statistics.recomputed(
        state,
        examples,
        jnp.arange(40, dtype=jnp.int32),
        jnp.int32(num_labeled),
        KEY,
        networks=networks,
        recipe=recipe,
        sharding=mesh.spread(devices),
    )


@pytest.mark.parametrize("num_labeled", [5, 16, 24])
def test_they_are_those_of_all_batches_together(networks, recipe, examples, devices, num_labeled):
    layer = OneLayer()
    variables = layer.init(KEY, jnp.zeros((1, 8, 8, 3)), train=False)
    state = ensemble.TrainState({"backbone": variables["params"]}, variables["batch_stats"], ())
    state = jax.tree.map(lambda leaf: leaf[None], state)
    found = recomputed(state, examples, Networks(layer, layer), recipe, devices, num_labeled)
    order = batch_order(KEY, jnp.int32(0), 40, jnp.int32(num_labeled), 8)
    rows = np.asarray(order)[: -(-num_labeled // 8)].ravel()
    images = (np.asarray(examples.images)[rows] - 110.0) / 60
    assert set(rows) == set(range(num_labeled))
    own = jax.tree.map(lambda leaf: leaf[0], found.batch_stats["BatchNorm_0"])
    chex.assert_trees_all_close(own["mean"], images.mean((0, 1, 2)), atol=1e-5)
    chex.assert_trees_all_close(own["var"], images.var((0, 1, 2)), atol=1e-5)


def test_they_depend_on_the_weights_alone(networks, recipe, examples, devices):
    """Each member's own; what the statistics were before does not matter, and the weights stay."""
    keys = jax.random.split(KEY, 2)
    state = ensemble.fresh(keys, networks=networks, recipe=recipe, image_shape=(8, 8, 3))
    other = state._replace(batch_stats=jax.tree.map(lambda leaf: 7 * leaf + 3, state.batch_stats))
    found, again = (recomputed(own, examples, networks, recipe, devices, 20) for own in (state, other))
    chex.assert_trees_all_close(found.batch_stats, again.batch_stats, rtol=1e-6)
    chex.assert_trees_all_equal(found.params, state.params)
    mean = found.batch_stats["BatchNorm_0"]["mean"]
    assert np.abs(mean[0] - mean[1]).max() > 0.01


def test_a_network_without_batch_normalization_stays(networks, recipe, examples, devices):
    bare = Networks(NoNorm(), networks.predictor)
    state = ensemble.fresh(KEY[None], networks=bare, recipe=recipe, image_shape=(8, 8, 3))
    found = recomputed(state, examples, bare, recipe, devices, 20)
    chex.assert_trees_all_equal(found, state)
