"""Networks by name, and the module that predicts their loss.

A network is built by `NETWORKS[name](num_classes, config)`, where `config` is the config's table
`model` with the dtype resolved, and called as `module(inputs, train) -> (logits [B, K], stages)`; its
features are the last stage, pooled over its pixels.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aljax import registry
from aljax.errors import InvalidInputError
from aljax.models import airbench, linear, mlp, resnet18
from aljax.models.loss_predictor import LossPredictor
from aljax.models.resnet18 import ResNet18

__all__ = ["NETWORKS", "LossPredictor", "ResNet18", "build", "find", "initialized"]

NETWORKS: dict[str, Callable[[int, Mapping[str, Any]], nn.Module]] = {
    "resnet18": resnet18.build,
    "airbench": airbench.build,
    "linear": linear.build,
    "mlp": mlp.build,
}


def find(name: str) -> Callable[[int, Mapping[str, Any]], nn.Module]:
    """Returns the builder of a name, or a user's own of "path/to/file.py:function"."""
    return registry.find(name, NETWORKS, "config.model.name", ("num_classes", "config"))


@partial(jax.jit, static_argnames="network", inline=True)
def initialized(network: nn.Module, key: jax.Array, inputs: jax.Array) -> tuple[Any, Any]:
    """Returns a network's outputs for `inputs`, and the fresh variables that they come from.

    A network is traced once for its check, the count of its weights and their drawing.
    """
    return network.init_with_output(key, inputs, train=False)


def build(num_classes: int, config: Mapping[str, Any], image_shape: tuple[int, ...]) -> nn.Module:
    """Builds the network that a config's table `model` names, and traces it.

    Args:
      num_classes: K.
      config: the table, with the dtype resolved.
      image_shape: (H, W, C) of the images, or (D,) of embeddings.

    Raises:
      InvalidInputError: if there is no such network, or a user's own keeps no network's contract.
    """
    field, builder = f"config.model.name={config['name']!r}", find(config["name"])
    accepted = f"accepted: a network called as module(inputs, train) -> (logits [B, {num_classes}], stages)"
    count = 1 if config["name"] in NETWORKS else 2
    others: set[str] = set()  # layers in which the examples of a batch meet, or that draw for each

    def seen(call: Callable[..., Any], arguments: Any, named: Any, context: Any) -> Any:
        if isinstance(context.module, (nn.BatchNorm, nn.Dropout)):
            others.add(type(context.module).__name__)
        return call(*arguments, **named)

    def tried(key: jax.Array, inputs: jax.Array) -> Any:
        _, variables = network.init_with_output(key, inputs, train=False)
        variables = {name: variables.get(name, {}) for name in ("params", "batch_stats")}
        network.apply(variables, inputs, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        return network.apply(variables, inputs, train=False)

    def outputs() -> Any:
        """Traces the network: aljax's own, which the tests have trained, as its fresh weights will."""
        key, inputs = jax.eval_shape(lambda: (jax.random.key(0), jnp.zeros((count, *image_shape))))
        if config["name"] in NETWORKS:
            return initialized.eval_shape(network, key, inputs)[0]
        with nn.intercept_methods(seen):
            return jax.eval_shape(tried, key, inputs)

    try:
        network = builder(num_classes, config)
        if not isinstance(network, nn.Module):
            raise TypeError(f"{network!r} is no flax.linen.Module")
        answer = outputs()
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise TypeError(f"a call returns {answer!r}, and not a pair")
        logits, stages = answer
        shapes = logits.shape, [stage.shape for stage in stages]
    except Exception as error:  # a user's own may raise anything
        raise InvalidInputError(f"{field}: it raised {registry.complaint(error)}; {accepted}") from error
    fitting = [len(shape) > 1 and shape[0] == count for shape in shapes[1]]
    if shapes[0] != (count, num_classes) or not fitting or not all(fitting):
        raise InvalidInputError(f"{field}: its outputs for {count} images have shapes {shapes}; {accepted}")
    if others and vars(type(network)).get("meet_in_batch_norm", False):
        raise InvalidInputError(
            f"{field}: says meet_in_batch_norm=True and has flax's {' and '.join(sorted(others))}; "
            "accepted: aljax.models.layers.BatchNorm and no dropout, or a network that does not say so"
        )
    return network
