"""Metrics of a classifier beside accuracy, by name: what a config may ask of each cycle's model.

Shapes: N images with known classes, K classes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

BINS = 15  # of confidence, for the calibration error


def class_accuracy(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the share of each class's images that are classified as such, its recall, [K].

    Args:
      log_probs: log probabilities of the classes, [N, K].
      labels: classes, [N] int.

    Returns:
      [K]; nan for a class without images.
    """
    count = np.bincount(labels, minlength=log_probs.shape[1])
    correct = np.bincount(labels[log_probs.argmax(axis=1) == labels], minlength=log_probs.shape[1])
    return np.where(count > 0, correct / np.maximum(count, 1), np.nan)


def balanced_accuracy(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean accuracy over the classes that have images.

    Source: Brodersen, Ong, Stephan & Buhmann, "The Balanced Accuracy and Its Posterior Distribution",
    ICPR 2010.
    """
    return float(np.nanmean(class_accuracy(log_probs, labels)))


def negative_log_likelihood(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean of -log p(label), in nats: `test_loss` under its other name."""
    return float(-log_probs[np.arange(len(labels)), labels].mean(dtype=float))


def calibration_error(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """Returns the expected calibration error, in [0, 1].

        sum_b |B_b| / N * |accuracy(B_b) - confidence(B_b)|

    The bins ((b - 1) / 15, b / 15] hold the images by their confidence, the probability of the likeliest
    class.

    Source: Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    confidence = np.exp(log_probs.max(axis=1).astype(float))
    correct = log_probs.argmax(axis=1) == labels
    bins = np.clip(np.ceil(BINS * confidence).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, correct - confidence, BINS)  # |B_b| times the gap of each bin
    return float(np.abs(gaps).sum() / len(labels))


SCALARS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "balanced_accuracy": balanced_accuracy,
    "nll": negative_log_likelihood,
    "ece": calibration_error,
}
PER_CLASS = "per_class_accuracy"
NAMES = (*SCALARS, PER_CLASS)


def measured(
    names: Iterable[str], log_probs: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Returns some metrics by name, as a line of cycles.jsonl holds them.

    Args:
      names: of `NAMES`.
      log_probs: log probabilities of the classes, [N, K].
      labels: classes, [N] int.
      class_names: [K].

    Returns:
      A number of each, or None without images; of the accuracy per class a dictionary by class, in which
      it is None for a class without images.
    """
    found: dict[str, Any] = {}
    for name in names:
        if name == PER_CLASS:
            values = class_accuracy(log_probs, labels).tolist()
            found[name] = {
                of: None if value != value else value for of, value in zip(class_names, values, strict=True)
            }
        else:
            found[name] = SCALARS[name](log_probs, labels) if len(labels) else None
    return found
