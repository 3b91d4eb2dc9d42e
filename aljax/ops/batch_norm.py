"""Batch normalization in training, with its gradient written out.

Differentiated automatically it sums over the batch four times on the way back, where two sums do. On a GPU a
sum over all pixels of all images keeps few of its cores busy where pixels are few and channels many (the last
stage of a network), so each image is summed by itself, and then the images.

A batch may be cut into parts over devices, within a `jax.shard_map` over the axis `PARTS`: mean and variance
are those of the whole batch, and the gradients of scale and bias are the part's own, to be summed with all.

Shapes: B examples, any axes between (pixels), C channels.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

PARTS = "part"


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: DTypeLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns `x` with each channel at mean `bias` and standard deviation `scale`, and its own statistics.

    Args:
      x: [B, ..., C].
      scale, bias: [C] float32.
      epsilon: added to the variance.
      dtype: of the result; what lies between is float32.

    Returns:
      The normalized [B, ..., C], and mean and variance of `x`, [C] float32 each, through which no gradient
      flows.

    Source: Ioffe & Szegedy, "Batch Normalization", ICML 2015, algorithm 1; its gradient stands in section 3.
    """
    return _forward(x, scale, bias, epsilon, dtype)[0]


def _forward(x, scale, bias, epsilon, dtype):
    values = x.astype(jnp.float32)
    mean, square = _of_all_parts(_sums(values, values**2)) * _share(x)
    variance = jnp.maximum(square - mean**2, 0)  # rounding may bring it below
    inverse = lax.rsqrt(variance + epsilon)
    y = (values - mean) * (inverse * scale) + bias
    return (y.astype(dtype), mean, variance), (x, scale, mean, inverse)


def _backward(epsilon, dtype, saved, gradients):
    x, scale, mean, inverse = saved
    gradient = gradients[0].astype(jnp.float32)
    centered = x.astype(jnp.float32) - mean
    own = _sums(gradient, gradient * centered)
    (of_bias, product), share = _of_all_parts(own), _share(x)
    straight = gradient - of_bias * share - centered * (inverse * (product * inverse) * share)
    return (straight * (inverse * scale)).astype(x.dtype), own[1] * inverse, own[0]


normalize.defvjp(_forward, _backward)


def _sums(*arrays: jax.Array) -> jax.Array:
    """Sums arrays [B, ..., C] over all but their channels, [arrays, C]."""
    of_images = tuple(array.sum(tuple(range(1, array.ndim - 1))) for array in arrays)
    return jnp.stack(lax.optimization_barrier(of_images)).sum(1)


def parts() -> int:
    """Counts the parts that the batch is cut into where this is called; 1 outside of a `jax.shard_map`."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape[PARTS] if PARTS in mesh.manual_axes else 1


def _of_all_parts(sums: jax.Array) -> jax.Array:
    """Adds up the sums of all parts."""
    return lax.psum(sums, PARTS) if parts() > 1 else sums


def _share(x: jax.Array) -> float:
    """Returns one over the number of values of each channel in the whole batch, of which `x` is a part."""
    return x.shape[-1] / (x.size * parts())
