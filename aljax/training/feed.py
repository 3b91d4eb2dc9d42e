"""Brings images from the host to the devices: all that a training reads, or portions that are predicted.

The data set stays on the host, in memory or mapped from a file; rows are read where they are asked for.

Shapes: N images in the data set, n images asked for, P in a portion.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import NamedSharding

from aljax.runtime import mesh
from aljax.training.step import Examples

PORTION = 2**26  # bytes of images in a portion; two are on a device at once


class Images(NamedTuple):
    """Images on the host, in memory or mapped from a file, and what standardizes them."""

    images: Any  # [N, H, W, C] uint8, or embeddings [N, D]: an array, or what gives its rows as one does
    labels: np.ndarray  # [N] int32
    mean: np.ndarray  # [C], in units of 0..255, or [D]
    std: np.ndarray  # [C] or [D]


def gathered(examples: Images, rows: np.ndarray, size: int, sharding: NamedSharding) -> Examples:
    """Puts some images on the devices.

    Args:
      examples: the data set, on the host.
      rows: which images, [n].
      size: how many there is room for, at least n; black images of class 0 follow the n.
      sharding: how they lie on the devices.
    """
    images = np.zeros((size, *examples.images.shape[1:]), examples.images.dtype)
    labels = np.zeros(size, np.int32)
    images[: len(rows)] = examples.images[rows]
    labels[: len(rows)] = examples.labels[rows]
    return Examples(*mesh.put((images, labels, examples.mean, examples.std), sharding))


def portions(
    examples: Images, rows: np.ndarray, size: int, chunk: int, sharding: NamedSharding
) -> Iterator[tuple[Examples, np.ndarray, np.int32]]:
    """Yields images in portions of one size, so that what is compiled for one serves all.

    Args:
      examples: the data set, on the host.
      rows: which images, [n]; at least one portion is yielded.
      size: a smaller portion is enough for so many.
      chunk: images in one pass; a portion is a multiple of it, or `size`.
      sharding: how the images lie on the devices.

    Yields:
      Examples on the devices [P], the images' numbers [P], and how many of them count.
    """
    bytes_of_chunk = chunk * examples.images.dtype.itemsize * math.prod(examples.images.shape[1:])
    most = min(size, chunk * max(1, PORTION // bytes_of_chunk))
    for start in range(0, max(len(rows), 1), most):
        own = np.asarray(rows[start : start + most], np.int32)
        numbers = np.pad(own, (0, most - len(own)))
        yield gathered(examples, own, most, sharding), numbers, np.int32(len(own))
