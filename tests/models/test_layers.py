from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.models import LossPredictor, ResNet18
from aljax.models.layers import pooled


def weights(initialization):
    """Fresh weights of both modules, by the kind of layer and the name of the array."""
    key, images = jax.random.key(0), jnp.zeros((1, 8, 8, 3))
    backbone = ResNet18(num_classes=50, width=32, initialization=initialization)
    (_, stages), params = jax.jit(partial(backbone.init_with_output, train=False))(key, images)
    predictor = jax.jit(LossPredictor(hidden=64, initialization=initialization).init)(key, stages)
    found = {}
    for tree in (params["params"], predictor["params"]):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            layer, name = (part.key for part in path[-2:])
            found.setdefault((layer.partition("_")[0], name), []).append(np.asarray(leaf))
    return found


def test_he_fan_out_by_its_moments():
    found = weights("he_fan_out")
    for kernel in found["Conv", "kernel"]:
        fan_out = kernel[..., 0, :].size
        assert kernel.std() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
        assert np.abs(kernel).max() > 2 * kernel.std()  # normal
    for kernel in found["Dense", "kernel"]:
        if kernel.size > 1000:
            assert kernel.std() == pytest.approx(len(kernel) ** -0.5, rel=0.1)
    assert all((bias == 0).all() for bias in found["Dense", "bias"])


def test_torch_default_is_uniform_between_the_roots_of_fan_in():
    found = weights("torch_default")
    for kernel in found["Conv", "kernel"] + found["Dense", "kernel"]:
        bound = kernel[..., 0].size ** -0.5
        assert np.abs(kernel).max() <= bound * (1 + 1e-6)
        if kernel.size > 1000:
            assert np.abs(kernel).max() > 0.95 * bound
            assert kernel.std() == pytest.approx(bound / 3**0.5, rel=0.05)
    for kernel, bias in zip(found["Dense", "kernel"], found["Dense", "bias"], strict=True):
        bound = len(kernel) ** -0.5
        assert np.abs(bias).max() <= bound * (1 + 1e-6)
        assert np.ptp(bias) > bound or bias.size == 1


def test_pooled_averages_pixels_and_leaves_vectors():
    stage = jnp.arange(8.0).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(pooled(stage), [[3.0, 4.0]])
    np.testing.assert_array_equal(pooled(stage[0, 0]), stage[0, 0])
