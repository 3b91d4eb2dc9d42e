"""Rules that stop a trial once it has labeled enough; none of them knows the test set.

A history is a trial's lines of cycles.jsonl so far. A rule reads `labeled`, `validation_accuracy`
(on labeled images that the model was not trained on) and `stability` (the kappa of this model's and
the previous model's predictions on images that need no labels; None where there is no evidence).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

History = Sequence[Mapping[str, Any]]


class Rules(NamedTuple):
    """The limits of the rules; a rule whose first number is 0 is off."""

    labels: int = 0  # images labeled, at most
    accuracy: float = 0.0  # on the validation images, in [0, 1], to be reached
    patience: int = 0  # cycles without a gain
    tolerance: float = 0.0  # a gain in validation accuracy is more than this
    stability: float = 0.0  # mean kappa, at most 1, to be reached
    window: int = 3  # cycles that it is the mean over
    batch: int = 0  # images that the next cycle would label; 0: as the last


def label_budget(history: History, rules: Rules) -> str | None:
    """Stops where another batch could exceed the label budget."""
    last = history[-1]
    batch = rules.batch or last["budget"]
    if last["labeled"] + batch <= rules.labels:
        return None
    return f"{last['labeled']} of at most {rules.labels} labeled, and a batch is {batch}"


def accuracy_reached(history: History, rules: Rules) -> str | None:
    """Stops where the validation accuracy is high enough."""
    reached = history[-1]["validation_accuracy"]
    if reached < rules.accuracy:
        return None
    return f"validation accuracy {reached:.4f}, at least {rules.accuracy:g}"


def no_gain(history: History, rules: Rules) -> str | None:
    """Stops where none of the last `patience` cycles beat the best before them by more than `tolerance`."""
    accuracies = [line["validation_accuracy"] for line in history]
    before, last = accuracies[: -rules.patience], accuracies[-rules.patience :]
    if not before or max(last) > max(before) + rules.tolerance:
        return None
    return (
        f"validation accuracy {max(last):.4f} at best in {rules.patience} cycle{'s' * (rules.patience > 1)}, "
        f"{max(before):.4f} before"
    )


def stable_predictions(history: History, rules: Rules) -> str | None:
    """Stops where the mean kappa of successive models over the last `window` cycles is high enough.

    A cycle without a kappa, whose models name one class alone, is no evidence: it stops nothing, and
    neither do the cycles before it.

    Source: Bloodgood & Vijay-Shanker, "A Method for Stopping Active Learning Based on
    Stabilizing Predictions and the Need for User-Adjustable Stopping", CoNLL 2009.
    """
    kappas = [line["stability"] for line in history[-rules.window :]]
    if len(kappas) < rules.window or None in kappas:
        return None
    mean = float(np.mean(kappas))
    if mean < rules.stability:
        return None
    return f"mean kappa {mean:.4f} over {rules.window} cycles, at least {rules.stability:g}"


RULES: dict[str, Callable[[History, Rules], str | None]] = {
    "labels": label_budget,
    "accuracy": accuracy_reached,
    "patience": no_gain,
    "stability": stable_predictions,
}


def asked_for(rules: Rules) -> tuple[str, ...]:
    """Returns the names of the rules that are on."""
    return tuple(name for name in RULES if getattr(rules, name))


def reason(history: History, rules: Rules, cycles: int) -> str | None:
    """Returns the reason why a trial ends with the last cycle of its history; None if it goes on.

    Args:
      history: the trial's lines so far, at least one.
      rules: their limits.
      cycles: the planned number, after which a trial ends in any case.
    """
    for name in asked_for(rules):
        if found := RULES[name](history, rules):
            return f"{name}: {found}"
    return f"cycles: all {cycles}, as planned" if history[-1]["cycle"] == cycles else None


def kappa(a: ArrayLike, b: ArrayLike) -> float | None:
    """Returns Cohen's kappa of two models' predictions: (o - e) / (1 - e).

    o is the share of images on which they agree, e the share expected of independent predictions
    with the same class frequencies. Where both models name the same class for all images, e is 1 and kappa
    is not defined: such models have collapsed, and are no evidence of stability.

    Args:
      a, b: predicted classes, [n] each.

    Returns:
      Kappa, at most 1; None where it is not defined.

    Raises:
      ValueError: if the lengths differ, or are 0.

    Source: Cohen, "A Coefficient of Agreement for Nominal Scales", 1960.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"predictions have shapes {a.shape} and {b.shape}; accepted: one length above 0")
    observed = float(np.mean(a == b))
    classes = np.union1d(a, b)
    if len(classes) == 1:
        return None
    expected = sum(float(np.mean(a == k)) * float(np.mean(b == k)) for k in classes)
    return (observed - expected) / (1 - expected)
