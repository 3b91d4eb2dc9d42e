"""BADGE: a batch of gradients that are large and unlike each other.

The gradient of the loss with respect to the last layer, were the model's own prediction the
label, is an outer product: g = (p - onehot(argmax p)) h^T. No such product is ever formed, as
lengths and distances between them follow from their two factors.

A new center can only lower an image's distance to the nearest one, so that an older distance bounds it from
above, and so does the chance to be drawn. Only the image that is drawn by these bounds is brought up to date,
and drawn again; all of them are at times. The outcome is the same.

Shapes: M images, K classes, D features, B the budget, N recent centers.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from aljax.ops.distances import power_of_two
from aljax.ops.extremes import argmax, argmin
from aljax.runtime.mesh import everywhere, here, of_own_memory, put, spread
from aljax.strategies.base import NO_SCORES, Selection, View, needs

EXPONENT = 24  # each factor is scaled to 2^24: products of four of them stay within float32
MOST_RECENT = 128  # N: centers that not every distance takes into account
MOST_LOOKS = 128  # at single images, before all are brought up to date


class Drawing(NamedTuple):
    """Holds what changes while centers are drawn."""

    chosen: jax.Array  # positions in the order in which they were drawn, and room, [B + N] int32
    free: jax.Array  # [M] bool
    bound: jax.Array  # of the squared distance to the nearest center, [M]
    met: jax.Array  # how many centers the bound takes into account, [M] int32
    met_by_all: jax.Array  # how many every bound takes into account
    looks: jax.Array  # at single images since then


@needs("log_probs", "features", space="model")
def badge(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects by k-means++ on the gradients of the last layer; no scores.

    Source: Ash, Zhang, Krishnamurthy, Langford & Agarwal, "Deep Batch Active Learning by Diverse,
    Uncertain Gradient Lower Bounds", ICLR 2020, algorithm 1.
    """
    assert view.log_probs is not None
    assert view.features is not None
    factors = gradient_factors(view.log_probs, view.features)
    return Selection(np.asarray(k_means_plus_plus(key, *factors, budget, view.mesh)), NO_SCORES)


