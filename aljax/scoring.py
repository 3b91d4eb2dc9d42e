"""Scores of how uncertain a model is about an image: one per example, higher is more uncertain.

Each score is written for one example; `jax.vmap` makes it one for many.

Shapes: K classes, E models of an ensemble.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Scale(NamedTuple):
    """Maps a score to a confidence: falling, to positive numbers, 1 where nothing is in doubt."""

    confidence: Callable[[jax.Array], jax.Array]
    score: Callable[[jax.Array], jax.Array]  # the inverse


# Confidence is the probability of the likeliest class, as in Zliobaite et al., IEEE TNNLS 2014, or
# what comes nearest to it. Scores without a highest value are taken as logarithms: exp(-H) is 1/k
# for k equally likely classes, and exp(-loss) the probability of the true class.
PROBABILITY = Scale(lambda score: 1 - score, lambda confidence: 1 - confidence)
GAP = Scale(jnp.negative, jnp.negative)
LOGARITHM = Scale(lambda score: jnp.exp(-score), lambda confidence: -jnp.log(confidence))


def least_confidence(log_probs: jax.Array) -> jax.Array:
    """Returns 1 - max_k p_k, the probability that the likeliest class is not the true one.

    Args:
      log_probs: log probabilities of the classes, [K].

    Returns:
      A scalar in [0, 1 - 1/K].

    Source: Settles, "Active Learning Literature Survey", 2009, section 3.1 (Lewis & Gale, 1994).
    """
    return -jnp.expm1(log_probs.max())


def margin(log_probs: jax.Array) -> jax.Array:
    """Returns -(p_(1) - p_(2)), minus the gap between the two likeliest classes.

    Args:
      log_probs: log probabilities of the classes, [K], K at least 2.

    Returns:
      A scalar in [-1, 0].

    Source: Scheffer, Decomain & Wrobel, IDA 2001; Settles, 2009, section 3.1.
    """
    first, second = jnp.exp(jax.lax.top_k(log_probs, 2)[0])
    return second - first


def entropy(log_probs: jax.Array) -> jax.Array:
    """Returns the entropy of the class, -sum_k p_k log p_k, in nats.

    Args:
      log_probs: log probabilities of the classes, [K]; -inf is a probability of 0.

    Returns:
      A scalar in [0, log K].

    Source: Shannon, 1948; Settles, 2009, section 3.1.
    """
    probs = jnp.exp(log_probs)
    return -jnp.sum(jnp.where(probs > 0, probs * log_probs, 0.0))


def bald(member_log_probs: jax.Array) -> jax.Array:
    """Returns the mutual information of class and model, H(mean_e p_e) - mean_e H(p_e), in nats.

    Args:
      member_log_probs: log probabilities of the classes from each model of an ensemble, [E, K].

    Returns:
      A scalar in [0, min(log E, log K)]; 0 where all models agree.

    Source: Houlsby, Huszar, Ghahramani & Lengyel, "Bayesian Active Learning for Classification and
    Preference Learning", 2011, equation 2; with a deep ensemble, Beluch et al., CVPR 2018.
    """
    mean = jax.nn.logsumexp(member_log_probs, axis=0) - jnp.log(len(member_log_probs))
    information = entropy(mean) - jax.vmap(entropy)(member_log_probs).mean()
    return jnp.maximum(information, 0)  # rounding may take it below


def vote_entropy(member_log_probs: jax.Array) -> jax.Array:
    """Returns -sum_k v_k log v_k, in nats; v_k is the share of the models whose likeliest class is k.

    Args:
      member_log_probs: log probabilities of the classes from each model of an ensemble, [E, K];
        a model's tie goes to its lowest class.

    Returns:
      A scalar in [0, min(log E, log K)].

    Source: Dagan & Engelson, "Committee-Based Sampling for Training Probabilistic Classifiers",
    ICML 1995; Settles, 2009, section 3.2.
    """
    votes = jax.nn.one_hot(member_log_probs.argmax(axis=-1), member_log_probs.shape[-1])
    return jnp.maximum(entropy(jnp.log(votes.mean(axis=0))), 0)
