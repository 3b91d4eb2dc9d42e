"""K-means: all starts at once, so that a pass over the points serves each of them.

Shapes: P points, D dimensions, S starts, k clusters, K rows of centers (k and room), T trials.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-4  # of the points' mean variance: centers that moved less in all stand still (scikit-learn's)
FEW_POINTS = 64  # the least length to which points are padded


class Partition(NamedTuple):
    """Holds the clusters of the best start."""

    labels: np.ndarray  # of each point, [P] int32
    centers: np.ndarray  # [k, D] float32


class Lloyd(NamedTuple):
    """Holds what changes while centers move."""

    iteration: jax.Array
    centers: jax.Array  # [S, K, D]
    labels: jax.Array  # [S, P] int32
    apart: jax.Array  # squared distance of each point to the center of its label, [S, P]
    moves: jax.Array  # whether a start goes on, [S] bool


def k_means(points: np.ndarray, num_clusters: int, seed: int, starts: int, iterations: int) -> Partition:
    """Clusters points by Lloyd's algorithm, from the best of several starts of greedy k-means++.

    A cluster that loses all of its points takes the point that is farthest from its center.

    Args:
      points: [P, D].
      num_clusters: k, from 1 to the number of different points.
      seed: below 2**32.
      starts: how many, S.
      iterations: the most of them.

    Returns:
      The clusters of the start whose points are nearest to their centers.

    Source: Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 1982.
    """
    rows, count, origin = _prepared(points)
    centers, _ = _plus_plus(seed, rows, count, num_clusters, starts)
    tolerance = TOLERANCE * float(np.mean(np.var(points, axis=0)))
    number = np.int32(num_clusters)
    labels, centers = _lloyd(rows, count, number, centers, np.float32(tolerance), np.int32(iterations))
    return Partition(np.asarray(labels)[: len(points)], np.asarray(centers)[:num_clusters] + origin)


def first_centers(points: np.ndarray, num_clusters: int, seed: int, starts: int) -> np.ndarray:
    """Draws centers by greedy k-means++; of several starts, the one whose points are nearest to them.

    A step draws 2 + ln k points in proportion to the squared distance to the nearest center, and keeps the
    one that lowers the sum of these most.

    Args:
      points: [P, D].
      num_clusters: k, from 1 to P.
      seed: below 2**32.
      starts: how many, S.

    Returns:
      Centers, [k, D] float32.

    Source: Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007, with several
    trials a step as in their code, and in scikit-learn.
    """
    rows, count, origin = _prepared(points)
    centers, potentials = _plus_plus(seed, rows, count, num_clusters, starts)
    return np.asarray(centers[np.asarray(potentials).argmin(), :num_clusters]) + origin


def padded(count: int, least: int = FEW_POINTS) -> int:
    """Rounds a count up to one of four lengths in each doubling, so that few traces serve all counts."""
    step = max(least, 1 << max(count - 1, 1).bit_length()) // 4
    return max(least, -(-count // (step // 2)) * (step // 2))


def _prepared(points):
    """Returns points from their mean and padded, how many are points, and the mean."""
    origin = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = np.zeros((padded(len(points)), points.shape[1]), np.float32)
    rows[: len(points)] = points - origin
    return jnp.asarray(rows), np.int32(len(points)), origin


def _plus_plus(seed, rows, count, num_clusters, starts):
    """Returns centers [S, K, D] and the sums of squared distances to the nearest of them, [S]."""
    room = padded(num_clusters, 8)
    trials = 2 + int(np.log(num_clusters))
    key = jax.random.key(np.uint32(seed))
    return _drawn(key, rows, count, np.int32(num_clusters), starts=starts, room=room, trials=trials)


@partial(jax.jit, static_argnames=("starts", "room", "trials"))
def _drawn(key, rows, count, num_clusters, *, starts, room, trials):
    squares = jnp.sum(rows**2, axis=1)
    valid = jnp.arange(len(rows)) < count
    start = jnp.arange(starts)
    first_key, key = jax.random.split(key)

    def nearer(index, nearest):
        """Returns the squared distances [S, T, P] to the nearest center, with each of the points more."""
        products = _products(rows[index.reshape(-1)], rows).reshape(*index.shape, -1)
        apart = jnp.maximum(squares[index][..., None] - 2 * products + squares, 0)
        return jnp.minimum(nearest[:, None], jnp.where(valid, apart, 0))

    def body(i, carry):
        chosen, nearest = carry
        total = jnp.cumsum(nearest, axis=1)
        drawn = jax.random.uniform(jax.random.fold_in(key, i), (starts, trials)) * total[:, -1:]
        index = jax.vmap(partial(jnp.searchsorted, side="right"))(total, drawn)
        index = jnp.minimum(index, count - 1).astype(jnp.int32)
        found = nearer(index, nearest)
        best = jnp.argmin(jnp.sum(found, axis=2), axis=1)
        return chosen.at[:, i].set(index[start, best]), found[start, best]

    first = jax.random.randint(first_key, (starts, 1), 0, count)
    nearest = nearer(first, jnp.full((starts, len(rows)), jnp.inf))[:, 0]
    chosen = jnp.zeros((starts, room), jnp.int32).at[:, 0].set(first[:, 0])
    chosen, nearest = jax.lax.fori_loop(1, num_clusters, body, (chosen, nearest))
    return rows[chosen], jnp.sum(nearest, axis=1)


@jax.jit
def _lloyd(rows, count, num_clusters, centers, tolerance, iterations):
    """Returns the labels [P] and the centers [K, D] of the best start, of centers [S, K, D]."""
    starts, room, _ = centers.shape
    squares = jnp.sum(rows**2, axis=1)
    valid = jnp.arange(len(rows)) < count
    used = jnp.arange(room) < num_clusters

    def assigned(centers):
        products = _products(centers.reshape(starts * room, -1), rows).reshape(starts, room, -1)
        apart = jnp.sum(centers**2, axis=2)[..., None] - 2 * products
        apart = jnp.where(used[:, None], apart, jnp.inf)
        nearest = jnp.maximum(jnp.min(apart, axis=1) + squares, 0)
        return jnp.argmin(apart, axis=1).astype(jnp.int32), jnp.where(valid, nearest, -1)

    def members(labels):
        return (labels[:, None] == jnp.arange(room)[:, None]) & valid  # [S, K, P]

    def refilled(labels, apart):
        """Gives each cluster without points one of those that are farthest from their centers."""
        _, farthest = jax.lax.top_k(apart, min(room, len(rows)))
        empty = used & ~jnp.any(members(labels), axis=2)
        place = jnp.take_along_axis(farthest, jnp.cumsum(empty, axis=1) - 1, axis=1, mode="clip")
        place = jnp.where(empty, place, len(rows))
        return jax.vmap(lambda labels, place: labels.at[place].set(jnp.arange(room), mode="drop"))(
            labels, place
        )

    def body(state):
        own = members(state.labels)
        labels = jax.lax.cond(
            jnp.any(used & ~jnp.any(own, axis=2)),
            refilled,
            lambda labels, _: labels,
            state.labels,
            state.apart,
        )
        own = members(labels).astype(jnp.float32)
        sums = _products(own.reshape(starts * room, -1), rows.T).reshape(starts, room, -1)
        means = sums / jnp.maximum(jnp.sum(own, axis=2), 1)[..., None]
        centers = jnp.where(state.moves[:, None, None], means, state.centers)
        labels, apart = assigned(centers)
        moved = jnp.sum((centers - state.centers) ** 2, axis=(1, 2)) > tolerance
        moves = moved & jnp.any(labels != state.labels, axis=1)
        return Lloyd(state.iteration + 1, centers, labels, apart, moves)

    start = Lloyd(jnp.int32(0), centers, *assigned(centers), jnp.ones(starts, bool))
    end = jax.lax.while_loop(lambda state: jnp.any(state.moves) & (state.iteration < iterations), body, start)
    best = jnp.argmin(jnp.sum(end.apart, axis=1))
    return end.labels[best], end.centers[best]


def _products(left, right):
    return jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
