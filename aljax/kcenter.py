"""Greedy k-center: the images that cover the data best.

A new center can only lower a candidate's distance to its nearest center, so a distance taken
earlier bounds today's from above. Only the front, the candidates of the highest bounds, is kept
up to date with every pick, in memory small enough for a cache. The farthest candidate is in the
front as long as it is farther than any bound outside; then a new front is drawn, and is brought
up to date with the centers that it has not met. So most rows are read once or twice in a search
and not once for every pick, and the selection is the same.

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

CENTERS_AT_ONCE = 128  # in a matrix product
FIRST_LOOK = 1 / 8  # of the centers to begin with: a bound for every candidate


class Effort(NamedTuple):
    """What a search has done, summed over the devices."""

    fronts: jax.Array  # fronts that were drawn
    rows: jax.Array  # rows of candidates that were read
    center_rows: jax.Array  # rows of centers that were read
    rounds: jax.Array  # of exact comparisons, each of F candidates with a center


class Front(NamedTuple):
    """The candidates of the highest bounds, up to date with every center."""

    place: jax.Array  # among the candidates of the device, [F] int32
    rows: jax.Array  # [F, D]
    distance: jax.Array  # squared, to the nearest center; -inf for what is taken, [F]
    floor: jax.Array  # the highest bound outside
    floor_place: jax.Array  # the lowest place outside with that bound


class State(NamedTuple):
    """What changes while a device selects."""

    front: Front
    bound: jax.Array  # of squared distances; those in the front as when it was drawn, [m]
    met: jax.Array  # how many centers the bound has taken into account, [m] int32
    effort: Effort


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
    candidates' mean. Beside the features, memory is F x D: there is no matrix of points by points.

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
    return search(features, is_center, is_candidate, budget, mesh)[0]


def search(
    features: ArrayLike,
    is_center: ArrayLike,
    is_candidate: ArrayLike,
    budget: int,
    mesh: Mesh | None = None,
    front_size: int | None = None,
) -> tuple[jax.Array, Effort]:
    """`k_center_greedy`, and what it cost; `front_size` is F, by default chosen by the size of m."""
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
    centers = np.zeros(len(features) + budget + CENTERS_AT_ONCE, np.int32)
    centers[: len(center_rows)] = center_rows
    on_each = len(candidates) // mesh.size
    front_size = min(on_each, front_size or min(max(on_each // 32, 256), 4096))
    return _greedy(
        features,
        candidates,
        centers,
        np.int32(len(center_rows)),
        budget=budget,
        mesh=mesh,
        front_size=front_size,
    )


@partial(jax.jit, static_argnames=("budget", "mesh", "front_size"))
def _greedy(features, candidates, centers, num_centers, *, budget, mesh, front_size):
    """The whole selection; `candidates` [M] end in -1, of `centers` the first `num_centers` count."""
    axis = mesh.axis_names[0]
    origin = _mean(features, candidates)
    without = num_centers == 0
    lead = jax.lax.cond(without, _nearest_to, lambda *_: jnp.int32(-1), features, candidates, origin)
    select = partial(_greedy_on_device, budget=budget, front_size=front_size, axis=axis)
    everywhere, rows = PartitionSpec(), PartitionSpec(axis)
    return jax.shard_map(
        select,
        mesh=mesh,
        in_specs=(everywhere, rows, everywhere, everywhere, everywhere, everywhere),
        out_specs=everywhere,
        check_vma=False,
    )(features, candidates, centers, num_centers, lead, origin)


def _mean(features, candidates):
    weight = jnp.zeros(len(features)).at[candidates].add(candidates >= 0)
    return jnp.matmul(weight, features, precision=jax.lax.Precision.HIGHEST) / jnp.sum(weight)


def _nearest_to(features, candidates, point):
    length = jnp.sum((features - point) ** 2, axis=-1)[candidates]
    return candidates[jnp.argmin(jnp.where(candidates >= 0, length, jnp.inf))]


def _greedy_on_device(features, candidates, centers, num_centers, lead, origin, *, budget, front_size, axis):
    size = len(candidates)

    def meet(rows, bound, centers, start, stop):
        return _meet(features, rows, bound, centers, start, stop, origin)

    # A first look at some of the centers gives every candidate a bound.
    first = jnp.ceil(num_centers * FIRST_LOOK).astype(jnp.int32)

    def look(block, carry):
        bound, effort = carry
        place = jnp.minimum(block * front_size, size - front_size) + jnp.arange(front_size)
        unknown = jnp.full(front_size, jnp.inf)
        found, rounds = meet(features[candidates[place]], unknown, centers, 0, first)
        return bound.at[place].set(found), _add(effort, 0, front_size, first, rounds)

    nothing = Effort(*[jnp.int32(0)] * len(Effort._fields))
    bound, effort = jax.lax.fori_loop(0, -(-size // front_size), look, (jnp.zeros(size), nothing))
    bound = jnp.where(
        num_centers > 0, bound, jnp.where(candidates == lead, jnp.inf, jnp.finfo(jnp.float32).max)
    )
    bound = jnp.where(candidates >= 0, bound, -jnp.inf)

    def draw(state, centers, count):
        """The candidates of the highest bounds become the front, and meet the centers they have not met."""
        front, bound, met, effort = state
        bound = bound.at[front.place].set(front.distance)
        met = met.at[front.place].set(count)
        highest, place = jax.lax.top_k(jnp.append(bound, -jnp.inf), front_size + 1)
        rows = features[candidates[place[:-1]]]
        start = jnp.min(met[place[:-1]])
        distance, rounds = meet(rows, highest[:-1], centers, start, count)
        front = Front(place[:-1], rows, distance, highest[-1], place[-1])
        return State(front, bound, met, _add(effort, 1, front_size, count - start, rounds))

    def farthest(front):
        distance = jnp.max(front.distance)
        return distance, jnp.min(jnp.where(front.distance == distance, front.place, size))

    def uncertain(state):
        front = state.front
        distance, place = farthest(front)
        return (distance < front.floor) | ((distance == front.floor) & (place > front.floor_place))

    device = jax.lax.axis_index(axis)

    def take(i, carry):
        """Takes the farthest candidate of all devices; lowers the front's distances to it."""
        state, centers, selected = carry
        count = num_centers + i
        state = jax.lax.while_loop(uncertain, lambda state: draw(state, centers, count), state)
        front = state.front
        distance, place = farthest(front)
        offers = jax.lax.all_gather((distance, candidates[place]), axis)
        winner = jnp.argmax(offers[0])
        index = offers[1][winner]
        distance = jnp.minimum(front.distance, _difference(front.rows, features, jnp.full(front_size, index)))
        taken = (front.place == place) & (device == winner)
        front = front._replace(distance=jnp.where(taken, -jnp.inf, distance))
        state = state._replace(front=front, effort=_add(state.effort, 0, 0, 1, 1))
        return state, centers.at[count].set(index), selected.at[i].set(index)

    nowhere = jnp.full(front_size, size)  # what is written there is dropped
    no_rows = jnp.zeros((front_size, features.shape[1]))
    front = Front(nowhere, no_rows, jnp.full(front_size, -jnp.inf), jnp.inf, jnp.int32(0))
    state = State(front, bound, jnp.full(size, first), effort)
    carry = state, centers, jnp.zeros(budget, jnp.int32)
    state, _, selected = jax.lax.fori_loop(0, budget, take, carry)
    return selected, jax.lax.psum(state.effort, axis)


