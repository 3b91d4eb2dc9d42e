"""Vision transformers from a folder of a checkpoint (config.json, model.safetensors), by jax-image-models.

ViT, CLIP, SigLIP, DINOv2 and DINOv3 as Hugging Face publishes them; nothing is downloaded. The package
computes some fields of a config in one way alone, and leaves weights that it does not find as they were
drawn: both are refused here, as the embeddings would be of another model than the checkpoint's.

Embeddings: of ViT, DINOv2 and DINOv3 the class token after the last normalization, of SigLIP the pooled
token, of CLIP its projection. Pixels are standardized as preprocessor_config.json says, or else as the
family was published.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aljax.errors import InvalidInputError, first_line

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
INSTALL = "pip install 'aljax[checkpoints]' (in a checkout: pip install -e '.[checkpoints]')"
HALF = (0.5, 0.5, 0.5)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OF_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

Apply = Callable[[Any, jax.Array], jax.Array]


class Family(NamedTuple):
    """Checkpoints of one `model_type`."""

    name: str  # of the class in jax-image-models
    section: str  # of the config, where the vision model stands; "" for the whole
    norm: tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of pixels of 0 to 1
    computed: Mapping[str, Any]  # fields that the package computes in this way alone, which is their default


FAMILIES = {
    "vit": Family("VisionTransformer", "", (HALF, HALF), {"hidden_act": "gelu", "layer_norm_eps": 1e-12}),
    "clip": Family(
        "CLIPVisionModel", "vision_config", OF_CLIP, {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    ),
    "siglip": Family(
        "SigLIPVisionModel",
        "vision_config",
        (HALF, HALF),
        {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},  # the exact GELU, to within 5e-4
    ),
    "dinov2": Family(
        "DINOv2Model",
        "",
        IMAGENET,
        {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "use_swiglu_ffn": False},
    ),
    "dinov3_vit": Family("DINOv3Model", "", IMAGENET, {}),
}
HEAD = 64  # channels of an attention head, where a section of the config describes the vision model


def load(folder: Path, pixels: int) -> tuple[int, Apply, Any, dict[str, Any]]:
    """Loads a checkpoint.

    Args:
      folder: holds config.json and model.safetensors.
      pixels: S, which must be the checkpoint's own, or 0.

    Returns:
      S, the function (variables, images [B, S, S, 3] uint8) -> embeddings [B, D], its variables, and what
      identifies them.

    Raises:
      InvalidInputError: if the folder is no such checkpoint, or the package would compute another model.
    """
    field = f"--model={str(folder)!r}"
    config, family = _config(folder, field)
    size = config.get("image_size", 224)
    if pixels not in (0, size):
        raise InvalidInputError(f"--pixels={pixels}: accepted with {field}: {size}, as its {CONFIG} says")
    mean, std = _norm(folder, family)
    graph, variables = _module(folder, family, field)

    def apply(variables: Any, images: jax.Array) -> jax.Array:
        from flax import nnx

        # Variables belong to the trace that they are made in: inside of a loop they are made anew.
        module = nnx.merge(graph, jax.tree.map(lambda array: array, variables))
        inputs = (images / 255 - jnp.float32(mean)) / jnp.float32(std)
        return module.encoder(inputs) if family.name == "VisionTransformer" else module(inputs)

    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    origin = {"weights": folder.name, "weights_sha256": digest, "mean": list(mean), "std": list(std)}
    return size, apply, variables, origin


def _config(folder: Path, field: str) -> tuple[dict[str, Any], Family]:
    """Reads the part of the config that describes the vision model, and refuses what is not computed so."""
    accepted = f"accepted: a folder with {CONFIG} and {WEIGHTS} of {', '.join(FAMILIES)}"
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise InvalidInputError(f"{field}: holds no {missing[0]}; {accepted}")
    try:
        whole = json.loads((folder / CONFIG).read_text())
        family = FAMILIES[whole["model_type"]]
        config = {**(whole[family.section] if family.section else whole)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{field}: {CONFIG} is not understood ({error!r}); {accepted}") from error
    computed = dict(family.computed)
    if family.section:
        hidden = config.get("hidden_size", 768)
        computed |= {"num_attention_heads": hidden // HEAD, "intermediate_size": 4 * hidden}
        config = {"num_attention_heads": 12, "intermediate_size": 3072, **config}
    for name, value in computed.items():
        if config.get(name, value) != value:
            raise InvalidInputError(
                f"{field}: {CONFIG}: {name}={config[name]!r}: jax-image-models computes {value!r} alone"
            )
    return config, family


def _norm(folder: Path, family: Family) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = folder / PREPROCESSOR
    if not path.is_file():
        return family.norm
    try:
        given = json.loads(path.read_text())
        mean, std = (
            tuple(np.broadcast_to(np.asarray(given[name], float), 3).tolist())
            for name in ("image_mean", "image_std")
        )
        if not all(deviation > 0 for deviation in std):
            raise ValueError("image_std is not positive")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path}: {first_line(error)}; accepted: image_mean and image_std of three channels, or no file"
        ) from error
    return mean, std


def _module(folder: Path, family: Family, field: str) -> tuple[Any, Any]:
    """Loads the network twice, with weights that are drawn differently where the file lacks them."""
    try:
        import jimm
        from flax import nnx
        from jimm.common.sharding import NoSharding
    except ImportError as error:
        raise InvalidInputError(
            f"{field}: needs packages that are not installed ({error}); accepted: after {INSTALL}"
        ) from error
    device = jax.make_mesh((1,), ("device",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    try:
        with jax.set_mesh(device):
            (graph, variables), (_, others) = (
                nnx.split(
                    getattr(jimm, family.name).from_pretrained(
                        str(folder), sharding=NoSharding(), rngs=nnx.Rngs(seed)
                    )
                )
                for seed in (0, 1)
            )
    except Exception as error:  # of a damaged file, almost any kind
        raise InvalidInputError(
            f"{field}: {first_line(error)}; accepted: a checkpoint whose weights are those of its {CONFIG}"
        ) from error
    pairs = zip(
        *(nnx.to_flat_state(nnx.filter_state(one, nnx.Param)) for one in (variables, others)), strict=True
    )
    for (path, a), (_, b) in pairs:
        if not np.array_equal(a[...], b[...]):
            name = ".".join(map(str, path))
            raise InvalidInputError(
                f"{field}: {WEIGHTS} lacks weights of {name}; accepted: a whole checkpoint"
            )
    return graph, variables
