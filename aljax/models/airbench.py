"""A small convolutional network that learns in few epochs.

Shapes: B examples, H x W pixels, C channels, K classes, F features (4 * width).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from aljax.models.layers import INITIALIZATIONS, BatchNorm, Conv, dense, pooled


class Group(nn.Module):
    """Two 3x3 convolutions, with pooling after the first."""

    channels: int
    dtype: DTypeLike
    initialization: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / 2, W / 2, channels], rounded down."""
        init = INITIALIZATIONS[self.initialization].conv
        conv = partial(Conv, self.channels, (3, 3), padding=1, kernel_init=init, dtype=self.dtype)
        norm = partial(BatchNorm, not train, dtype=self.dtype)
        x = nn.gelu(norm()(halved(conv()(x))))
        return nn.gelu(norm()(conv()(x)))


class Airbench(nn.Module):
    """Three groups of two convolutions, of `width`, 4 * `width` and 4 * `width` channels.

    Called as `model(images [B, H, W, C] float, train) -> (logits [B, K], stages)`, where `stages` are the
    outputs of the groups, [B, H/2, W/2, width], [B, H/4, W/4, F] and [B, H/8, W/8, F] (rounded down; images
    have at least 8 pixels each way). Parameters and batch statistics are float32 whatever `dtype` computes
    in; logits are float32. `initialization` is a name of `INITIALIZATIONS`.

    Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3, with a first layer
    that is learned, not set to whiten patches, an average for the last pool, and one rate for all parameters.
    """

    meet_in_batch_norm = True  # the examples of a batch, and nowhere else

    num_classes: int
    width: int = 64
    dtype: DTypeLike = jnp.float32
    initialization: str = "he_fan_out"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Maps images [B, H, W, C] to logits [B, K] and the outputs of the three groups."""
        init = INITIALIZATIONS[self.initialization].conv
        x = images.astype(self.dtype)
        x = nn.gelu(Conv(24, (3, 3), padding=1, kernel_init=init, dtype=self.dtype)(x))
        stages = []
        for factor in (1, 4, 4):
            x = Group(factor * self.width, self.dtype, self.initialization)(x, train)
            stages.append(x)
        return dense(self.num_classes, pooled(x), self.initialization), tuple(stages)


def halved(x: jax.Array) -> jax.Array:
    """Returns the largest of each 2x2 pixels, [B, H, W, C] -> [B, H // 2, W // 2, C].

    Written without a window: the gradient of XLA's reduce_window is slow on a CPU.
    """
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def build(num_classes: int, config: Mapping[str, Any]) -> Airbench:
    """Builds the network from `width`, `dtype` and `initialization` of the config's table `model`."""
    return Airbench(num_classes, config["width"], config["dtype"], config["initialization"])