def _add(effort, *more):
    return jax.tree.map(jnp.add, effort, Effort(*more))


def _difference(rows, features, index):
    """The squared distance of each row to its own point of `features`, exact for duplicates, [F]."""
    return jnp.sum((rows - features[index]) ** 2, axis=-1)


def _meet(features, rows, bound, centers, start, stop, origin):
    """Lowers each bound to the squared distance of the nearest of the centers `start` to `stop`.

    Matrix products, measured from `origin` among the points and with their worst rounding
    allowed for, rule out the centers that are not nearer than the bound; the others' distances
    are taken from the difference. So what comes out is the least of the differences, as if
    every one of them had been taken, in whatever portions the centers are met.

    Returns:
      The bounds, [F], and the rounds of differences.
    """
    shifted = rows - origin
    square = jnp.sum(shifted**2, axis=-1)
    rounding = (features.shape[1] + 8) * jnp.finfo(jnp.float32).eps

    def portion(carry):
        start, bound, rounds = carry
        index = jax.lax.dynamic_slice(centers, (start,), (CENTERS_AT_ONCE,))
        chosen = features[index] - origin
        products = jnp.matmul(shifted, chosen.T, precision=jax.lax.Precision.HIGHEST)
        chosen_square = jnp.sum(chosen**2, axis=-1)
        slack = rounding * (jnp.sqrt(square)[:, None] + jnp.sqrt(chosen_square)) ** 2
        least = square[:, None] - 2 * products + chosen_square - slack
        least = jnp.where(start + jnp.arange(CENTERS_AT_ONCE) < stop, least, jnp.inf)

        def compare(carry):
            bound, least, rounds = carry
            column = jnp.argmin(least, axis=1)
            bound = jnp.minimum(bound, _difference(rows, features, index[column]))
            return bound, least.at[jnp.arange(len(rows)), column].set(jnp.inf), rounds + 1

        bound, _, rounds = jax.lax.while_loop(
            lambda carry: jnp.any(carry[1] < carry[0][:, None]), compare, (bound, least, rounds)
        )
        return start + CENTERS_AT_ONCE, bound, rounds

    carry = start, bound, jnp.int32(0)
    return jax.lax.while_loop(lambda carry: carry[0] < stop, portion, carry)[1:]
