"""How much each image is worth asking about: one score per example, higher is more uncertain.

Each score is written for one example; `jax.vmap` makes it one for many.

Shapes: K classes, E models of an ensemble.
"""

import jax
import jax.numpy as jnp


def least_confidence(log_probs: jax.Array) -> jax.Array:
    """1 - max_k p_k: how far the likeliest class is from certain.

    Args:
      log_probs: log probabilities of the classes, [K].

    Returns:
      A scalar in [0, 1 - 1/K].

    Source: Settles, "Active Learning Literature Survey", 2009, section 3.1 (Lewis & Gale, 1994).
    """
    return -jnp.expm1(log_probs.max())


def margin(log_probs: jax.Array) -> jax.Array:
    """-(p_(1) - p_(2)): minus the gap between the two likeliest classes.

    Args:
      log_probs: log probabilities of the classes, [K], K at least 2.

    Returns:
      A scalar in [-1, 0].

    Source: Scheffer, Decomain & Wrobel, IDA 2001; Settles, 2009, section 3.1.
    """
    first, second = jnp.exp(jax.lax.top_k(log_probs, 2)[0])
    return second - first


def entropy(log_probs: jax.Array) -> jax.Array:
    """-sum_k p_k log p_k, in nats.

    Args:
      log_probs: log probabilities of the classes, [K]; -inf is a probability of 0.

    Returns:
      A scalar in [0, log K].

    Source: Shannon, 1948; Settles, 2009, section 3.1.
    """
    probs = jnp.exp(log_probs)
    return -jnp.sum(jnp.where(probs > 0, probs * log_probs, 0.0))


def bald(member_log_probs: jax.Array) -> jax.Array:
    """H(mean_e p_e) - mean_e H(p_e): what the class would say about which model is right, in nats.

    Args:
      member_log_probs: log probabilities of the classes from each model of an ensemble, [E, K].

    Returns:
      A scalar in [0, min(log E, log K)]; 0 where all models agree.

    Source: Houlsby, Huszar, Ghahramani & Lengyel, "Bayesian Active Learning for Classification and
    Preference Learning", 2011, equation 2; with a deep ensemble, Beluch et al., CVPR 2018.
    """
    mean = jax.nn.logsumexp(member_log_probs, axis=0) - jnp.log(len(member_log_probs))
    return entropy(mean) - jax.vmap(entropy)(member_log_probs).mean()


def vote_entropy(member_log_probs: jax.Array) -> jax.Array:
    """-sum_k v_k log v_k, in nats: v_k is the share of the models whose likeliest class is k.

    Args:
      member_log_probs: log probabilities of the classes from each model of an ensemble, [E, K];
        a model's tie goes to its lowest class.

    Returns:
      A scalar in [0, min(log E, log K)].

    Source: Dagan & Engelson, "Committee-Based Sampling for Training Probabilistic Classifiers",
    ICML 1995; Settles, 2009, section 3.2.
    """
    votes = jax.nn.one_hot(member_log_probs.argmax(axis=-1), member_log_probs.shape[-1])
    return entropy(jnp.log(votes.mean(axis=0)))
