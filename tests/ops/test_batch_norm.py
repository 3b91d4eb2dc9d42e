from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec

from aljax.models.layers import BatchNorm
from aljax.ops.batch_norm import PARTS, normalize

SHAPES = [(8, 4, 4, 3), (2, 5, 3, 1), (6, 7), (1, 2, 2, 2), (3, 1, 1, 40)]


def drawn(shape, seed=0):
    """Values, a scale and a bias of its channels, and a gradient of the result."""
    rng = np.random.default_rng(seed)
    x, gradient = 3 * rng.normal(size=shape) + 5, rng.normal(size=shape)
    scale, bias = rng.normal(size=(2, shape[-1]))
    return tuple(array.astype(np.float32) for array in (x, scale, bias, gradient))


def by_hand(x, scale, bias):
    """In float64, with the variance as the mean of squares."""
    x, scale, bias = (np.asarray(array, np.float64) for array in (x, scale, bias))
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), ((x - x.mean(axes)) ** 2).mean(axes)
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + bias, mean, variance


@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_statistics_by_hand(shape):
    x, scale, bias, _ = drawn(shape)
    y, mean, variance = jax.jit(normalize, static_argnums=(3, 4))(x, scale, bias, 1e-5, jnp.float32)
    expected = by_hand(x, scale, bias)
    for found, value in zip((y, mean, variance), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=2e-4, atol=2e-4)


@jax.jit
def gradients(x, scale, bias, gradient):
    """Those of `normalize`, and those that JAX derives from the formula."""

    def plain(x, scale, bias):
        axes = tuple(range(x.ndim - 1))
        variance = jnp.mean(x**2, axes) - x.mean(axes) ** 2  # rounds as the one in question does
        return (x - x.mean(axes)) * jax.lax.rsqrt(variance + 1e-5) * scale + bias

    own = jax.vjp(lambda *a: normalize(*a, 1e-5, jnp.float32)[0], x, scale, bias)[1](gradient)
    return own, jax.vjp(plain, x, scale, bias)[1](gradient)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 1000))
@example((3, 1, 1, 40), 7)  # a channel whose three values are near each other, and far from 0
def test_gradients_are_the_automatic_ones(shape, seed):
    """To the rounding of the variance, which is that of the mean square, the larger beside it."""
    arrays = drawn(shape, seed)
    x = np.asarray(arrays[0], np.float64).reshape(-1, shape[-1])
    tolerance = 3e-6 * (x**2).mean(0) / (x.var(0) + 1e-5)
    for own, automatic in zip(*gradients(*arrays), strict=True):
        difference = np.abs(np.asarray(own) - automatic) / (1 + np.abs(automatic).max())
        assert (difference <= tolerance).all()


@pytest.mark.usefixtures("two_devices")
def test_a_batch_in_parts_is_normalized_as_a_whole():
    arrays = drawn((8, 4, 4, 3))

    def of_all(x, scale, bias, gradient):
        results, back = jax.vjp(lambda *a: normalize(*a, 1e-5, jnp.float32), x, scale, bias)
        of_x, *others = back((gradient, *map(jnp.zeros_like, results[1:])))
        return (results[0], of_x), (results[1:], others)

    def of_part(*arrays):
        own, (statistics, others) = of_all(*arrays)
        return own, (statistics, jax.lax.psum(others, PARTS))

    part, same = PartitionSpec(PARTS), PartitionSpec()
    in_parts = jax.shard_map(
        of_part,
        mesh=Mesh(jax.devices()[:2], PARTS),
        in_specs=(part, same, same, part),
        out_specs=(part, same),
        check_vma=False,
    )
    chex.assert_trees_all_close(jax.jit(in_parts)(*arrays), jax.jit(of_all)(*arrays), rtol=1e-4, atol=1e-4)


def test_constant_images_have_no_variance_and_a_finite_gradient():
    def normalized(x):
        y, _, variance = normalize(x, jnp.ones(2), jnp.zeros(2), 1e-5, jnp.float32)
        return y.sum(), (y, variance)

    x = np.full((4, 3, 3, 2), 1e4, np.float32)
    of_x, (y, variance) = jax.jit(jax.grad(normalized, has_aux=True))(x)
    assert np.all(variance >= 0)
    assert np.isfinite(y).all()
    assert np.isfinite(of_x).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("evaluated", [False, True])
def test_layer_is_that_of_flax(dtype, evaluated):
    x = drawn((8, 4, 4, 6))[0].astype(dtype)
    own = BatchNorm(evaluated, dtype=jnp.dtype(dtype))
    theirs = nn.BatchNorm(evaluated, momentum=0.9, epsilon=1e-5, dtype=jnp.dtype(dtype))
    variables, of_flax = (
        jax.device_get(jax.jit(layer.init)(jax.random.key(0), x)) for layer in (own, theirs)
    )
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, of_flax)
    variables["batch_stats"]["mean"] = np.full(6, 4.5, np.float32)
    variables["params"]["bias"] = np.full(6, 0.5, np.float32)
    results = [
        jax.jit(partial(layer.apply, mutable=["batch_stats"]))(variables, x) for layer in (own, theirs)
    ]
    assert results[0][0].dtype == results[1][0].dtype == dtype
    tolerance = 1e-2 if dtype == "bfloat16" else 1e-5
    for found, expected in zip(*map(jax.tree.leaves, results), strict=True):
        found, expected = (np.asarray(array, np.float32) for array in (found, expected))
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
