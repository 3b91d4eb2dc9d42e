import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.errors import InvalidInputError
from aljax.training import dropout

apply = jax.jit(dropout.apply, static_argnums=0)


class TwoLayers(nn.Module):
    """Two dense layers, the second on 8 features."""

    @nn.compact
    def __call__(self, images, train):
        features = nn.relu(nn.Dense(8)(images))
        return nn.Dense(3)(features), (features,)


class Cosine(nn.Module):
    """Ends in no dense layer of the logits."""

    @nn.compact
    def __call__(self, images, train):
        features = nn.Dense(8)(images)
        return features[:, :3] * 2, (features,)


@pytest.fixture(scope="module")
def problem():
    images = np.random.default_rng(0).normal(size=(5, 4))
    return TwoLayers().init(jax.random.key(1), images, train=False), images


def test_features_are_dropped_under_the_last_layer_alone(problem):
    variables, images = problem
    keys = jax.random.split(jax.random.key(2), 5)
    (logits, (features,)), classes = apply(TwoLayers(), variables, images, keys)
    alone = TwoLayers().apply(variables, images, train=False)[0]
    last_bit = 0 if jax.default_backend() == "cpu" else 1e-6  # a GPU's products are summed as a program fuses
    np.testing.assert_allclose(logits, alone, rtol=last_bit, atol=0)
    last = variables["params"]["Dense_1"]
    kept = np.stack([jax.random.bernoulli(key, 0.25, (3, 8)) for key in keys])
    dropped = np.where(kept, np.asarray(features)[:, None] / 0.25, 0)
    expected = (dropped @ last["kernel"] + last["bias"]).argmax(axis=-1)
    assert classes.shape == (5, 3)
    np.testing.assert_array_equal(classes, expected)


def test_an_image_s_classes_do_not_depend_on_the_company(problem):
    variables, images = problem
    keys = jax.random.split(jax.random.key(2), 5)
    _, together = apply(TwoLayers(), variables, images, keys)
    _, alone = apply(TwoLayers(), variables, images[3:4], keys[3:4])
    np.testing.assert_array_equal(alone[0], together[3])


def test_a_network_without_such_a_layer_is_refused():
    images = jnp.ones((2, 4))
    variables = Cosine().init(jax.random.key(1), images, train=False)
    with pytest.raises(InvalidInputError, match="the last layer of Cosine is not a") as error:
        apply(Cosine(), variables, images, jax.random.split(jax.random.key(2), 2))
    assert "\n" not in str(error.value)
