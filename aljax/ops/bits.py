"""The bits of bfloat16 as integers: XLA's CPU backend slices and joins these as they are, and it as float32.

So what only moves numbers (patches, the parts of a loop) moves their bits there.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike


def of(x: jax.Array) -> jax.Array:
    """Returns the bits of bfloat16 as uint16, and any other type as it is."""
    return lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x


def back(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Returns the numbers of a type whose bits `of` gave."""
    return lax.bitcast_convert_type(x, dtype) if x.dtype == jnp.uint16 else x
