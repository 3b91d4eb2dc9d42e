"""A linear classifier: the usual head on embeddings.

Shapes: B examples, D features, K classes.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from aljax.models.layers import dense


class Linear(nn.Module):
    """Multinomial logistic regression.

    Called as `model(inputs [B, D] float, train) -> (logits [B, K], stages)`; the one stage is the inputs
    themselves. Images are taken as the vectors of their pixels. `initialization` is a name of
    `INITIALIZATIONS`.
    """

    meet_in_batch_norm = True  # the examples of a batch, and nowhere else

    num_classes: int
    initialization: str = "he_fan_out"

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Maps inputs [B, ...] to logits [B, K] and the inputs [B, D]."""
        inputs = inputs.reshape(inputs.shape[0], -1)
        return dense(self.num_classes, inputs, self.initialization), (inputs,)


def build(num_classes: int, config: Mapping[str, Any]) -> Linear:
    """Builds the network from `initialization` of the config's table `model`."""
    return Linear(num_classes, config["initialization"])
