"""Networks by name, and the module that predicts their loss.

A network is built by `NETWORKS[name](num_classes, config)`, where `config` is the config's table
`model` with the dtype resolved, and called as `module(inputs, train) -> (logits [B, K], stages)`; its
features are the last stage, pooled over its pixels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from aljax.models import resnet18
from aljax.models.loss_predictor import LossPredictor
from aljax.models.resnet18 import ResNet18

__all__ = ["NETWORKS", "LossPredictor", "ResNet18"]

NETWORKS: dict[str, Callable[[int, Mapping[str, Any]], nn.Module]] = {
    "resnet18": resnet18.build,
}
