"""Reasons to doubt a cycle's numbers: what was not learned, or was chosen by nothing but chance.

Shapes: K classes.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

FAR = 2.0  # times ln K: a test loss above it is worse than that of a model which knows nothing


def doubts(line: Mapping[str, Any], labeled: np.ndarray, test: np.ndarray, drawn: int = 0) -> list[str]:
    """Returns a sentence for each reason why a cycle's numbers cannot mean anything.

    Args:
      line: the cycle's record: `accuracy` in [0, 1], `test_loss` and `train_loss` in nats, `budget`, and
        `ties`, how many images have the score of the last one of the batch.
      labeled: how many labeled images each class has, [K].
      test: how many test images each class has, [K].
      drawn: how many images of the batch were drawn among ties.

    Returns:
      The sentences; none where there is nothing to doubt.
    """
    log_classes = math.log(len(test))
    found = []
    chance = test.max() / test.sum()
    noise = 2 * math.sqrt(chance * (1 - chance) / test.sum())  # two standard errors of the accuracy
    if line["accuracy"] <= chance + noise:
        found.append(
            f"the accuracy of {line['accuracy']:.1%} is no better than chance: "
            f"{chance:.1%} of the test images are of one class"
        )
    if line["test_loss"] > FAR * log_classes:
        found.append(
            f"the test loss of {line['test_loss']:.2f} is far above ln {len(test)} = {log_classes:.2f}, "
            "that of equal probabilities"
        )
    if line["train_loss"] >= log_classes:
        found.append(
            f"the training loss of {line['train_loss']:.2f} has not fallen below ln {len(test)} = "
            f"{log_classes:.2f}, that of equal probabilities"
        )
    if drawn > line["budget"] / 2:
        found.append(
            f"{drawn} of the batch of {line['budget']} were drawn among {line['ties']} images of equal score"
        )
    if np.count_nonzero(labeled) == 1:
        found.append("all labeled images are of one class")
    return found
