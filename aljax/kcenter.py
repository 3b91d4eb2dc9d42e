"""Greedy k-center: the images that cover the data best.

Shapes: P points, D dimensions, M candidates, L centers to begin with, m rows on one device.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

CENTERS_AT_ONCE = 128  # of the centers to begin with, so that memory stays m x 128


def k_center_greedy(
    features: ArrayLike,
    is_center: ArrayLike,
    is_candidate: ArrayLike,
    budget: int,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Takes, `budget` times, the candidate farthest from its nearest center, and makes it a center.

    Distances are Euclidean, in float32 whatever the backend's default; ties go to the lowest
    index. With no center to begin with, the first to be taken is the candidate nearest to the
    candidates' mean. Memory is P x D: there is no matrix of points by points.

    Args:
      features: [P, D].
      is_center: the points that are centers to begin with, [P] bool.
      is_candidate: the points that may be taken, [P] bool; a center may be one of them.
      budget: how many to take, at least 1.
      mesh: one-dimensional; over its devices the candidates are spread. None: one device.

    Returns:
      Indices of points in the order in which they were taken, [budget] int32.

    Raises:
      ValueError: if shapes disagree, the budget is not in 1..M, or a feature is not finite.

    Source: Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
    Approach", ICLR 2018, algorithm 1.
    """
    features = jnp.asarray(features, jnp.float32)
    center_rows = np.flatnonzero(np.asarray(is_center, bool))
    candidate_rows = np.flatnonzero(np.asarray(is_candidate, bool))
    if features.ndim != 2 or {np.shape(is_center), np.shape(is_candidate)} != {features.shape[:1]}:
        raise ValueError(
            f"features [P, D], is_center [P] and is_candidate [P] have shapes "
            f"{features.shape}, {np.shape(is_center)} and {np.shape(is_candidate)}"
        )
    if not 1 <= budget <= len(candidate_rows):
        raise ValueError(f"budget is {budget}; accepted: 1 to {len(candidate_rows)}, the candidates")
    if not jnp.isfinite(features).all():
        raise ValueError("features hold a value that is not finite")
    if mesh is None:
        mesh = Mesh(np.array(jax.devices()[:1]), ("row",))
    candidates = np.full(-(-len(candidate_rows) // mesh.size) * mesh.size, -1, np.int32)
    candidates[: len(candidate_rows)] = candidate_rows
    centers = np.zeros(len(features), np.int32)
    centers[: len(center_rows)] = center_rows
    return _greedy(features, candidates, centers, np.int32(len(center_rows)), budget=budget, mesh=mesh)


@partial(jax.jit, static_argnames=("budget", "mesh"))
def _greedy(features, candidates, centers, num_centers, *, budget, mesh):
    """The whole selection; `candidates` [M] end in -1, `centers` [P] count up to `num_centers`."""
    rows = PartitionSpec(mesh.axis_names[0])
    select = partial(_greedy_on_device, budget=budget, axis=mesh.axis_names[0])
    return jax.shard_map(
        select,
        mesh=mesh,
        in_specs=(PartitionSpec(), rows, PartitionSpec(), PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=False,
    )(features, candidates, centers, num_centers)


def _greedy_on_device(features, candidates, centers, num_centers, *, budget, axis):
    points = features[candidates]
    valid = candidates >= 0
    mean = _mean(points, valid, axis)
    distances = _nearest(points, features, centers, num_centers, mean)
    device = jax.lax.axis_index(axis)

    def take(priority, distances):
        """Takes the candidate of highest priority, of all devices; lowers the distances to it."""
        priority = jnp.where(valid, priority, -jnp.inf)  # a device may hold nothing but padding
        best = jnp.argmax(priority)
        offers = jax.lax.all_gather((priority[best], candidates[best], points[best]), axis)
        winner = jnp.argmax(offers[0])
        distances = jnp.minimum(distances, _squared_distance(points, offers[2][winner]))
        taken = (jnp.arange(len(points)) == best) & (device == winner)
        return offers[1][winner], jnp.where(taken, -jnp.inf, distances)

    def body(i, carry):
        selected, distances = carry
        index, distances = take(distances, distances)
        return selected.at[i].set(index), distances

    first, distances = take(
        jnp.where(num_centers > 0, distances, -_squared_distance(points, mean)),
        distances,
    )
    selected = jnp.zeros(budget, jnp.int32).at[0].set(first)
    return jax.lax.fori_loop(1, budget, body, (selected, distances))[0]


def _squared_distance(points, center):
    return jnp.sum((points - center) ** 2, axis=-1)


def _mean(points, valid, axis):
    total = jax.lax.psum(jnp.sum(jnp.where(valid[:, None], points, 0), axis=0), axis)
    return total / jax.lax.psum(jnp.sum(valid), axis)


def _nearest(points, features, centers, num_centers, origin):
    """The squared distance of each point to its nearest center, [m]; infinity where there is none.

    Matrix products find the nearest, measured from `origin` [D] among the points, as their
    rounding grows with the distance from there; the nearest one's distance is then taken from
    the difference, which is exact for duplicates where |a|^2 - 2 ab + |b|^2 is not.
    """
    shifted = points - origin
    square = jnp.sum(shifted**2, axis=-1)
    centers = jnp.pad(centers, (0, -len(centers) % CENTERS_AT_ONCE))

    def body(block, carry):
        shortest, nearest = carry
        start = block * CENTERS_AT_ONCE
        index = jax.lax.dynamic_slice(centers, (start,), (CENTERS_AT_ONCE,))
        chosen = features[index] - origin
        products = jnp.matmul(shifted, chosen.T, precision=jax.lax.Precision.HIGHEST)
        lengths = square[:, None] - 2 * products + jnp.sum(chosen**2, axis=-1)
        lengths = jnp.where(start + jnp.arange(CENTERS_AT_ONCE) < num_centers, lengths, jnp.inf)
        column = jnp.argmin(lengths, axis=1)
        length = jnp.take_along_axis(lengths, column[:, None], axis=1)[:, 0]
        closer = length < shortest
        return jnp.where(closer, length, shortest), jnp.where(closer, index[column], nearest)

    start = jnp.full(len(points), jnp.inf), jnp.zeros(len(points), jnp.int32)
    blocks = (num_centers + CENTERS_AT_ONCE - 1) // CENTERS_AT_ONCE
    _, nearest = jax.lax.fori_loop(0, blocks, body, start)
    distances = jnp.sum((points - features[nearest]) ** 2, axis=-1)
    return jnp.where(num_centers > 0, distances, jnp.inf)
