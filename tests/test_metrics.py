import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax import metrics
from aljax.config import check, fields
from aljax.errors import InvalidInputError
from tests.harness import small

PROBS = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
LABELS = np.array([0, 1, 1, 1])


def test_by_hand():
    # Right, wrong, right, right; of class 0 one of one, of class 1 two of three.
    log_probs = np.log(PROBS)
    np.testing.assert_allclose(metrics.class_accuracy(log_probs, LABELS), [1, 2 / 3])
    assert metrics.balanced_accuracy(log_probs, LABELS) == pytest.approx(5 / 6)
    nll = -np.log([0.9, 0.2, 0.6, 0.7]).mean()
    assert metrics.negative_log_likelihood(log_probs, LABELS) == pytest.approx(nll)
    # Each image has a bin of its own: |1 - 0.9|, |0 - 0.8|, |1 - 0.6| and |1 - 0.7|.
    assert metrics.calibration_error(log_probs, LABELS) == pytest.approx((0.1 + 0.8 + 0.4 + 0.3) / 4)


def test_images_of_one_bin_are_compared_together():
    # 0.61 and 0.65 lie between 9/15 and 10/15: half of them are right.
    log_probs = np.log([[0.61, 0.39], [0.65, 0.35]])
    assert metrics.calibration_error(log_probs, np.array([0, 1])) == pytest.approx(abs(0.5 - 0.63))


def by_loops(log_probs, labels, bins=15):
    total, confidence = 0.0, np.exp(log_probs).max(axis=1)
    for low in np.arange(bins) / bins:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        if inside.any():
            right = (log_probs.argmax(axis=1) == labels)[inside].mean()
            total += inside.mean() * abs(right - confidence[inside].mean())
    return total


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_as_others_define_them(seed, classes):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(classes), 60)
    labels = np.r_[np.arange(classes), rng.integers(0, classes, 60 - classes)]
    log_probs, predicted = np.log(probs), probs.argmax(axis=1)
    recall = sklearn.metrics.recall_score(labels, predicted, average=None, zero_division=0)
    np.testing.assert_allclose(metrics.class_accuracy(log_probs, labels), recall)
    balanced = sklearn.metrics.balanced_accuracy_score(labels, predicted)
    assert metrics.balanced_accuracy(log_probs, labels) == pytest.approx(balanced)
    nll = sklearn.metrics.log_loss(labels, probs)
    assert metrics.negative_log_likelihood(log_probs, labels) == pytest.approx(nll)
    assert metrics.calibration_error(log_probs, labels) == pytest.approx(by_loops(log_probs, labels))


def test_a_line_holds_numbers_and_a_dictionary_of_classes():
    found = metrics.measured(metrics.NAMES, np.log(PROBS), LABELS, ("ant", "bee"))
    assert list(found) == ["balanced_accuracy", "nll", "ece", "per_class_accuracy"]
    assert found["per_class_accuracy"] == {"ant": 1.0, "bee": pytest.approx(2 / 3)}
    assert metrics.measured((), np.log(PROBS), LABELS, ("ant", "bee")) == {}


def test_what_has_no_images_is_unknown():
    found = metrics.measured(metrics.NAMES, np.log(PROBS[:1]), LABELS[:1], ("ant", "bee"))
    assert found["per_class_accuracy"] == {"ant": 1.0, "bee": None}
    assert found["balanced_accuracy"] == 1
    none = metrics.measured(metrics.NAMES, np.empty((0, 2)), LABELS[:0], ("ant", "bee"))
    assert set(list(none.values())[:3]) == {None}


def test_a_config_names_metrics():
    assert fields.METRICS == metrics.NAMES
    check(small(metrics=metrics.NAMES))
    for wrong in (("eec",), ("ece", "ece"), (["ece"],)):
        with pytest.raises(
            InvalidInputError, match=r"^config.metrics=.*: accepted: different ones of balanced"
        ):
            check(small(metrics=wrong))
