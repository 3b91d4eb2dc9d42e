"""Which points lie near which: Euclidean distances in blocks, so that no matrix of all is kept.

Shapes: P and Q points, D dimensions.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 2048  # rows and columns: 16 MiB of distances at a time


def blocks(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """The distances between `left` [P, D] and `right` [Q, D], block by block.

    Both are measured from the mean of `right`, as the rounding of float32 grows with the
    distance from the origin: two points of equal coordinates may be up to about 1e-3 of
    their distance from there apart.

    Yields:
      Rows of left, rows of right, and the distances between them, [p, q] float32.
    """
    origin = right.mean(axis=0)
    left, right = left - origin, right - origin
    for row in range(0, len(left), BLOCK):
        rows = left[row : row + BLOCK]
        for column in range(0, len(right), BLOCK):
            columns = right[column : column + BLOCK]
            values = np.asarray(_distances(_filled(rows), _filled(columns)))[: len(rows), : len(columns)]
            yield slice(row, row + len(rows)), slice(column, column + len(columns)), values


def _filled(points: np.ndarray) -> np.ndarray:
    """Points padded to one of few lengths, so that one trace serves nearly all blocks."""
    length = min(BLOCK, 1 << max(len(points) - 1, 0).bit_length())
    return np.pad(points, ((0, length - len(points)), (0, 0))).astype(np.float32)


@jax.jit
def _distances(left, right):
    products = jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(left**2, axis=1)[:, None] - 2 * products + jnp.sum(right**2, axis=1)
    return jnp.sqrt(jnp.maximum(squares, 0))
