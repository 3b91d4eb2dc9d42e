"""The size of a study, known before it begins: its steps, and the memory that it takes at least."""

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from aljax.config import labeled_after
from aljax.errors import InvalidInputError
from aljax.training import ensemble
from aljax.training.recipe import Recipe, steps_of
from aljax.training.step import Networks

FACTOR = 2  # times the memory that there is: more is refused at once
ACCEPTED = (
    "accepted: a smaller config.train.batch_size, config.model.width, config.ensemble or "
    "config.dataset.image_size, or in synthesis fewer images to make (config.cycles, config.budget, "
    "config.subset_size)"
)


class Size(NamedTuple):
    """Counts a study's steps and the bytes of its images and weights; training needs more."""

    steps: int  # of the optimizer, in all trials and trainings
    weights: int  # bytes of the states of all models
    images: int  # bytes of the images that are on a device, labeled or in a sub-pool
    memory: int  # bytes that there are, of a device or, for a CPU, of the machine


def of(
    config: Mapping[str, Any],
    networks: Networks,
    recipe: Recipe,
    devices: Mesh,
    images: int,
    shape: tuple[int, ...],
    item: int = 1,
) -> Size:
    """Returns the size of a study.

    Args:
      config: its config.
      networks, recipe: what is trained, and how.
      devices: what they are trained on.
      images: how many are on a device at once.
      shape: of an image.
      item: bytes of each of its values.
    """
    models = config["ensemble"]
    trainings = config["trials"] * models * (1 + config["validation_folds"])
    steps = sum(steps_of(recipe, labeled_after(config, cycle)) for cycle in range(1, config["cycles"] + 1))
    keys = jax.eval_shape(lambda seed: jax.random.split(jax.random.key(seed), 1), np.uint32(0))
    state = ensemble.fresh.eval_shape(keys, networks=networks, recipe=recipe, image_shape=shape)
    weights = models * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return Size(trainings * steps, weights, images * math.prod(shape) * item, _memory(devices))


def check(size: Size) -> None:
    """Raises InvalidInputError if the memory obviously does not suffice."""
    if size.weights + size.images > FACTOR * size.memory:
        raise InvalidInputError(
            f"the weights take at least {_gigabytes(size.weights)}, the images {_gigabytes(size.images)}, "
            f"and there are {_gigabytes(size.memory)} of memory; {ACCEPTED}"
        )


def described(size: Size, config: Mapping[str, Any]) -> str:
    """Describes a study's size in a line."""
    images = size.steps * config["train"]["batch_size"]
    return (
        f"{config['trials']} x {config['cycles']} cycles, at most {size.steps:,} steps or {images:,} images; "
        f"images and weights take {_gigabytes(size.images + size.weights)} of {_gigabytes(size.memory)}, "
        "training takes more"
    )


def _memory(devices: Mesh) -> int:
    device = devices.local_devices[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.{0 if count >= 1e10 else 1 if count >= 1e9 else 3}f} GB"
