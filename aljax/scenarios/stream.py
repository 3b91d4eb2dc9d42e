"""Queries on arrival: images come one at a time, and each is queried or let go.

A policy sets a threshold before an image arrives, from the past alone; the image is queried if
its score lies above it. Nothing is queried once the budget is spent. Scores are those of a query
strategy, higher is more uncertain, and thresholds are in their units: -1 to 0 for `margin`,
0 to 1 for `least_confidence` and `random`, nats for `entropy`, and for `learning_loss` whatever
its module predicts.

Shapes: M images in the stream, in the order of their arrival.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aljax.scoring import Scale


class Settings(NamedTuple):
    """Holds the settings of all policies; each reads its own."""

    threshold: float = 0.0  # of the fixed policy, in units of the score
    step: float = 0.01  # s, by which the variable threshold moves, as a share of it
    window: float = 100.0  # w, images over which the variable policy counts what it spent


class Passage(NamedTuple):
    """Records what was queried of a stream, and the thresholds."""

    queried: jax.Array  # [M] bool
    thresholds: jax.Array  # on each arrival, [M] float32; inf takes nothing, -inf takes anything


class Moment(NamedTuple):
    """Holds what is known before an image arrives, beside the scores before it; scalars."""

    passed: jax.Array  # images before it
    left: jax.Array  # of the budget
    budget: jax.Array
    size: int  # M


class Policy(NamedTuple):
    """Defines a policy by three functions; `memory` is whatever it keeps of the past."""

    begin: Callable[[int], Any]  # M -> memory
    threshold: Callable[[Any, Moment, Settings], jax.Array]
    learn: Callable[[Any, Moment, Settings, jax.Array, jax.Array], Any]  # ..., score, queried -> memory


def fixed() -> Policy:
    """Returns the policy of one threshold for all images."""
    return Policy(
        begin=lambda size: (),
        threshold=lambda memory, moment, settings: jnp.float32(settings.threshold),
        learn=lambda memory, moment, settings, score, queried: memory,
    )


class Spending(NamedTuple):
    """Holds the memory of the variable policy; scalars."""

    theta: jax.Array  # the confidence below which an image is queried
    spent: jax.Array  # queries, each worth (1 - 1/w)^age


def variable(scale: Scale) -> Policy:
    """Returns the policy of a threshold that adapts to the budget.

    It is a threshold on confidence, which the scale of the scores defines; it falls with every query
    and rises with every image let go. While spent/w < B/M, an image of confidence below theta is queried:

        theta <- theta (1 - s)  if queried,  else  theta (1 + s);   theta = 1 at first
        spent <- spent (w - 1)/w + 1 if queried

    While spent/w >= B/M, nothing is queried and theta stays.

    Source: Zliobaite, Bifet, Pfahringer & Holmes, "Active Learning With Drifting Streaming
    Data", IEEE TNNLS 25(1), 2014, the variable uncertainty strategy.
    """

    def may_spend(memory, moment, settings):
        return memory.spent / settings.window < moment.budget / moment.size

    def threshold(memory, moment, settings):
        return jnp.where(may_spend(memory, moment, settings), scale.score(memory.theta), jnp.inf)

    def learn(memory, moment, settings, score, queried):
        factor = jnp.where(queried, 1 - settings.step, 1 + settings.step)
        theta = jnp.where(may_spend(memory, moment, settings), memory.theta * factor, memory.theta)
        return Spending(theta, memory.spent * ((settings.window - 1) / settings.window) + queried)

    return Policy(lambda size: Spending(jnp.float32(1), jnp.float32(0)), threshold, learn)


def quantile() -> Policy:
    """Returns the policy that queries an image among the highest share q of all scores up to its own.

    q = left/remaining is the share of the images still to come, this one included, that the budget
    allows. With n images past, an image is queried if its score is above the r-th highest of theirs,
    r = floor((n + 1) q), which makes it one of the r highest of n + 1. In random order that has a
    probability of at most q, and none for the first 1/q - 1 images, which are only observed. Once q
    is 1, all are queried: the whole budget is spent in every stream.
    """

    def threshold(memory, moment, settings):
        rank = moment.left * (moment.passed + 1) // (moment.size - moment.passed)
        return jnp.where(rank > 0, memory[rank - 1], jnp.inf)

    def learn(memory, moment, settings, score, queried):
        row = jnp.arange(moment.size)
        place = jnp.sum(memory >= score)
        return jnp.where(row < place, memory, jnp.where(row == place, score, jnp.roll(memory, 1)))

    return Policy(lambda size: jnp.full(size, -jnp.inf), threshold, learn)  # scores, highest first


POLICIES: dict[str, Callable[[Scale], Policy]] = {
    "fixed": lambda scale: fixed(),
    "variable": variable,
    "quantile": lambda scale: quantile(),
}


@partial(jax.jit, static_argnames=("policy", "scale"))
def query(scores: jax.Array, budget: jax.Array, settings: Settings, *, policy: str, scale: Scale) -> Passage:
    """Queries at most `budget` images of a stream.

    Args:
      scores: in the order of arrival, higher is more uncertain, [M] float32.
      budget: B, a scalar; B M is below 2^31.
      settings: of the policies.
      policy: a key of `POLICIES`.
      scale: of the scores, as the strategy declares it; the variable policy reads it.

    Returns:
      Whether each image was queried, and the threshold it met, [M] each.
    """
    (size,) = scores.shape
    rules = POLICIES[policy](scale)

    def arrive(carry, score):
        memory, passed, left = carry
        moment = Moment(passed, left, budget, size)
        threshold = jnp.where(left > 0, rules.threshold(memory, moment, settings), jnp.inf)
        queried = score > threshold
        memory = rules.learn(memory, moment, settings, score, queried)
        return (memory, passed + 1, left - queried), Passage(queried, threshold)

    start = rules.begin(size), jnp.int32(0), jnp.asarray(budget, jnp.int32)
    return jax.lax.scan(arrive, start, scores)[1]


def seen(passage: Passage, budget: int) -> int:
    """Counts the images up to the one that spent the budget, itself included; or all, M."""
    spent = np.cumsum(passage.queried)
    return int(np.sum(spent < budget)) + bool(spent[-1] == budget)
