"""The module that predicts the loss of another network, by the outputs of its stages.

Shapes: B examples, h x w pixels and c channels of a stage.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from aljax.models.layers import dense, pooled


class LossPredictor(nn.Module):
    """Predicts each example's loss from the stages of the backbone.

    Called as `module(stages) -> predicted loss [B]`, float32. Each stage is averaged over
    its pixels and passed through a dense layer and a ReLU; the results, side by side,
    through one more dense layer. `initialization` is a name of `INITIALIZATIONS`.

    Source: Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019, section 3.2, figure 2.
    """

    hidden: int = 128
    initialization: str = "he_fan_out"

    @nn.compact
    def __call__(self, stages: Sequence[jax.Array]) -> jax.Array:
        """Maps the outputs of the stages, [B, h, w, c] each, to predicted losses [B]."""
        hidden = [nn.relu(dense(self.hidden, pooled(stage), self.initialization)) for stage in stages]
        return dense(1, jnp.concatenate(hidden, axis=-1), self.initialization).squeeze(-1)