def gradient_factors(log_probs: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the two factors of each image's gradient embedding.

    Args:
      log_probs: log probabilities of the classes, [M, K].
      features: the last layer's input, [M, D].

    Returns:
      p - onehot(argmax p) [M, K], and the features [M, D].

    Source: Ash et al., ICLR 2020, equation 1.
    """
    predicted = jax.nn.one_hot(log_probs.argmax(axis=-1), log_probs.shape[-1])
    return jnp.exp(log_probs) - predicted, features


def squared_distances(left: jax.Array, right: jax.Array, center: jax.Array) -> jax.Array:
    """Returns |a_i b_i^T - a_c b_c^T|^2 of every i, computed from the factors alone.

    With s = a_i - a_c and t = b_i - b_c the difference is s b_i^T + a_c t^T, so that its squared
    length is |s|^2 |b_i|^2 + |a_c|^2 |t|^2 + (s . a_c) (|b_i|^2 - |b_c|^2 + |t|^2). A duplicate
    has s = 0 and t = 0, and so exactly 0.

    Args:
      left: a, [M, K].
      right: b, [M, D].
      center: c, a position, a scalar; or one for each image, [M].

    Returns:
      [M], none below 0.
    """
    return _apart(left, right, left[center], right[center])


def _apart(a, b, c, d):
    s, t = a - c, b - d
    of_b, of_d, of_t = (jnp.sum(x**2, axis=-1) for x in (b, d, t))
    lengths = (
        jnp.sum(s**2, axis=-1) * of_b
        + jnp.sum(c**2, axis=-1) * of_t
        + jnp.sum(s * c, axis=-1) * (of_b - of_d + of_t)
    )
    return jnp.maximum(lengths, 0)


def k_means_plus_plus(
    key: jax.Array, left: jax.Array, right: jax.Array, budget: int, mesh: Mesh
) -> jax.Array:
    """Draws centers as k-means++ does: each with probability proportional to D^2.

    D is an image's distance to the nearest center so far. The first center is the image of the
    longest gradient; of several, one of them is drawn. Where every image left has D = 0, one of
    them is drawn uniformly.

    Args:
      key: a key.
      left: one factor of the embeddings, [M, K].
      right: the other, [M, D].
      budget: how many to draw, from 1 to M.
      mesh: the images are spread over its devices.

    Returns:
      Positions in the order in which they were drawn, [B] int32, each once.

    Raises:
      ValueError: if a factor is not finite.

    Source: Ash et al., ICLR 2020, algorithm 1, line 5, and the authors' code for the first center;
    Arthur & Vassilvitskii, "k-means++", SODA 2007.
    """
    mesh = of_own_memory(mesh)
    count = len(left)
    missing = -count % mesh.size
    rows = []
    for factor in (left, right):
        largest = float(jnp.abs(factor).max())
        if not np.isfinite(largest):
            raise ValueError("a gradient is not finite")
        rows.append(jnp.pad(factor * power_of_two(largest, EXPONENT), ((0, missing), (0, 0))))
    key, rows = put(key, everywhere(mesh)), put(rows, spread(mesh))
    return here(_draw(key, *rows, count=count, budget=budget))


@partial(jax.jit, static_argnames=("count", "budget"))
def _draw(key, left, right, *, count, budget):
    row, column = jnp.arange(len(left)), jnp.arange(MOST_RECENT)
    squares = jnp.sum(left**2, axis=1) * jnp.sum(right**2, axis=1)
    rounding = (left.shape[1] + right.shape[1] + 16) * jnp.finfo(jnp.float32).eps

    def gumbel(i):
        noise = jax.random.gumbel(jax.random.fold_in(key, i), (count,))
        return jnp.pad(noise, (0, len(row) - count))

    def scores(state, noise):
        """Returns log w + Gumbel noise, whose largest falls on each image in proportion to its w."""
        return jnp.where(state.free & (state.bound > 0), jnp.log(state.bound) + noise, -jnp.inf)

    def recent(state):
        return jax.lax.dynamic_slice(state.chosen, (state.met_by_all,), (MOST_RECENT,))

    def meet_all(total, state):
        """Brings all bounds up to date.

        Matrix products, with their worst rounding allowed for, rule out the centers that are not nearer than
        the bound; the others' distances are taken from the difference.
        """
        index = recent(state)
        products = _products(left, left[index]) * _products(right, right[index])
        slack = rounding * (jnp.sqrt(squares)[:, None] + jnp.sqrt(squares[index])) ** 2
        least = squares[:, None] - 2 * products + squares[index] - slack
        least = jnp.where(state.met_by_all + column < total, least, jnp.inf)

        def compare(carry):
            bound, least = carry
            first = argmin(least)
            bound = jnp.minimum(bound, squared_distances(left, right, index[first]))
            return bound, jnp.where(column == first[:, None], jnp.inf, least)

        def undecided(carry):
            bound, least = carry
            return jnp.any(least < bound[:, None])

        bound, _ = jax.lax.while_loop(undecided, compare, (state.bound, least))
        return state._replace(
            bound=bound, met=jnp.full(len(row), total), met_by_all=total, looks=jnp.int32(0)
        )

    def meet(total, best, state):
        """Brings the bound of one image up to date."""
        index = recent(state)
        apart = _apart(left[best], right[best], left[index], right[index])
        apart = jnp.where(state.met_by_all + column < total, apart, jnp.inf)
        return state._replace(
            bound=state.bound.at[best].min(jnp.min(apart)),
            met=state.met.at[best].set(total),
            looks=state.looks + 1,
        )

    def take(i, state):
        noise = gumbel(i)

        def outdated(carry):
            state, score, best = carry
            return (state.met[best] < i) & (score[best] > -jnp.inf)

        def look(carry):
            state, score, best = carry

            def at_all(state, score):
                state = meet_all(i, state)
                return state, scores(state, noise)

            def at_one(state, score):
                state = meet(i, best, state)
                bound = state.bound[best]
                return state, score.at[best].set(jnp.where(bound > 0, jnp.log(bound) + noise[best], -jnp.inf))

            many = (state.looks >= MOST_LOOKS) | (i - state.met_by_all >= MOST_RECENT)
            state, score = jax.lax.cond(many, at_all, at_one, state, score)
            return state, score, argmax(score)

        score = scores(state, noise)
        state, score, best = jax.lax.while_loop(outdated, look, (state, score, argmax(score)))
        best = jnp.where(score[best] > -jnp.inf, best, argmax(jnp.where(state.free, noise, -jnp.inf)))
        return state._replace(chosen=state.chosen.at[i].set(best), free=state.free.at[best].set(False))

    lengths = jnp.where(row < count, squares, -1)
    first = argmax(jnp.where(lengths == lengths.max(), gumbel(0), -jnp.inf))
    start = Drawing(
        chosen=jnp.zeros(budget + MOST_RECENT, jnp.int32).at[0].set(first),
        free=(row < count) & (row != first),
        bound=squared_distances(left, right, first),
        met=jnp.ones(len(row), jnp.int32),
        met_by_all=jnp.int32(1),
        looks=jnp.int32(0),
    )
    return jax.lax.fori_loop(1, budget, take, start).chosen[:budget]


def _products(left, right):
    return jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
