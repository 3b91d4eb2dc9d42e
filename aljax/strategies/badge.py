"""BADGE: a batch of gradients that are large and unlike each other.

The gradient of the loss with respect to the last layer, were the model's own prediction the
label, is an outer product: g = (p - onehot(argmax p)) h^T. No such product is ever formed, as
lengths and distances between them follow from their two factors.

Shapes: M images, K classes, D features, B the budget.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from aljax.ops.distances import power_of_two
from aljax.runtime.mesh import everywhere, here, put, spread
from aljax.strategies.base import NO_SCORES, Selection, View, needs

EXPONENT = 24  # each factor is scaled to 2^24: products of four of them stay within float32


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
      center: c, a position, a scalar.

    Returns:
      [M], none below 0.
    """
    s, t = left - left[center], right - right[center]
    of_right, of_t = jnp.sum(right**2, axis=1), jnp.sum(t**2, axis=1)
    lengths = (
        jnp.sum(s**2, axis=1) * of_right
        + jnp.sum(left[center] ** 2) * of_t
        + jnp.sum(s * left[center], axis=1) * (of_right - of_right[center] + of_t)
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
    row = jnp.arange(len(left))

    def gumbel(i):
        noise = jax.random.gumbel(jax.random.fold_in(key, i), (count,))
        return jnp.pad(noise, (0, len(row) - count))

    def body(i, carry):
        chosen, free, nearest = carry
        last = chosen[i - 1]
        nearest = jnp.minimum(nearest, squared_distances(left, right, last))
        free = free & (row != last)
        weights = jnp.where(free, nearest, 0)
        weights = jnp.where(weights.max() > 0, weights, free)
        # The largest of log w + Gumbel noise falls on each image in proportion to its w.
        drawn = jnp.argmax(jnp.where(weights > 0, jnp.log(weights) + gumbel(i), -jnp.inf))
        return chosen.at[i].set(drawn), free, nearest

    lengths = jnp.where(row < count, jnp.sum(left**2, axis=1) * jnp.sum(right**2, axis=1), -1)
    first = jnp.argmax(jnp.where(lengths == lengths.max(), gumbel(0), -jnp.inf))
    chosen = jnp.zeros(budget, jnp.int32).at[0].set(first)
    start = chosen, row < count, jnp.full(len(row), jnp.inf)
    return jax.lax.fori_loop(1, budget, body, start)[0]
