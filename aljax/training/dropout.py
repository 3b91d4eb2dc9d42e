"""Dropout on the features under a network's last layer, for predictions that show how sure it is of them.

Shapes: B images, D features, K classes, S samples.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aljax.errors import InvalidInputError

SAMPLES, RATE = 3, 0.75  # of Gupte et al., TMLR 2024, section 5


def apply(
    backbone: nn.Module, variables: Mapping[str, Any], images: jax.Array, keys: jax.Array
) -> tuple[Any, jax.Array]:
    """Applies a network, and its last layer again with dropout on its input.

    The last layer is the last `nn.Dense` that is called.

    Args:
      backbone: called as `module(images, train) -> (logits [B, K], stages)`.
      variables: its parameters and batch statistics.
      images: as it takes them, [B, ...].
      keys: of each image, [B].

    Returns:
      What the network returns, and the likeliest class in each sample, [B, S] int32.

    Raises:
      InvalidInputError: if the network does not end in an `nn.Dense` of features [B, D].
    """
    calls = 0
    samples: list[jax.Array] = []

    def count(call, args, kwargs, context):
        nonlocal calls
        calls += _is_dense(context)
        return call(*args, **kwargs)

    def drop(call, args, kwargs, context):
        nonlocal calls
        calls -= _is_dense(context)
        if calls or samples or not _is_dense(context):
            return call(*args, **kwargs)
        features = args[0]
        kept = jax.vmap(partial(jax.random.bernoulli, p=1 - RATE, shape=(SAMPLES, *features.shape[1:])))(keys)
        dropped = jnp.where(kept, features[:, None] / (1 - RATE), 0).swapaxes(0, 1)
        layer, parameters = context.module.unbind()
        samples.append(layer.apply(parameters, dropped))
        return call(*args, **kwargs)

    forward = partial(backbone.apply, variables, images, train=False)
    with nn.intercept_methods(count):
        logits, _ = jax.eval_shape(forward)
    with nn.intercept_methods(drop):
        outputs = forward()
    if not samples or samples[0].shape != (SAMPLES, *logits.shape):
        raise InvalidInputError(
            f"config.model.name: the last layer of {type(backbone).__name__} is not a flax.linen.Dense of "
            "features [B, D], on which dropquery drops some; accepted: a network that ends in one, or "
            "another strategy"
        )
    return outputs, samples[0].argmax(axis=-1).T.astype(jnp.int32)


def _is_dense(context: nn.module.InterceptorContext) -> bool:
    return isinstance(context.module, nn.Dense) and context.method_name == "__call__"
