"""ResNet-18 for small images, and the module that predicts its loss.

Shapes: B examples, H x W pixels, C channels, K classes, F features (8 * width).
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from aljax.ops.conv import for_flax

Conv = partial(
    nn.Conv,
    use_bias=False,
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    conv_general_dilated=for_flax,
)
BatchNorm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016, figure 2)."""

    channels: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] to [B, H / stride, W / stride, channels]."""
        conv = partial(Conv, self.channels, dtype=self.dtype)
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
    statistics are float32 whatever `dtype` computes in; logits are float32.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    num_classes: int
    width: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Images [B, H, W, C] to logits [B, K] and the outputs of the four stages."""
        x = images.astype(self.dtype)
        x = Conv(self.width, (3, 3), padding=1, dtype=self.dtype)(x)
        x = BatchNorm(not train, dtype=self.dtype)(x)
        x = nn.relu(x)
        stages = []
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                x = Block(self.width * 2**stage, stride, self.dtype)(x, train)
            stages.append(x)
        return nn.Dense(self.num_classes)(pooled(x)), tuple(stages)


class LossPredictor(nn.Module):
    """Predicts each example's loss from the four stages of the backbone.

    Called as `module(stages) -> predicted loss [B]`, float32. Each stage is averaged over
    its pixels and passed through a dense layer and a ReLU; the four results, side by side,
    through one more dense layer.

    Source: Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019, section 3.2, figure 2.
    """

    hidden: int = 128

    @nn.compact
    def __call__(self, stages: Sequence[jax.Array]) -> jax.Array:
        """The outputs of the four stages to predicted losses [B]."""
        hidden = [nn.relu(nn.Dense(self.hidden)(pooled(stage))) for stage in stages]
        return nn.Dense(1)(jnp.concatenate(hidden, axis=-1)).squeeze(-1)


def pooled(stage: jax.Array) -> jax.Array:
    """The global average pool of one stage: [B, h, w, c] -> [B, c], float32."""
    return stage.astype(jnp.float32).mean(axis=(1, 2))
