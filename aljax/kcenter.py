"""Greedy k-center: the images that cover the data best.

A new center can only lower a candidate's distance to its nearest center, so a distance taken
earlier bounds today's from above. Only the front, the candidates of the highest bounds, is kept
up to date with every pick, in memory small enough for a cache. The farthest candidate is in the
front as long as it is farther than any bound outside; then a new front is drawn, and is brought
up to date with the centers that it has not met. So most rows are read once or twice in a search
and not once for every pick, and the selection is the same. On an accelerator, where asking whether
a new front is due takes longer than reading `AT_EVERY_PICK`, all candidates are the front up to that.

Shapes: P points, D dimensions, M candidates, L centers to begin with, m candidates on one
device, F of them in the front.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.typing import ArrayLike

from aljax.ops.distances import power_of_two
from aljax.ops.extremes import argmin
from aljax.runtime.mesh import everywhere, put

CENTERS_AT_ONCE = 128  # in a matrix product
FIRST_LOOK = 1 / 8  # of the centers to begin with: a bound for every candidate
AT_EVERY_PICK = 2**28  # bytes of candidates, which an accelerator reads in some 0.1 ms


class Effort(NamedTuple):
    """Counts what a search has read, summed over the devices."""

    fronts: jax.Array  # fronts that were drawn
    rows: jax.Array  # rows of candidates
    center_rows: jax.Array  # rows of centers, for the candidates to meet


class Front(NamedTuple):
    """Holds the candidates of the highest bounds, up to date with every center."""

    place: jax.Array  # among the candidates of the device, [F] int32
    rows: jax.Array  # [F, D]
    distance: jax.Array  # squared, to the nearest center; -inf for what is taken, [F]
    floor: jax.Array  # the highest bound outside
    floor_place: jax.Array  # the lowest place outside with that bound


class State(NamedTuple):
    """Holds what changes while a device selects."""

    front: Front
    bound: jax.Array  # of squared distances; those in the front as when it was drawn, [m]
    met: jax.Array  # how many centers the bound has taken into account, [m] int32
    centers: jax.Array  # as indices of points, in the order in which they became centers
    effort: Effort


def k_center_greedy(
    features: ArrayLike,
    is_center: ArrayLike,
    is_candidate: ArrayLike,
    budget: int,
    mesh: Mesh | None = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """Takes, `budget` times, the candidate farthest from its nearest center, and makes it a center.

    Distances are Euclidean, in float32 whatever the backend's default and at any scale of the
    features; ties go to the lowest index, or are drawn from a key. With no center to begin with, the
    first to be taken is the candidate nearest to the candidates' mean. Beside the features, memory is
    F x D: there is no matrix of points by points.

    Args:
      features: [P, D].
      is_center: the points that are centers to begin with, [P] bool.
      is_candidate: the points that may be taken, [P] bool; a center may be one of them.
      budget: how many to take, at least 1.
      mesh: one-dimensional; over its devices the candidates are spread, and each has a copy of the
        features. None: one device. The result does not depend on their number.
      key: draws among candidates that are equally far. None: the lowest index is taken.

    Returns:
      Indices of points in the order in which they were taken, [budget] int32.

    Raises:
      ValueError: if shapes disagree, the budget is not in 1..M, or a feature is not finite.

    Source: Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
    Approach", ICLR 2018, algorithm 1.
    """
    return search(features, is_center, is_candidate, budget, mesh, key=key)[0]


def search(
    features: ArrayLike,
    is_center: ArrayLike,
    is_candidate: ArrayLike,
    budget: int,
    mesh: Mesh | None = None,
    front_size: int | None = None,
    key: jax.Array | None = None,
) -> tuple[jax.Array, Effort]:
    """Runs `k_center_greedy` and counts what it read; F is by default `default_front`."""
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
    largest = float(_largest(features))
    if not np.isfinite(largest):
        raise ValueError("features hold a value that is not finite")
    features = features * power_of_two(largest)
    if key is not None:  # of candidates that tie, the first one wins
        candidate_rows = np.asarray(jax.random.permutation(key, candidate_rows))
    if mesh is None:
        mesh = Mesh(np.array(jax.devices()[:1]), ("row",))
    candidates = np.full(-(-len(candidate_rows) // mesh.size) * mesh.size, -1, np.int32)
    candidates[: len(candidate_rows)] = candidate_rows
    centers = np.zeros(len(features) + budget + CENTERS_AT_ONCE, np.int32)
    centers[: len(center_rows)] = center_rows
    on_each = len(candidates) // mesh.size
    front_size = min(on_each, front_size or default_front(on_each, features.shape[1], mesh))
    count = np.int32(len(center_rows))
    rows = put(features, everywhere(mesh))
    return _greedy(rows, candidates, centers, count, budget=budget, mesh=mesh, front_size=front_size)


def default_front(candidates: int, dimensions: int, mesh: Mesh) -> int:
    """Returns F for m candidates of D dimensions on each device: m/32 within 256 to 4,096, or all of them."""
    if mesh.devices.flat[0].platform != "cpu" and 4 * candidates * dimensions <= AT_EVERY_PICK:
        return candidates
    return min(max(candidates // 32, 256), 4096)


@jax.jit
def _largest(features):
    return jnp.abs(features).max(initial=0)


@partial(jax.jit, static_argnames=("budget", "mesh", "front_size"))
def _greedy(features, candidates, centers, num_centers, *, budget, mesh, front_size):
    """Runs the whole search; `candidates` end in -1, of `centers` the first `num_centers` count."""
    weight = jnp.zeros(len(features)).at[candidates].add(candidates >= 0)
    mean = jnp.matmul(weight, features, precision=jax.lax.Precision.HIGHEST) / jnp.sum(weight)
    first = jax.lax.cond(num_centers > 0, lambda *_: jnp.int32(-1), _nearest, features, candidates, mean)
    unknown = jnp.where((num_centers > 0) | (candidates == first), jnp.inf, jnp.finfo(jnp.float32).max)
    bound = jnp.where(candidates >= 0, unknown, -jnp.inf)
    axis = mesh.axis_names[0]
    everywhere, spread = PartitionSpec(), PartitionSpec(axis)
    return jax.shard_map(
        partial(_greedy_on_device, budget=budget, front_size=front_size, axis=axis),
        mesh=mesh,
        in_specs=(everywhere, spread, spread, everywhere, everywhere, everywhere),
        out_specs=everywhere,
        check_vma=False,
    )(features, candidates, bound, centers, num_centers, mean)


def _nearest(features, candidates, point):
    length = _difference(features, point)[candidates]
    return candidates[jnp.argmin(jnp.where(candidates >= 0, length, jnp.inf))]


def _greedy_on_device(features, candidates, bound, centers, num_centers, mean, *, budget, front_size, axis):
    size = len(candidates)
    device = jax.lax.axis_index(axis)
    meet = partial(_meet, features, mean)
    looks = -(-size // front_size)
    looked_at = jnp.ceil(num_centers * FIRST_LOOK).astype(jnp.int32)

    def look(block, bound):
        """Lets a block of candidates meet the first centers."""
        place = jnp.minimum(block * front_size, size - front_size) + jnp.arange(front_size)
        return bound.at[place].set(meet(features[candidates[place]], bound[place], centers, 0, looked_at))

    def draw(count, state):
        """Makes the candidates of the highest bounds the front; they meet the centers new to them."""
        front, bound, met, centers, effort = state
        bound = bound.at[front.place].set(front.distance)
        met = met.at[front.place].set(count)
        highest, place = jax.lax.top_k(jnp.append(bound, -jnp.inf), front_size + 1)
        rows = features[candidates[place[:-1]]]
        begin = jnp.min(met[place[:-1]])
        distance = meet(rows, highest[:-1], centers, begin, count)
        front = Front(place[:-1], rows, distance, highest[-1], place[-1])
        more = Effort(1, front_size, count - begin)
        return State(front, bound, met, centers, jax.tree.map(jnp.add, effort, more))

    def farthest(front):
        distance = jnp.max(front.distance)
        return distance, jnp.min(jnp.where(front.distance == distance, front.place, size))

    def outdone(state):
        """Returns whether a candidate outside the front may come before the farthest in it."""
        front = state.front
        distance, place = farthest(front)
        return (distance < front.floor) | ((distance == front.floor) & (place > front.floor_place))

    def take(i, state):
        """Makes a center of the farthest candidate of all devices; lowers the front's distances."""
        count = num_centers + i
        if front_size < size:
            state = jax.lax.while_loop(outdone, partial(draw, count), state)
        front = state.front
        distance, place = farthest(front)
        offers = jax.lax.all_gather((distance, candidates[place]), axis)
        winner = jnp.argmax(offers[0])
        index = offers[1][winner]
        distance = jnp.minimum(front.distance, _difference(front.rows, features[index]))
        taken = (front.place == place) & (device == winner)
        front = front._replace(distance=jnp.where(taken, -jnp.inf, distance))
        return state._replace(front=front, centers=state.centers.at[count].set(index))

    nothing = Front(
        place=jnp.full(front_size, size),  # out of range: what is written there is dropped
        rows=jnp.zeros((front_size, features.shape[1])),
        distance=jnp.full(front_size, -jnp.inf),
        floor=jnp.inf,
        floor_place=jnp.int32(0),
    )
    effort = Effort(jnp.int32(0), jnp.int32(looks * front_size), looks * looked_at)
    bound = jax.lax.fori_loop(0, looks, look, bound)
    state = State(nothing, bound, jnp.full(size, looked_at), centers, effort)
    if front_size == size:  # once and for all: no candidate is outside
        state = draw(num_centers, state)
    state = jax.lax.fori_loop(0, budget, take, state)
    selected = jax.lax.dynamic_slice(state.centers, (num_centers,), (budget,))
    return selected, jax.lax.psum(state.effort, axis)


