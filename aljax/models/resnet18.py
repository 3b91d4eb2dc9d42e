"""ResNet-18 for small images.

Shapes: B examples, H x W pixels, C channels, K classes, F features (8 * width).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from aljax.models.layers import INITIALIZATIONS, BatchNorm, Conv, dense, pooled


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016, figure 2)."""

    channels: int
    stride: int
    dtype: DTypeLike
    initialization: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, channels]."""
        init = INITIALIZATIONS[self.initialization].conv
        conv = partial(Conv, self.channels, kernel_init=init, dtype=self.dtype)
        norm = partial(BatchNorm, not train, dtype=self.dtype)
        y = norm()(conv((3, 3), strides=self.stride, padding=1)(x))
        y = norm()(conv((3, 3), padding=1)(nn.relu(y)))
        if x.shape != y.shape:
            x = norm()(conv((1, 1), strides=self.stride, padding=0)(x))
        return nn.relu(x + y)


class ResNet18(nn.Module):
    """ResNet-18 with a 3x3 stem and no max-pool, as is usual for 32x32 images.

    Called as `model(images [B, H, W, C] float, train) -> (logits [B, K], stages)`, where
    `stages` are the outputs of the four stages: [B, H, W, width], [B, H/2, W/2, 2 width],
    [B, H/4, W/4, 4 width], [B, H/8, W/8, F] (halves rounded up). Parameters and batch
    statistics are float32 whatever `dtype` computes in; logits are float32. `initialization`
    is a name of `INITIALIZATIONS`.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    meet_in_batch_norm = True  # the examples of a batch, and nowhere else

    num_classes: int
    width: int = 64
    dtype: DTypeLike = jnp.float32
    initialization: str = "he_fan_out"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Maps images [B, H, W, C] to logits [B, K] and the outputs of the four stages."""
        init = INITIALIZATIONS[self.initialization].conv
        x = images.astype(self.dtype)
        x = Conv(self.width, (3, 3), padding=1, kernel_init=init, dtype=self.dtype)(x)
        x = BatchNorm(not train, dtype=self.dtype)(x)
        x = nn.relu(x)
        stages = []
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Block(self.width * 2**stage, stride, self.dtype, self.initialization)(x, train)
            stages.append(x)
        return dense(self.num_classes, pooled(x), self.initialization), tuple(stages)


def build(num_classes: int, config: Mapping[str, Any]) -> ResNet18:
    """Builds the network from `width`, `dtype` and `initialization` of the config's table `model`."""
    return ResNet18(num_classes, config["width"], config["dtype"], config["initialization"])
