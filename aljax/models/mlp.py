"""A multilayer perceptron: a head on embeddings with features of its own.

Shapes: B examples, D features, K classes.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from aljax.models.layers import dense


class MLP(nn.Module):
    """Layers of `width` units with ReLU, and a linear classifier on the last.

    Called as `model(inputs [B, D] float, train) -> (logits [B, K], stages)`, where `stages` are the outputs
    of the `depth` hidden layers, [B, width] each. Images are taken as the vectors of their pixels.
    Parameters and logits are float32 whatever `dtype` computes in; `initialization` is a name of
    `INITIALIZATIONS`.
    """

    meet_in_batch_norm = True  # the examples of a batch, and nowhere else

    num_classes: int
    width: int = 64
    depth: int = 1
    dtype: DTypeLike = jnp.float32
    initialization: str = "he_fan_out"

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Maps inputs [B, ...] to logits [B, K] and the outputs of the hidden layers."""
        x = inputs.reshape(inputs.shape[0], -1)
        stages = []
        for _ in range(self.depth):
            x = nn.relu(dense(self.width, x, self.initialization, self.dtype))
            stages.append(x)
        return dense(self.num_classes, x.astype(jnp.float32), self.initialization), tuple(stages)


def build(num_classes: int, config: Mapping[str, Any]) -> MLP:
    """Builds the network from the config's table `model`: width, depth, dtype and initialization."""
    return MLP(num_classes, *(config[name] for name in ("width", "depth", "dtype", "initialization")))
