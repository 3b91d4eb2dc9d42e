"""MaxHerding: the images that cover the others best, softly: by the similarity of each to the nearest.

A choice changes the coverage of few images, those to which it is nearer than any before. Only their
part of each candidate's gain is computed anew, so that a batch reads the similarities of all pairs once,
and then those to an image as often as it finds a nearer one: five times or so without labels, seldom with
many. They are kept up to `MOST_KEPT` bytes, and else computed from the features whenever they are read.

Shapes: M candidates, W of them that count, L the most images ever labeled, D features, B the budget.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aljax.ops.extremes import argmax
from aljax.strategies.base import NO_SCORES, Selection, View, features_of, needs, of_unit_length, tie_order

RADIUS = 1.0  # of the kernel, on features of length 1; the authors' choice for all data sets
AT_ONCE, FEW_AT_ONCE = 512, 16  # images whose similarities to all are computed in one product
MOST_KEPT = 2**29  # bytes of similarities of all pairs: of 11,585 candidates that all count


class Herd(NamedTuple):
    """Holds what changes while candidates are taken."""

    gain: jax.Array  # of each candidate's coverage, [M]
    rounding: jax.Array  # what the sums in `gain` have lost, [M]
    counted: jax.Array  # the coverage of each image that `gain` takes into account; inf: none yet, [W]
    covered: jax.Array  # its coverage now, [W]
    free: jax.Array  # whether it may be taken, [M] bool
    chosen: jax.Array  # positions in the order in which they were taken, and room, [M] int32
    gains: jax.Array  # of those, [M]


@needs("features", "labeled_features")
def maxherding(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects the images whose coverage of the sub-pool gains most, on features of length 1; no scores.

    Source: Bae, Noh & Sutherland, "Generalized Coverage for More Robust Low-Budget Active Learning",
    ECCV 2024, algorithm 1, with the authors' Gaussian kernel of radius 1, but the features of the trained
    network instead of self-supervised ones where none are given.
    """
    candidates, labeled = map(of_unit_length, features_of(view))
    return herded(key, candidates, labeled, np.ones(len(candidates), np.float32), RADIUS, budget)


def herded(
    key: jax.Array,
    candidates: np.ndarray,
    labeled: np.ndarray,
    weights: np.ndarray,
    radius: float,
    budget: int,
    counting: np.ndarray | None = None,
) -> Selection:
    """Takes, B times, the candidate of the greatest gain in weighted coverage; ties are drawn from the key.

        gain(x) = sum_i w_i max(0, k(x_i, x) - max_{s in S} k(x_i, s)),   k(x, y) = exp(-|x - y|^2 / r^2)

    S is the labeled points and what was taken before. Memory is O((M + L) D), and `MOST_KEPT` beside.

    Args:
      key: a key.
      candidates: [M, D], of length 1 at most.
      labeled: [L, D], likewise.
      weights: w, not negative, [M].
      radius: r, above 0.
      budget: from 1 to M.
      counting: positions of the candidates that the sum is of, [W]; None: all.

    Returns:
      The selection; its note counts what was taken without any gain.
    """
    order = tie_order(key, len(candidates))
    origin = candidates.mean(axis=0)  # near which distances round least
    points, centers = (
        jnp.asarray((rows - origin) / radius, jnp.float32) for rows in (candidates[order], labeled)
    )
    place = np.arange(len(points)) if counting is None else np.argsort(order)[counting]
    images = points if counting is None else points[place]
    covered = jnp.zeros(len(images))
    for start in range(0, len(centers), AT_ONCE):
        block = np.minimum(np.arange(start, start + AT_ONCE), len(centers) - 1)
        covered = _covered(images, centers[block], covered)
    keep = 4 * len(images) * len(points) <= MOST_KEPT
    worth = jnp.asarray(weights[order[place]])
    found = _herd(points, images, jnp.asarray(place), covered, worth, np.int32(budget), keep=keep)
    chosen, gains = (np.asarray(one)[:budget] for one in found)
    vain = int(np.sum(gains <= 0))
    note = f"{vain} of {budget} images were drawn among those that cover nothing new" if vain else ""
    return Selection(order[chosen], NO_SCORES, note)


