"""Networks by name, and the module that predicts their loss.

A network is built by `NETWORKS[name](num_classes, config)`, where `config` is the config's table
`model` with the dtype resolved, and called as `module(inputs, train) -> (logits [B, K], stages)`; its
features are the last stage, pooled over its pixels.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aljax import registry
from aljax.errors import InvalidInputError
from aljax.models import resnet18
from aljax.models.loss_predictor import LossPredictor
from aljax.models.resnet18 import ResNet18

__all__ = ["NETWORKS", "LossPredictor", "ResNet18", "build", "find"]

NETWORKS: dict[str, Callable[[int, Mapping[str, Any]], nn.Module]] = {
    "resnet18": resnet18.build,
}


def find(name: str) -> Callable[[int, Mapping[str, Any]], nn.Module]:
    """Returns the builder of a name, or a user's own of "path/to/file.py:function"."""
    return registry.find(name, NETWORKS, "config.model.name", ("num_classes", "config"))


def build(num_classes: int, config: Mapping[str, Any], image_shape: tuple[int, ...]) -> nn.Module:
    """Builds the network that a config's table `model` names, for images of `image_shape` (H, W, C).

    Raises:
      InvalidInputError: if there is no such network, or a user's own keeps no network's contract.
    """
    field, builder = f"config.model.name={config['name']!r}", find(config["name"])
    accepted = f"accepted: a network called as module(images, train) -> (logits [B, {num_classes}], stages)"
    try:
        network = builder(num_classes, config)
        (logits, stages), _ = jax.eval_shape(
            lambda key, images: network.init_with_output(key, images, train=False),
            jax.random.key(0),
            jnp.zeros((2, *image_shape)),
        )
        shapes = logits.shape, [stage.shape for stage in stages]
    except Exception as error:  # a user's own may raise anything
        raise InvalidInputError(f"{field}: it raised {registry.complaint(error)}; {accepted}") from error
    if shapes[0] != (2, num_classes) or not shapes[1] or any(shape[0] != 2 for shape in shapes[1]):
        raise InvalidInputError(f"{field}: its outputs for 2 images have shapes {shapes}; {accepted}")
    return network
