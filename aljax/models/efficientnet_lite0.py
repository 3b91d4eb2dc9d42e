"""EfficientNet-Lite0, as far as its embeddings: for images whose features are wanted, not trained here.

The architecture is that of EfficientNet-B0 without squeeze-and-excitation and with ReLU6 in place of
swish, so that the blocks are convolutions and sums alone. Batch normalization is part of the convolutions'
weights (`folded`). "SAME" padding is TensorFlow's: of an odd number of zeros, the larger half comes last.

Shapes: B examples, H x W pixels, C channels.

Source: Tan & Le, "EfficientNet", ICML 2019, table 1; Liu, "Higher accuracy on vision models with
EfficientNet-Lite", 2020.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from aljax.models.layers import Conv, pooled
from aljax.ops.depthwise import depthwise, same

EPSILON = 1e-3  # of batch normalization
RUNNING = ("running_mean", "running_var")  # its statistics, as PyTorch names them
STEM, HEAD = 32, 1280  # channels


class Stage(NamedTuple):
    """A row of table 1: blocks alike, but for the stride of the first."""

    blocks: int
    window: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Depthwise(nn.Module):
    """A convolution channel by channel, "SAME" padded, with a bias: [B, H, W, C] to [B, I, J, C]."""

    window: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, C], rounded up."""
        window, channels = (self.window, self.window), x.shape[-1]
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=(0, 1), out_axis=-1)
        kernel = self.param("kernel", init, (*window, channels))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        down, across = (same(size, self.window, self.stride) for size in x.shape[1:3])
        return depthwise(x, kernel, (self.stride, self.stride), (down, across)) + bias


class InvertedResidual(nn.Module):
    """Expands the channels, filters them one by one, and projects them (Sandler et al., CVPR 2018)."""

    window: int
    stride: int
    expansion: int
    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, channels], rounded up."""
        y = x
        if self.expansion > 1:
            y = nn.relu6(nn.Dense(self.expansion * x.shape[-1], name="expand")(y))  # a 1x1 convolution
        y = nn.relu6(Depthwise(self.window, self.stride, name="depthwise")(y))
        y = nn.Dense(self.channels, name="project")(y)
        return x + y if x.shape == y.shape else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without the classifier; `stages` and widths may be smaller in tests.

    Called as `model(images [B, H, W, 3] float) -> embeddings [B, head]`: the outputs of the last
    convolution, averaged over the pixels. Pixels are (value - 127) / 128 for values of 0 to 255.
    """

    stages: tuple[Stage, ...] = STAGES
    stem: int = STEM
    head: int = HEAD

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images [B, H, W, 3] to embeddings [B, head]."""
        x = Conv(self.stem, (3, 3), strides=2, padding="SAME", use_bias=True, name="stem")(images)
        x = nn.relu6(x)
        number = 0
        for stage in self.stages:
            for block in range(stage.blocks):
                stride = stage.stride if block == 0 else 1
                name = f"block_{number}"
                x = InvertedResidual(stage.window, stride, stage.expansion, stage.channels, name=name)(x)
                number += 1
        return pooled(nn.relu6(nn.Dense(self.head, name="head")(x)))


def folded(tensors: Mapping[str, np.ndarray], stages: Sequence[Stage] = STAGES) -> dict[str, Any]:
    """Returns the network's variables from the tensors of the PyTorch model's state_dict.

    Each convolution takes up the batch normalization after it: with the running mean m and variance v,
    the scale g and the shift b, its kernel becomes k g / sqrt(v + EPSILON), its bias b - m g / sqrt(v +
    EPSILON). Computed in float64.

    Raises:
      KeyError: if a tensor is missing, with its name.
    """

    def layer(conv: str, norm: str) -> dict[str, np.ndarray]:
        names = (f"{conv}.weight", *(f"{norm}.{name}" for name in ("weight", "bias", *RUNNING)))
        kernel, scale, shift, mean, variance = (tensors[name].astype(np.float64) for name in names)
        scale /= np.sqrt(variance + EPSILON)
        kernel = kernel.transpose(2, 3, 1, 0) * scale  # [h, w, C, D]
        if kernel.shape[:2] == (1, 1):  # a dense layer's: [C, D]
            kernel = kernel[0, 0]
        elif kernel.shape[2] == 1:  # a depthwise layer's: [h, w, C]
            kernel = kernel[:, :, 0]
        return {"kernel": kernel.astype(np.float32), "bias": (shift - mean * scale).astype(np.float32)}

    params: dict[str, Any] = {"stem": layer("_conv_stem", "_bn0"), "head": layer("_conv_head", "_bn1")}
    for number, stage in enumerate(one for one in stages for _ in range(one.blocks)):
        block = f"_blocks.{number}"
        params[f"block_{number}"] = {
            "depthwise": layer(f"{block}._depthwise_conv", f"{block}._bn1"),
            "project": layer(f"{block}._project_conv", f"{block}._bn2"),
        }
        if stage.expansion > 1:
            params[f"block_{number}"]["expand"] = layer(f"{block}._expand_conv", f"{block}._bn0")
    return {"params": params}
