"""Euclidean distances between points in blocks, so that no matrix of all of them is kept.

Shapes: P and Q points, D dimensions.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aljax.ops.extremes import argmin

BLOCK = 2048  # rows and columns: 16 MiB of distances at a time
ROWS = 512  # whose distances to all others are kept at a time
SLACK = 1e-5  # times the largest squared length: what rounding may make of a squared distance
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
    left, right, scale = _measured_from_the_mean(left, right)
    computed = (
        (rows, columns, _distances(_filled(left[rows]), _filled(right[columns])))
        for rows in _portions(len(left))
        for columns in _portions(len(right))
    )
    for rows, columns, block in _one_ahead(computed):
        values = np.asarray(block)[: rows.stop - rows.start, : columns.stop - columns.start]
        yield rows, columns, values / scale


def nearest(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Returns the distance of each point [P, D] to the nearest center [Q, D], [P]; infinity without any."""
    points, centers, scale = _measured_from_the_mean(points, centers)
    values = np.full(len(points), np.inf, np.float32)
    found = [
        (rows, _nearest(_filled(points[rows]), _filled(centers[columns]), columns.stop - columns.start))
        for rows in _portions(len(points))
        for columns in _portions(len(centers))
    ]
    for rows, lengths in found:
        values[rows] = np.minimum(values[rows], np.asarray(lengths)[: rows.stop - rows.start] / scale)
    return values


