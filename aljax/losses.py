"""The two losses of Learning Loss: of the classifier, and of the module that predicts it.

Shapes: B examples (even), K classes.
"""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Returns the loss of each example, in nats.

        -(1 - smoothing) * log p(label) - smoothing * mean_k log p_k

    Args:
      logits: unnormalized log probabilities, [B, K].
      labels: classes, [B] int.
      smoothing: the share of the target that is spread evenly over all classes.

    Returns:
      The losses, [B].

    Raises:
      ValueError: if the shapes are not [B, K] and [B].

    Source: Szegedy et al., CVPR 2016, section 7 (smoothing).
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"cross_entropy takes logits [B, K] and labels [B], not {logits.shape} and {labels.shape}"
        )
    log_probs = jax.nn.log_softmax(logits)
    loss = -jnp.take_along_axis(log_probs, labels[:, None], axis=-1)[:, 0]
    if smoothing:
        loss = (1 - smoothing) * loss - smoothing * log_probs.mean(axis=-1)
    return loss


def class_weights(labels: jax.Array, num_classes: int) -> jax.Array:
    """Returns weights in inverse proportion to the images of each class, with a mean of 1 over them.

        w_k = n / (m n_k),   m the number of classes that have images

    Args:
      labels: classes, [L] int; what is below 0 does not count.
      num_classes: K.

    Returns:
      [K]; 0 for a class without images.

    Source: King & Zeng, "Logistic Regression in Rare Events Data", Political Analysis 9(2), 2001.
    """
    counts = jax.nn.one_hot(labels, num_classes).sum(axis=0)
    present = counts > 0
    return jnp.where(present, counts.sum() / (present.sum() * jnp.maximum(counts, 1)), 0)


def ranking_loss(predicted: jax.Array, target: jax.Array, margin: float = 1.0) -> jax.Array:
    """Returns the hinge loss of ranking the true losses by the predicted ones.

    Example i is paired with example j = B-1-i. Over the B/2 pairs, the mean of

        max(0, margin - s * (predicted_i - predicted_j)),   s = +1 if target_i > target_j else -1

    Args:
      predicted: predicted losses, [B].
      target: true losses, [B]; no gradient flows into them.
      margin: the lead that the greater of a pair must have, in units of `predicted`.

    Returns:
      The ranking loss, a scalar.

    Raises:
      ValueError: if the shapes are not both [B], or B is odd.

    Source: Yoo & Kweon, CVPR 2019, equation 2 (pairs as in section 3.3).
    """
    if predicted.ndim != 1 or target.shape != predicted.shape:
        raise ValueError(
            f"ranking_loss takes predicted and target [B], not {predicted.shape} and {target.shape}"
        )
    if predicted.shape[0] % 2:
        raise ValueError(f"ranking_loss pairs examples: {predicted.shape[0]} is an odd number of them")
    half = predicted.shape[0] // 2
    target = jax.lax.stop_gradient(target)
    lead = (predicted - predicted[::-1])[:half]
    sign = jnp.where(target > target[::-1], 1.0, -1.0)[:half]
    return jnp.mean(jnp.maximum(0.0, margin - sign * lead))