def _similarities(points, others):
    """Returns exp(-|x - y|^2) of points [C, D] and others [M, D], [C, M]."""
    products = jnp.matmul(points, others.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(points**2, axis=1)[:, None] - 2 * products + jnp.sum(others**2, axis=1)
    return jnp.exp(-jnp.maximum(squares, 0))


@jax.jit
def _covered(points, centers, covered):
    return jnp.maximum(covered, _similarities(centers, points).max(axis=0))


@partial(jax.jit, static_argnames="keep")
def _herd(points, images, place, covered, weights, budget, *, keep):
    """Takes the candidates, with their gains, the first B of [M].

    The images [W, D] are those of the points [M, D] at `place` [W], and `covered` [W].
    """
    size, count_of_images = len(points), len(images)
    row = jnp.arange(size)

    def computed(index):
        """Computes the similarities of images to all candidates, [C, M]."""
        return jnp.where(place[index][:, None] == row, 1, _similarities(images[index], points))

    if keep:
        most = -(-count_of_images // AT_ONCE) * AT_ONCE
        blocks = jnp.minimum(jnp.arange(most), count_of_images - 1).reshape(-1, AT_ONCE)
        kept = jax.lax.map(computed, blocks).reshape(-1, size)

    def similarities_of(index):
        return kept[index] if keep else computed(index)

    def similarities_to(candidate):
        """Returns those of all images to one candidate, [W]."""
        if keep and count_of_images == size:
            return kept[candidate]
        return jnp.where(place == candidate, 1, _similarities(points[candidate][None], images)[0])

    def counted(width, state):
        """Counts the coverage of up to `width` images that the gains do not take into account yet."""
        stale = state.counted != state.covered
        (index,) = jnp.nonzero(stale, size=width, fill_value=count_of_images)
        values = similarities_of(index)
        fetch = partial(jnp.take, indices=index, mode="fill")
        before, now = fetch(state.counted, fill_value=jnp.inf), fetch(state.covered, fill_value=jnp.inf)
        more = jnp.maximum(values - now[:, None], 0) - jnp.maximum(values - before[:, None], 0)
        more = fetch(weights, fill_value=0) @ more
        more = more - state.rounding  # Kahan's summation, as the gains fall by orders of magnitude
        gain = state.gain + more
        return state._replace(
            gain=gain,
            rounding=(gain - state.gain) - more,
            counted=state.counted.at[index].set(now, mode="drop"),
        )

    def missing(state):
        return jnp.sum(state.counted != state.covered)

    def count(state):
        few = missing(state) <= 2 * FEW_AT_ONCE
        return jax.lax.cond(few, partial(counted, FEW_AT_ONCE), partial(counted, AT_ONCE), state)

    def take(i, state):
        state = jax.lax.while_loop(lambda state: missing(state) > 0, count, state)
        best = argmax(jnp.where(state.free, state.gain, -jnp.inf))
        covered = jnp.maximum(state.covered, similarities_to(best))
        return state._replace(
            covered=covered,
            free=state.free.at[best].set(False),
            chosen=state.chosen.at[i].set(best),
            gains=state.gains.at[i].set(state.gain[best]),
        )

    zeros = jnp.zeros(size)
    nothing = jnp.full(count_of_images, jnp.inf)
    start = Herd(
        gain=zeros,
        rounding=zeros,
        counted=nothing,
        covered=covered,
        free=row >= 0,
        chosen=jnp.zeros(size, jnp.int32),
        gains=zeros,
    )
    end = jax.lax.fori_loop(0, budget, take, start)
    return end.chosen, end.gains
