"""Euclidean distances between points in blocks, so that no matrix of all of them is kept.

Shapes: P and Q points, D dimensions.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 2048  # rows and columns: 16 MiB of distances at a time
ROWS = 512  # whose distances to all others are kept at a time
EXPONENT = 50  # (2 x 2^50)^2, summed over up to 2^23 dimensions, stays within float32


def power_of_two(largest: float, exponent: int = EXPONENT) -> np.float32:
    """Returns the power of 2 that scales `largest` to about 2^exponent, so that its squares fit in float32.

    Multiplying by it is exact, and distances compare as before. 1 for 0; at most 2^126.
    """
    return np.float32(2.0 ** min(exponent - np.frexp(largest)[1], 126)) if largest else np.float32(1)


def blocks(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Computes the distances between `left` [P, D] and `right` [Q, D], block by block.

    Both are measured from the mean of `right`, as the rounding of float32 grows with the
    distance from the origin: two points of equal coordinates may be up to about 1e-3 of
    their distance from there apart.

    Yields:
      Rows of left, rows of right, and the distances between them, [p, q] float32.
    """
    scale = power_of_two(max(np.abs(points).max(initial=0) for points in (left, right)))
    left, right = left * scale, right * scale
    origin = right.mean(axis=0)
    left, right = left - origin, right - origin
    for row in range(0, len(left), BLOCK):
        rows = left[row : row + BLOCK]
        for column in range(0, len(right), BLOCK):
            columns = right[column : column + BLOCK]
            values = np.asarray(_distances(_filled(rows), _filled(columns)))[: len(rows), : len(columns)]
            yield slice(row, row + len(rows)), slice(column, column + len(columns)), values / scale


def nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Computes the distance of each of `points` [P, D] to the nearest of `others` [Q, D], [P] float32.

    On the host, as it compiles nothing, and in one thread, as several wait for each other where other work
    has the cores. Matrix products tell which is the nearest, up to their rounding (see `blocks`); the
    distance to that one is taken from the difference.
    """
    scale = power_of_two(max(np.abs(values).max(initial=0) for values in (points, others)))
    points, others = (np.asarray(values, np.float32) * scale for values in (points, others))
    origin = others.mean(axis=0)
    points, others = points - origin, others - origin
    square, twice = np.sum(others**2, axis=1), -2 * others.T
    found = np.empty(len(points), np.float32)
    with _threads().limit(limits=1, user_api="blas"):
        for row in range(0, len(points), ROWS):
            rows = points[row : row + ROWS]
            apart = rows @ twice
            apart += square
            found[row : row + ROWS] = np.linalg.norm(rows - others[apart.argmin(axis=1)], axis=1)
    return found / scale


@functools.cache
def _threads() -> Any:
    """Returns what controls the threads of NumPy's matrix products; to find them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _filled(points: np.ndarray) -> np.ndarray:
    """Pads points to one of few lengths, so that one trace serves nearly all blocks."""
    length = min(BLOCK, 1 << max(len(points) - 1, 0).bit_length())
    return np.pad(points, ((0, length - len(points)), (0, 0))).astype(np.float32)


@jax.jit
def _distances(left, right):
    products = jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(left**2, axis=1)[:, None] - 2 * products + jnp.sum(right**2, axis=1)
    return jnp.sqrt(jnp.maximum(squares, 0))
