"""Which images are labeled, and which may be chosen next.

Shapes: N images in the pool, M in a sub-pool, B in a batch, n labeled so far.
"""

from typing import NamedTuple

import jax
import numpy as np


class Pool(NamedTuple):
    """The images of the training split, some of them labeled."""

    size: int  # N
    labeled: np.ndarray  # [n] int32, in the order of labeling


def unlabeled(size: int) -> Pool:
    """A pool of `size` images of which none is labeled."""
    return Pool(size, np.empty(0, np.int32))


def draw_subset(key: jax.Array, pool: Pool, subset_size: int) -> np.ndarray:
    """Draws the sub-pool: a uniform sample, without replacement, of the unlabeled images.

    Args:
      key: a key.
      pool: the pool.
      subset_size: M.

    Returns:
      Indices of unlabeled images in rising order, [M] int32.

    Raises:
      ValueError: if fewer than M images are unlabeled.
    """
    free = pool.size - len(pool.labeled)
    if subset_size > free:
        raise ValueError(f"a sub-pool of {subset_size} is more than the {free} unlabeled images")
    draws = np.array(jax.random.uniform(key, (pool.size,)))
    draws[pool.labeled] = np.inf
    return np.sort(np.argsort(draws, kind="stable")[:subset_size]).astype(np.int32)


def label(pool: Pool, batch: np.ndarray) -> Pool:
    """The pool after the oracle labeled `batch` [B].

    Raises:
      ValueError: if an image is in the batch twice, already labeled, or not in the pool.
    """
    labeled = np.concatenate([pool.labeled, np.asarray(batch, np.int32)])
    if len(np.unique(labeled)) != len(labeled):
        raise ValueError("a batch holds an image that is already labeled, or one image twice")
    if len(labeled) and not 0 <= labeled.min() <= labeled.max() < pool.size:
        raise ValueError(f"a batch holds an index outside 0..{pool.size - 1}")
    return Pool(pool.size, labeled)


def known_labels(pool: Pool, labels: np.ndarray, capacity: int) -> np.ndarray:
    """Returns the classes of the labeled images out of all `labels` [N], then -1: [capacity] int32."""
    return np.pad(labels[pool.labeled], (0, capacity - len(pool.labeled)), constant_values=-1)


def padded(pool: Pool, capacity: int) -> np.ndarray:
    """The labeled indices, followed by zeros up to `capacity` of them: [capacity] int32."""
    return np.pad(pool.labeled, (0, capacity - len(pool.labeled)))
