import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.scenarios import stopping
from aljax.scenarios.stopping import Rules

CYCLES = 10


def history(accuracies=None, stabilities=None, labeled=None):
    """Ten cycles of 50 labels each, or as given."""
    accuracies = accuracies or [0.5] * CYCLES
    stabilities = stabilities or [None] + [0.5] * (CYCLES - 1)
    labeled = labeled or [50 * cycle for cycle in range(1, CYCLES + 1)]
    return [
        {
            "cycle": cycle,
            "labeled": count,
            "budget": 50,
            "validation_accuracy": accuracy,
            "stability": stability,
            "accuracy": 1.0,
            "test_loss": 0.0,
        }
        for cycle, accuracy, stability, count in zip(
            range(1, CYCLES + 1), accuracies, stabilities, labeled, strict=False
        )
    ]


RISING = [0.3, 0.5, 0.6, 0.65, 0.66, 0.66, 0.67, 0.65, 0.7, 0.71]
KAPPAS = [None, 0.7, 0.9, 0.99, 0.985, 0.999, 0.99, 1.0, 1.0, 1.0]

CASES = {
    "labels, the last batch fits exactly": (history(), Rules(labels=300), 6, "labels: 300 of at most 300"),
    "labels, another batch would not fit": (history(), Rules(labels=349), 6, "labels: 300 of at most 349"),
    "labels, of cycles that spent less": (
        history(labeled=[50, 60, 60, 90, 101, 102, 103, 104, 105, 106]),
        Rules(labels=150),
        5,
        "labels: 101 of at most 150 labeled, and a batch is 50",
    ),
    "labels, only one batch": (history(), Rules(labels=50), 1, "labels: 50 of at most 50"),
    "accuracy, reached exactly": (
        history(RISING),
        Rules(accuracy=0.65),
        4,
        "accuracy: validation accuracy 0.6500, at least 0.65",
    ),
    "accuracy, passed": (
        history(RISING),
        Rules(accuracy=0.68),
        9,
        "accuracy: validation accuracy 0.7000, at least 0.68",
    ),
    "patience, any gain counts": (
        history(RISING),
        Rules(patience=2),
        None,
        "cycles: all 10, as planned",
    ),
    "patience of 1, any gain counts": (
        history(RISING),
        Rules(patience=1),
        6,
        "patience: validation accuracy 0.6600 at best in 1 cycle, 0.6600 before",
    ),
    "patience, gains above a tolerance": (
        history(RISING),
        Rules(patience=2, tolerance=0.0201),
        6,
        "patience: ",
    ),
    "patience of 3, gains above a tolerance": (
        history(RISING),
        Rules(patience=3, tolerance=0.0201),
        7,
        "patience: ",
    ),
    "patience, a late fall": (
        history([0.5, 0.6, 0.9, 0.8, 0.7, 0.85, 0.8, 0.8, 0.8, 0.8]),
        Rules(patience=4),
        7,
        "patience: validation accuracy 0.8500 at best in 4 cycles, 0.9000 before",
    ),
    "stability of 1": (
        history(stabilities=KAPPAS),
        Rules(stability=0.99, window=1),
        4,
        "stability: mean kappa",
    ),
    "stability of 3": (
        history(stabilities=KAPPAS),
        Rules(stability=0.99, window=3),
        6,
        "stability: mean kappa",
    ),
    "stability of 3 at once": (
        history(stabilities=[None] + [1.0] * 9),
        Rules(stability=0.99, window=3),
        4,
        "stability: mean kappa 1.0000 over 3 cycles, at least 0.99",
    ),
    "the plan alone": (history(), Rules(), None, "cycles: all 10, as planned"),
    "the first of two rules": (history(RISING), Rules(labels=300, accuracy=0.65), 4, "accuracy: "),
    "two rules at once": (history(RISING), Rules(labels=200, accuracy=0.65), 4, "labels: "),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_stops_where_the_history_says_and_not_before(case):
    lines, rules, end, said = CASES[case]
    reasons = [stopping.reason(lines[:count], rules, CYCLES) for count in range(1, CYCLES + 1)]
    first = next(count for count, reason in enumerate(reasons, start=1) if reason)
    assert first == (end or CYCLES)
    assert reasons[first - 1].startswith(said)


@settings(max_examples=50)
@given(
    st.lists(st.floats(0, 1), min_size=CYCLES, max_size=CYCLES),
    st.lists(st.floats(0, 10), min_size=CYCLES, max_size=CYCLES),
)
def test_no_rule_reads_the_test_set(accuracies, losses):
    lines = history(RISING, KAPPAS)
    other = [
        {**line, "accuracy": accuracy, "test_loss": loss}
        for line, accuracy, loss in zip(lines, accuracies, losses, strict=True)
    ]
    without = [
        {name: value for name, value in line.items() if name not in ("accuracy", "test_loss")}
        for line in lines
    ]
    for rules in (Rules(labels=200), Rules(accuracy=0.65), Rules(patience=1), Rules(stability=0.95)):
        for count in range(1, CYCLES + 1):
            expected = stopping.reason(without[:count], rules, CYCLES)
            assert stopping.reason(other[:count], rules, CYCLES) == expected


def test_which_rules_are_on():
    assert stopping.asked_for(Rules()) == ()
    assert stopping.asked_for(Rules(tolerance=0.1, window=5)) == ()
    assert stopping.asked_for(Rules(stability=0.9, labels=5)) == ("labels", "stability")


def test_kappa_by_hand():
    assert stopping.kappa([0, 1, 2, 2], [0, 1, 2, 2]) == 1
    # They agree on 3 of 4; by chance on 1/2 * 1/4 + 1/2 * 3/4 = 1/2.
    assert stopping.kappa([0, 0, 1, 1], [0, 1, 1, 1]) == pytest.approx((0.75 - 0.5) / 0.5)
    assert stopping.kappa([0, 1], [1, 0]) == -1
    assert stopping.kappa([3, 3], [3, 3]) is None  # 0 / 0
    assert stopping.kappa([3, 3], [2, 2]) == 0
    with pytest.raises(ValueError, match="accepted: one length above 0"):
        stopping.kappa([], [])
    with pytest.raises(ValueError, match="accepted: one length above 0"):
        stopping.kappa([1, 2], [1])


@pytest.mark.parametrize("window", [1, 2, 3])
def test_models_that_name_one_class_are_no_evidence_and_stop_nothing(window):
    collapsed = stopping.kappa(np.full(100, 7), np.full(100, 7))
    lines = history(stabilities=[None, collapsed, collapsed, 1.0, 1.0, collapsed, 1.0, 1.0, 1.0, 1.0])
    rules = Rules(stability=0.9, window=window)
    stops = [count for count in range(1, CYCLES) if stopping.reason(lines[:count], rules, CYCLES) is not None]
    assert stops == {1: [4, 5, 7, 8, 9], 2: [5, 8, 9], 3: [9]}[window]
    always = history(stabilities=[None] + [collapsed] * 9)
    assert all(stopping.reason(always[:count], rules, CYCLES) is None for count in range(1, CYCLES))


def test_kappa_against_scikit_learn():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 4, (2, 50))
        assert stopping.kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))
