"""K-means: all starts at once, so that a pass over the points serves each of them.

A cluster that neither gains nor loses a point keeps its center, and all points their distances to it. Only
the others are summed and compared anew, which are few in later iterations; the outcome is the same.

Shapes: P points, D dimensions, S starts, k clusters, K rows of centers (k and room), T trials.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-4  # of the points' mean variance: centers that moved less in all stand still (scikit-learn's)
AT_ONCE = 32  # centers that are computed in one product
FEW_POINTS = 64  # the least length to which points are padded


class Partition(NamedTuple):
    """Holds the clusters of the best start."""

    labels: np.ndarray  # of each point, [P] int32
    centers: np.ndarray  # [k, D] float32


class Lloyd(NamedTuple):
    """Holds what changes while centers move."""

    iteration: jax.Array
    centers: jax.Array  # of all starts, one after the other, [S K, D]
    terms: jax.Array  # |c|^2 - 2 x . c of each center and point, [S K, P]
    members: jax.Array  # the labels that the centers are the means of; -1 at first, [S, P] int32
    labels: jax.Array  # the nearest center of its start to each point, [S, P] int32
    apart: jax.Array  # squared distance of each point to it, [S, P]
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


def count_different(points: np.ndarray, most: int) -> int:
    """Counts the different points of [P, D], up to `most`: no more clusters can have points."""
    seen: set[bytes] = set()
    for point in points:
        seen.add((point + 0).tobytes())  # 0 is -0
        if len(seen) == most:
            break
    return len(seen)


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
    start = jnp.arange(starts)[:, None]
    squares = jnp.sum(rows**2, axis=1)
    valid = jnp.arange(len(rows)) < count
    used = jnp.arange(room) < num_clusters

    def terms_of(centers):
        return jnp.sum(centers**2, axis=1, keepdims=True) - 2 * _products(centers, rows)

    def nearest(terms):
        """Returns the label of each point, 0 where there is none, and its squared distance, or -1."""
        terms = jnp.where(used[:, None], terms.reshape(starts, room, -1), jnp.inf)
        apart = jnp.maximum(jnp.min(terms, axis=1) + squares, 0)
        labels = jnp.argmin(terms, axis=1).astype(jnp.int32)
        return jnp.where(valid, labels, 0), jnp.where(valid, apart, -1)

    def sizes_of(labels):
        return jnp.zeros((starts, room)).at[start, labels].add(valid)

    def refilled(labels, apart):
        """Gives each cluster without points one of those that are farthest from their centers."""
        _, farthest = jax.lax.top_k(apart, min(room, len(rows)))
        empty = used & (sizes_of(labels) == 0)
        place = jnp.take_along_axis(farthest, jnp.cumsum(empty, axis=1) - 1, axis=1, mode="clip")
        place = jnp.where(empty, place, len(rows))
        return labels.at[start, place].set(jnp.arange(room), mode="drop")

    def changed(labels, state):
        """Returns which clusters of starts that go on have gained or lost a point, [S, K]."""
        differs = labels != state.members
        none = jnp.zeros((starts, room), bool)
        gained, lost = (none.at[start, old_or_new].max(differs) for old_or_new in (labels, state.members))
        return (gained | lost) & used & state.moves[:, None]

    def renewed(labels, state):
        """Returns the centers with those of changed clusters moved to their means, and all terms."""
        sizes = jnp.maximum(sizes_of(labels), 1).reshape(-1, 1)
        change = changed(labels, state).reshape(-1)
        (places,) = jnp.nonzero(change, size=len(change) + AT_ONCE, fill_value=len(change))

        def renew(i, carry):
            centers, terms = carry
            place = jax.lax.dynamic_slice(places, (i * AT_ONCE,), (AT_ONCE,))
            own = valid & (labels[place // room] == (place % room)[:, None])
            means = _products(own.astype(jnp.float32), rows.T) / sizes[place]
            return (
                centers.at[place].set(means, mode="drop"),
                terms.at[place].set(terms_of(means), mode="drop"),
            )

        portions = (jnp.sum(change) + AT_ONCE - 1) // AT_ONCE
        return jax.lax.fori_loop(0, portions, renew, (state.centers, state.terms))

    def body(state):
        missing = jnp.any(used & (sizes_of(state.labels) == 0))
        members = jax.lax.cond(missing, refilled, lambda labels, _: labels, state.labels, state.apart)
        centers, terms = renewed(members, state)
        labels, apart = nearest(terms)
        steps = jnp.sum((centers - state.centers).reshape(starts, -1) ** 2, axis=1)
        moves = state.moves & (steps > tolerance) & jnp.any(labels != state.labels, axis=1)
        return Lloyd(state.iteration + 1, centers, terms, members, labels, apart, moves)

    centers = centers.reshape(starts * room, -1)
    terms = terms_of(centers)
    nothing = jnp.full((starts, len(rows)), -1)
    begin = Lloyd(jnp.int32(0), centers, terms, nothing, *nearest(terms), jnp.ones(starts, bool))
    end = jax.lax.while_loop(lambda state: jnp.any(state.moves) & (state.iteration < iterations), body, begin)
    best = jnp.argmin(jnp.sum(end.apart, axis=1))
    return end.labels[best], end.centers.reshape(starts, room, -1)[best]


def _products(left, right):
    return jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
