"""Positions of extreme values, as two plain reductions: XLA on a CPU takes one of pairs value by value."""

import jax
import jax.numpy as jnp


def argmax(values: jax.Array, axis: int = -1) -> jax.Array:
    """Returns the first position of the largest value along an axis, as `jnp.argmax` does; int32.

    Of NaN it knows nothing: where one is the largest value, the position lies behind the last.
    """
    return _first(values, jnp.max(values, axis, keepdims=True), axis)


def argmin(values: jax.Array, axis: int = -1) -> jax.Array:
    """Returns the first position of the smallest value along an axis; see `argmax`."""
    return _first(values, jnp.min(values, axis, keepdims=True), axis)


def _first(values, extreme, axis):
    size = values.shape[axis]
    position = jax.lax.broadcasted_iota(jnp.int32, values.shape, axis % values.ndim)
    return jnp.min(jnp.where(values == extreme, position, size), axis)
