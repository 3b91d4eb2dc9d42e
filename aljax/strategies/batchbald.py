"""BatchBALD: the batch whose classes together tell most about which model of the ensemble is right.

What is known of the models, given classes of the images chosen so far, is the posterior over the E members
in each configuration of those classes. While there are at most S = 1024 configurations they are all kept,
with their probabilities; from then on S of them are drawn, a member's share from each, and every further
image adds a class drawn from the configuration's member.

A batch tells at most log E nats, which few images do where E is small: what is left of the budget is then
drawn. The information of an image falls with every other chosen, so that what it was bounds what it is: a
few images of the highest bounds are looked at for each choice. Where configurations are drawn, the bound
holds on average alone, and an image that noise has set back may be overlooked.

Shapes: M images, E members, K classes, S configurations, B the budget, F images looked at at once.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aljax import scoring
from aljax.ops.extremes import argmax
from aljax.strategies.base import NO_SCORES, Selection, View, each, needs, tie_order

CONFIGURATIONS = 1024  # S
AT_ONCE = 64  # F
NOTHING = 1e-5  # nats, and fewer: what rounding leaves

TINY = 1e-30  # keeps 0 log 0 at 0


class Batch(NamedTuple):
    """Holds what is known after some images."""

    posterior: jax.Array  # of the members in each configuration, [S, E]
    share: jax.Array  # probability of each configuration, [S]
    possible: jax.Array  # configurations that may occur; above S, they are drawn
    chosen: jax.Array  # positions, and -1 behind them, [M] int32
    free: jax.Array  # [M] bool
    bound: jax.Array  # of the information of each image, [M]
    current: jax.Array  # whether it is the information itself, [M] bool


@needs("member_log_probs")
def batchbald(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects greedily the images of the highest joint mutual information with the model; no scores.

        I(y_1 .. y_B; model) = H(y_1 .. y_B) - sum_i mean_e H(y_i | e)

    Source: Kirsch, van Amersfoort & Gal, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep
    Bayesian Active Learning", NeurIPS 2019, algorithm 1 and section 3.2, with the members of an ensemble as
    samples of the posterior.

    Raises:
      ValueError: if a probability is not finite.
    """
    assert view.member_log_probs is not None
    if not bool(jnp.isfinite(jnp.exp(view.member_log_probs)).all()):
        raise ValueError("a member's probabilities are not finite")
    order = tie_order(key, view.subset_size)
    found = np.asarray(_choose(key, view.member_log_probs[:, order], np.int32(budget)))
    known = found[found >= 0]
    rest = np.delete(np.arange(view.subset_size), known)[: budget - len(known)]  # of a random order
    note = ""
    if len(rest):
        note = (
            f"{len(known)} images tell all there is to know of the models; the other {len(rest)} are random"
        )
    return Selection(order[np.append(known, rest)].astype(np.int32), NO_SCORES, note)


@jax.jit
def _choose(key, log_probs, budget):
    """Returns the positions of the at most B images of any information, and -1 behind them, [M] int32."""
    probs = jnp.exp(log_probs)
    size = probs.shape[1]
    own_entropy = jax.vmap(jax.vmap(scoring.entropy))(log_probs)
    at_once = min(AT_ONCE, size)

    def look(batch):
        """Brings the bounds of some images up to date, of the highest that are not."""
        _, place = jax.lax.top_k(jnp.where(batch.current | ~batch.free, -jnp.inf, batch.bound), at_once)
        information = _information(batch, probs[:, place], own_entropy[:, place])
        return batch._replace(
            bound=batch.bound.at[place].set(information), current=batch.current.at[place].set(True)
        )

    def best_of(batch):
        return argmax(jnp.where(batch.free, batch.bound, -jnp.inf))

    def go_on(carry):
        i, batch = carry
        return (i < budget) & (batch.bound[best_of(batch)] > NOTHING)

    def take(carry):
        i, batch = carry
        best = best_of(batch)
        batch = _extended(jax.random.fold_in(key, i), batch, probs[:, best])
        batch = batch._replace(
            chosen=batch.chosen.at[i].set(best),
            free=batch.free.at[best].set(False),
            current=jnp.zeros(size, bool),
        )
        return i + 1, jax.lax.while_loop(lambda batch: ~batch.current[best_of(batch)], look, batch)

    start = Batch(
        posterior=jnp.full((CONFIGURATIONS, len(probs)), 1 / len(probs)),
        share=jnp.zeros(CONFIGURATIONS).at[0].set(1),
        possible=jnp.float32(1),
        chosen=jnp.full(size, -1, jnp.int32),
        free=jnp.ones(size, bool),
        bound=each(scoring.bald, log_probs, image_axis=1),
        current=jnp.ones(size, bool),
    )
    return jax.lax.while_loop(go_on, take, (jnp.int32(0), start))[1].chosen


def _information(batch, probs, own_entropy):
    """Returns what each image's class tells of the models beside the batch's classes, in nats, [F].

    It is the mean over configurations of H(sum_e w_e p_e) - sum_e w_e H(p_e), with the posterior w; never
    below 0, as each of them.

    Args:
      batch: of the configurations.
      probs: of the classes, [E, F, K].
      own_entropy: the entropy of the class by each member, [E, F].
    """
    mixed = jnp.einsum("se,efk->sfk", batch.posterior, probs, precision=jax.lax.Precision.HIGHEST)
    entropies = -jnp.sum(mixed * jnp.log(jnp.maximum(mixed, TINY)), axis=-1)
    return batch.share @ entropies - (batch.share @ batch.posterior) @ own_entropy


def _extended(key, batch, probs):
    """Adds an image's class, of probs [E, K], to every configuration."""
    members, classes = probs.shape
    count = batch.possible * classes
    own = jnp.arange(CONFIGURATIONS) % members  # the member that a drawn configuration is of
    first_key, label_key = jax.random.split(key)

    def enumerated(batch):
        row = jnp.arange(CONFIGURATIONS)
        joint = batch.posterior[row // classes] * probs[:, row % classes].T
        total = joint.sum(axis=1)
        share = jnp.where(row < count, batch.share[row // classes] * total, 0)
        return joint / jnp.maximum(total, TINY)[:, None], share

    def first_drawn(batch):
        of_members = jnp.log(batch.share[:, None] * batch.posterior)[:, own]
        return batch.posterior[jax.random.categorical(first_key, of_members, axis=0)]

    def drawn(batch):
        enumerates = batch.possible <= CONFIGURATIONS
        posterior = jax.lax.cond(enumerates, first_drawn, lambda batch: batch.posterior, batch)
        label = jax.random.categorical(label_key, jnp.log(probs[own]))
        joint = posterior * probs[:, label].T
        return joint / joint.sum(axis=1, keepdims=True), jnp.full(CONFIGURATIONS, 1 / CONFIGURATIONS)

    posterior, share = jax.lax.cond(count <= CONFIGURATIONS, enumerated, drawn, batch)
    return batch._replace(posterior=posterior, share=share, possible=count)
