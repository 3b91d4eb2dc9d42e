"""Layers that the networks share: convolution, batch normalization, pooling, and initializations by name."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from aljax.ops.batch_norm import normalize
from aljax.ops.conv import for_flax

Conv = partial(nn.Conv, use_bias=False, conv_general_dilated=for_flax)


class BatchNorm(nn.Module):
    """Batch normalization of the last axis, with the parameters and statistics of `flax.linen.BatchNorm`.

    In training (`use_running_average` is false) it normalizes by the batch, and its statistics keep the share
    `momentum` of what they were.

    Source: Ioffe & Szegedy, "Batch Normalization", ICML 2015.
    """

    use_running_average: bool
    dtype: DTypeLike = jnp.float32
    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, ..., C] to the same shape, in `dtype`."""
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        variance = self.variable("batch_stats", "var", jnp.ones, channels)
        if self.use_running_average:
            factor = jax.lax.rsqrt(variance.value + self.epsilon) * scale
            return ((x - mean.value) * factor + bias).astype(self.dtype)
        y, *of_batch = normalize(x, scale, bias, self.epsilon, self.dtype)
        if not self.is_initializing():
            for kept, new in zip((mean, variance), of_batch, strict=True):
                kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        return y


class Initialization(NamedTuple):
    """Distributions that the weights of a network are drawn from."""

    conv: Initializer
    dense: Initializer
    bias: Callable[[int], Callable[..., jax.Array]]  # of a dense layer with so many inputs


def _uniform_bias(inputs: int) -> Callable[..., jax.Array]:
    """Returns the initializer that draws uniformly from ±1/sqrt(inputs)."""
    bound = inputs**-0.5
    positive = nn.initializers.uniform(2 * bound)
    return lambda *arguments, **options: positive(*arguments, **options) - bound


_torch = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

INITIALIZATIONS: dict[str, Initialization] = {
    # He et al., ICCV 2015, equation 14, for convolutions; LeCun et al., 1998, for dense layers.
    "he_fan_out": Initialization(
        nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        nn.initializers.lecun_normal(),
        lambda inputs: nn.initializers.zeros_init(),
    ),
    # PyTorch's reset_parameters: kaiming_uniform_(a=sqrt(5)), that is uniform in ±1/sqrt(fan_in).
    "torch_default": Initialization(_torch, _torch, _uniform_bias),
}


def dense(features: int, x: jax.Array, initialization: str, dtype: DTypeLike | None = None) -> jax.Array:
    """Applies a dense layer of the calling module, computed in `dtype`: [..., F] to [..., features]."""
    drawn = INITIALIZATIONS[initialization]
    return nn.Dense(features, dtype=dtype, kernel_init=drawn.dense, bias_init=drawn.bias(x.shape[-1]))(x)


def pooled(stage: jax.Array) -> jax.Array:
    """Returns the global average pool of one stage, float32: [B, h, w, c] -> [B, c]; [B, c] stays."""
    return stage.astype(jnp.float32).mean(axis=tuple(range(1, stage.ndim - 1)))
