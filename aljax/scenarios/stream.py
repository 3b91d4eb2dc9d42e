"""Labels asked for on arrival: images come one at a time, and each is queried or let go.

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


class Settings(NamedTuple):
    """What the policies are told; each takes what concerns it."""

    threshold: float = 0.0  # of the fixed policy, in units of the score
    step: float = 0.01  # s, by which the variable threshold moves, as a share of it
    window: float = 100.0  # w, images over which the variable policy counts what it spent


class Passage(NamedTuple):
    """What became of a stream."""

    queried: jax.Array  # [M] bool
    thresholds: jax.Array  # on each arrival, [M] float32; inf takes nothing, -inf takes anything


class Moment(NamedTuple):
    """What is known before an image arrives, beside the scores that were; scalars."""

    passed: jax.Array  # images before it
    left: jax.Array  # of the budget
    budget: jax.Array
    size: int  # M


class Policy(NamedTuple):
    """A policy as three functions; `memory` is whatever it keeps of the past."""

    begin: Callable[[int], Any]  # M -> memory
    threshold: Callable[[Any, Moment, Settings], jax.Array]
    learn: Callable[[Any, Moment, Settings, jax.Array, jax.Array], Any]  # ..., score, queried -> memory


class Scale(NamedTuple):
    """How confident a score is: a falling map to positive numbers, 1 where nothing is in doubt."""

    confidence: Callable[[jax.Array], jax.Array]
    score: Callable[[jax.Array], jax.Array]  # its inverse


# Of the strategies that score each image by itself. The confidence of Zliobaite et al. is the
# probability of the likeliest class. Scores without a highest value are taken as logarithms:
# exp(-H) is 1/k for k equally likely classes, and exp(-loss) the probability of the true class.
PROBABILITY = Scale(lambda score: 1 - score, lambda confidence: 1 - confidence)
GAP = Scale(jnp.negative, jnp.negative)
LOGARITHM = Scale(lambda score: jnp.exp(-score), lambda confidence: -jnp.log(confidence))
SCALES = {
    "random": PROBABILITY,
    "least_confidence": PROBABILITY,
    "margin": GAP,
    "entropy": LOGARITHM,
    "learning_loss": LOGARITHM,
    "bald": LOGARITHM,
    "vote_entropy": LOGARITHM,
}


def fixed() -> Policy:
    """The same threshold for every image."""
    return Policy(
        begin=lambda size: (),
        threshold=lambda memory, moment, settings: jnp.float32(settings.threshold),
        learn=lambda memory, moment, settings, score, queried: memory,
    )


class Spending(NamedTuple):
    """The memory of the variable policy; scalars."""

    theta: jax.Array  # the confidence below which an image is queried
    spent: jax.Array  # queries, each worth (1 - 1/w)^age


def variable(scale: Scale) -> Policy:
    """A threshold on confidence that falls with every query and rises with every image let go.

    While spent/w < B/M, an image of confidence below theta is queried:

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
    """An image above the (1 - q) quantile of all scores so far is queried, q being left/remaining.

    With n images past, its own score must be above the (floor(n q) + 1)-th highest of theirs. As
    q is the share of the images still to come that the budget still allows, the whole budget is
    spent in every stream.
    """

    def threshold(memory, moment, settings):
        rank = moment.left * moment.passed // (moment.size - moment.passed)
        return memory[jnp.minimum(rank, moment.size - 1)]

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


@partial(jax.jit, static_argnames=("policy", "strategy"))
def query(scores: jax.Array, budget: jax.Array, settings: Settings, *, policy: str, strategy: str) -> Passage:
    """Lets a stream pass by, and queries at most `budget` of its images.

    Args:
      scores: in the order of arrival, higher is more uncertain, [M] float32.
      budget: B, a scalar; B M is below 2^31.
      settings: of the policies.
      policy: a key of `POLICIES`.
      strategy: whose scores they are; sets the scale of the variable policy, for a name that is
        not in `SCALES` that of a logarithm.

    Returns:
      Whether each image was queried, and the threshold it met, [M] each.
    """
    (size,) = scores.shape
    rules = POLICIES[policy](SCALES.get(strategy, LOGARITHM))

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
    """How many images arrived before the budget was spent, the last one queried included; or all, M."""
    spent = jnp.cumsum(passage.queried)
    return int(jnp.sum(spent < budget)) + bool(spent[-1] == budget)
