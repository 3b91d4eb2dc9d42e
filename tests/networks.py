"""A network of two layers, for tests of all that is not about a network: it compiles in moments."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from aljax.models.layers import INITIALIZATIONS, BatchNorm, Conv, dense, pooled


class TwoLayers(nn.Module):
    """Two convolutions, the second with a stride, each with batch normalization: two stages."""

    meet_in_batch_norm = True

    num_classes: int
    width: int = 2
    dtype: DTypeLike = jnp.float32
    initialization: str = "he_fan_out"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Maps images [B, H, W, C] to logits [B, K] and the outputs of both layers."""
        x, stages = images.astype(self.dtype), []
        for stride in (1, 2):
            init = INITIALIZATIONS[self.initialization].conv
            x = Conv(
                stride * self.width, (3, 3), strides=stride, padding=1, kernel_init=init, dtype=self.dtype
            )(x)
            x = nn.relu(BatchNorm(not train, dtype=self.dtype)(x))
            stages.append(x)
        return dense(self.num_classes, pooled(x), self.initialization), tuple(stages)


def two_layers(num_classes: int, config: Mapping[str, Any]) -> TwoLayers:
    """Builds the network from the config's table `model`."""
    return TwoLayers(num_classes, config["width"], config["dtype"], config["initialization"])