def nearest_other(points: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Returns the `count` smallest distances of a point to the nearest one of another label, rising.

    Only pairs near a boundary are compared: two points of different labels are apart by the sum of their
    margins at least, the distances to the plane midway between their labels' means.

    Args:
      points: [P, D].
      labels: [P] int, none below 0.
      count: from 1 to P.

    Returns:
      [count] float32; infinity where there is one label only.
    """
    points, _, scale = _measured_from_the_mean(points, points)
    margins = _margins(points, labels)
    order = np.argsort(margins)
    points, labels, margins = points[order], labels[order, None] + 1, margins[order]
    found = np.full(len(points), np.inf, np.float32)
    slack = SLACK * np.square(points).sum(axis=1).max()
    portions = _portions(len(points))
    for last, columns in enumerate(portions):
        for rows in portions[: last + 1]:
            least = max(0, margins[rows.start] + margins[columns.start])
            if least**2 - slack > np.partition(found, count - 1)[count - 1] ** 2:
                break  # so are the rows behind these
            sides = ((_filled(points[side]), _filled(labels[side])[:, 0]) for side in (rows, columns))
            for side, lengths in zip((rows, columns), _nearest_other(*sides), strict=True):
                found[side] = np.minimum(found[side], np.asarray(lengths)[: side.stop - side.start])
    return np.sort(found)[:count] / scale


def _margins(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns how far each point lies on its own side of the planes to other labels, at least, [P]."""
    kinds, kind, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(kinds) == 1:
        return np.zeros(len(points), np.float32)
    with _threads().limit(limits=1, user_api="blas"):  # see `nearest_on_host`
        means = (kind == np.arange(len(kinds))[:, None]).astype(np.float32) @ points / sizes[:, None]
        squares = np.square(means).sum(axis=1) - 2 * points @ means.T
    apart = np.linalg.norm(means[:, None] - means, axis=-1)
    own = np.arange(len(points)), kind
    with np.errstate(divide="ignore", invalid="ignore"):
        margins = (squares - squares[own][:, None]) / (2 * apart[kind])
    margins[~(apart[kind] > 0)] = -np.inf  # no plane lies between means that are the same
    margins[own] = np.inf
    return margins.min(axis=1)


def least(points: np.ndarray) -> float:
    """Returns the least distance between two of the points [P, D]; infinity with fewer than two.

    Products tell which two of a block are the closest, up to their rounding (see `blocks`); how far they are
    apart is taken from their difference.
    """
    near, _, _ = _measured_from_the_mean(points, points)
    portions = _portions(len(points))
    found = [
        _closest(_filled(near[rows]), _filled(near[columns]), rows.start, columns.start, len(points))
        for last, columns in enumerate(portions)
        for rows in portions[: last + 1]
    ]
    pairs = [(int(one), int(other)) for one, other in found if one < other]
    return min(
        (float(np.linalg.norm(np.float64(points[one]) - points[other])) for one, other in pairs),
        default=np.inf,
    )


def balls(points: np.ndarray, count: int, radius: float) -> np.ndarray:
    """Returns bits (i, j), 1 where point j lies in the open ball around i, [count, ceil(P / 8)] uint8.

    Each ball holds its own center in any case.

    Args:
      points: [P, D].
      count: the first so many have a ball.
      radius: of the balls.
    """
    points, _, scale = _measured_from_the_mean(points, points)
    bits = np.zeros((count, -(-len(points) // 8)), np.uint8)
    limit = np.float32(radius * scale)
    blocks = (
        (rows, columns, _within(_filled(points[rows]), _filled(points[columns]), limit))
        for rows in _portions(count)
        for columns in _portions(len(points))
        if rows.start <= columns.start
    )
    for rows, columns, block in _one_ahead(blocks):
        inside = np.asarray(block)[: rows.stop - rows.start, : columns.stop - columns.start]
        for one, other, part in ((rows, columns, inside), (columns, rows, inside.T)):
            packed = np.packbits(part[: max(0, count - one.start)], axis=1)
            start = other.start // 8  # a block starts at a whole byte
            bits[one.start : one.start + len(packed), start : start + packed.shape[1]] |= packed
    row = np.arange(count)
    bits[row, row // 8] |= (128 >> (row % 8)).astype(np.uint8)
    return bits


def _one_ahead(values):
    """Yields values each after the next one was begun, so that it is computed while this one is used."""
    values = iter(values)
    ahead = list(itertools.islice(values, 1))
    for value in values:
        ahead.append(value)
        yield ahead.pop(0)
    yield from ahead


def _measured_from_the_mean(left, right):
    """Returns both scaled, with the mean of `right` as their origin, and the scale."""
    scale = power_of_two(max(np.abs(points).max(initial=0) for points in (left, right)))
    shifted = right * scale
    origin = shifted.mean(axis=0) if len(right) else np.float32(0)
    shifted = shifted - origin
    return shifted if left is right else left * scale - origin, shifted, scale


def _portions(count):
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def nearest_on_host(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Computes the distance of each of `points` [P, D] to the nearest of `others` [Q, D], [P] float32.

    Compiles nothing, and runs in one thread, as several wait for each other where other work has the cores.
    Matrix products tell which is the nearest, up to their rounding (see `blocks`); the distance to that one
    is taken from the difference.
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


def _squares(left, right):
    products = jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(left**2, axis=1)[:, None] - 2 * products + jnp.sum(right**2, axis=1)
    return jnp.maximum(squares, 0)


@jax.jit
def _distances(left, right):
    return jnp.sqrt(_squares(left, right))


@jax.jit
def _nearest(left, right, count):
    squares = jnp.where(jnp.arange(len(right)) < count, _squares(left, right), jnp.inf)
    return jnp.sqrt(jnp.min(squares, axis=1))


@jax.jit
def _closest(left, right, row, column, count):
    """Returns which two are the closest, of points from `row` on and later ones from `column` on."""
    rows, columns = row + jnp.arange(len(left))[:, None], column + jnp.arange(len(right))
    squares = jnp.where((rows < columns) & (columns < count), _squares(left, right), jnp.inf)
    first = argmin(jnp.min(squares, axis=1))
    return row + first, column + argmin(squares[first])


@jax.jit
def _nearest_other(left, right):
    """Returns for either side's points and labels, 0 for none, the distances to the nearest of the other."""
    (left, labels), (right, others) = left, right
    differ = (labels[:, None] != others) & (labels[:, None] > 0) & (others > 0)
    squares = jnp.where(differ, _squares(left, right), jnp.inf)
    return jnp.sqrt(jnp.min(squares, axis=1)), jnp.sqrt(jnp.min(squares, axis=0))


@jax.jit
def _within(left, right, radius):
    return jnp.sqrt(_squares(left, right)) < radius