def _difference(rows, others):
    """Returns the squared distances of rows [F, D] to one point each, or to one [D]; 0 for duplicates."""
    return jnp.sum((rows - others) ** 2, axis=-1)


def _meet(features, origin, rows, bound, centers, begin, end):
    """Lowers each row's bound to the squared distance to the nearest of the centers `begin` to `end`, [F].

    Matrix products, measured from `origin` among the points and with their worst rounding
    allowed for, rule out the centers that are not nearer than the bound; the others' distances
    are taken from the difference. So the outcome is the least of all the differences, to the
    bit, in whatever portions and company a row meets the centers.
    """
    shifted = rows - origin
    square = jnp.sum(shifted**2, axis=-1, keepdims=True)
    rounding = (features.shape[1] + 8) * jnp.finfo(jnp.float32).eps
    column = jnp.arange(CENTERS_AT_ONCE)

    def portion(carry):
        begin, bound = carry
        index = jax.lax.dynamic_slice(centers, (begin,), (CENTERS_AT_ONCE,))
        chosen = features[index] - origin
        products = jnp.matmul(shifted, chosen.T, precision=jax.lax.Precision.HIGHEST)
        chosen_square = jnp.sum(chosen**2, axis=-1)
        slack = rounding * (jnp.sqrt(square) + jnp.sqrt(chosen_square)) ** 2
        least = square - 2 * products + chosen_square - slack
        least = jnp.where(jnp.isnan(least), -jnp.inf, least)  # of numbers too large; rules nothing out
        least = jnp.where(begin + column < end, least, jnp.inf)

        def compare(carry):
            bound, least = carry
            first = argmin(least)
            bound = jnp.minimum(bound, _difference(rows, features[index[first]]))
            return bound, jnp.where(column == first[:, None], jnp.inf, least)

        def undecided(carry):
            bound, least = carry
            return jnp.any(least < bound[:, None])

        return begin + CENTERS_AT_ONCE, jax.lax.while_loop(undecided, compare, (bound, least))[0]

    return jax.lax.while_loop(lambda carry: carry[0] < end, portion, (begin, bound))[1]
