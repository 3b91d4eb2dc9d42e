"""Labeled images that judge a model, and are no part of what it is trained on.

Shapes: n labeled images, B in a batch.
"""

import jax
import numpy as np


def hold_out(key: jax.Array, batch: np.ndarray, fraction: float, labeled: int, held: int) -> np.ndarray:
    """Which images of a new batch are held out, for good: so many that `fraction` of all labeled ones are.

    Args:
      key: a key.
      batch: indices, [B].
      fraction: in [0, 1).
      labeled: how many images are labeled, the batch included.
      held: how many of those before it are held out.

    Returns:
      Some of the batch, at random, [round(fraction labeled) - held] int32.
    """
    count = max(0, round(fraction * labeled) - held)
    return np.asarray(jax.random.permutation(key, batch), np.int32)[:count]


def folds(key: jax.Array, labeled: np.ndarray, count: int) -> list[np.ndarray]:
    """The labeled images [n], at random, in `count` parts whose sizes differ by one at most."""
    return np.array_split(np.asarray(jax.random.permutation(key, labeled), np.int32), count)


def without(labeled: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The labeled images that are not held out, in the order of labeling."""
    return labeled[~np.isin(labeled, held)]
