import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from aljax.records import summary


def line(trial, cycle, **values):
    zero = dict.fromkeys(summary.MEASURES, 0.0)
    return {**zero, "trial": trial, "cycle": cycle, "labeled": 10 * cycle, "chance": 5.0, **values}


LINES = [
    line(t, c, C=0.1 * t - 0.2 * c, overlap=t + c, accuracy=0.5 + 0.1 * t) for t in range(4) for c in (1, 2)
]


def test_summary_against_scipy():
    rows = summary.summarize(LINES)
    assert [(row["cycle"], row["labeled"], row["trials"]) for row in rows] == [(1, 10, 4), (2, 20, 4)]
    values = [0.1 * t - 0.4 for t in range(4)]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert rows[1]["C"] == pytest.approx(
        {"mean": np.mean(values), "sd": np.std(values, ddof=1), "low": low, "high": high}
    )


def test_one_trial_has_no_spread():
    row = summary.summarize(LINES[:2])[0]
    assert row["C"] == {"mean": pytest.approx(-0.2), "sd": None, "low": None, "high": None}


def test_unfinished_trials_count_where_they_have_been():
    assert [row["trials"] for row in summary.summarize(LINES[:3])] == [2, 1]


def test_files():
    contents = summary.contents(LINES)
    rows = json.loads(contents["summary.json"])
    assert rows == summary.summarize(LINES)
    table = list(csv.DictReader(io.StringIO(contents["summary.csv"].decode())))
    assert float(table[1]["C_low"]) == rows[1]["C"]["low"]
    assert summary.contents([]) == {}


def test_where_trials_stopped_and_labels_differ():
    lines = [
        line(0, 1, stopped=None),
        line(0, 2, labeled=17, stopped="labels: 17 of 20"),
        line(1, 1, stopped="patience: no"),
        line(2, 1),
        line(2, 2, labeled=20),
    ]
    rows = summary.summarize(lines)
    assert rows[0]["stopped"] == [{"trial": 1, "reason": "patience: no"}]
    assert rows[1]["stopped"] == [{"trial": 0, "reason": "labels: 17 of 20"}]
    assert [row["labeled"] for row in rows] == [10, 18.5]
    assert "stopped" not in summary.contents(lines)["summary.csv"].decode()
    same = [line(0, 1, accuracy=0.5), line(0, 2, accuracy=0.7, labeled=10)]
    assert summary.area_under_curve(same)["mean"] is None


def test_a_measure_that_a_trial_lacks_is_left_out():
    lines = [line(0, 1, C=0.5), line(1, 1, C=None), line(2, 1, C=0.7)]
    row = summary.summarize(lines)[0]
    assert row["C"]["mean"] == pytest.approx(0.6)
    assert row["trials"] == 3
    nothing = summary.summarize([line(0, 1, C=None)])
    assert nothing[0]["C"] == {"mean": None, "sd": None, "low": None, "high": None}


def test_area_under_the_curve_is_the_mean_height():
    lines = [
        {"trial": 0, "cycle": 1, "labeled": 10, "accuracy": 0.2},
        {"trial": 0, "cycle": 2, "labeled": 20, "accuracy": 0.6},
        {"trial": 0, "cycle": 3, "labeled": 40, "accuracy": 0.8},
    ]
    # (10 * 0.4 + 20 * 0.7) / 30
    assert summary.area_under_curve(lines)["mean"] == pytest.approx(0.6)
    shorter = [{"trial": 1, "cycle": c, "labeled": 10 * c, "accuracy": 0.5} for c in (1, 2)]
    assert summary.area_under_curve(lines + shorter)["mean"] == pytest.approx((0.4 + 0.5) / 2)
    assert summary.area_under_curve(lines[:1])["mean"] is None
    assert summary.area_under_curve([])["mean"] is None


def test_pairs_are_summarized_per_cycle_over_trials():
    def pair(trial, cycle, a, b, C, spearman):
        agreement = {"overlap": 4, "C": C, "kappa": 0.0, "jaccard": 0.25, "spearman": spearman}
        return {"trial": trial, "cycle": cycle, "a": a, "b": b, **agreement}

    lines = [
        *(pair(0, 1, "x", "y", 0.0, None), pair(0, 2, "x", "y", 0.2, 0.5), pair(0, 2, "x", "z", 1.0, None)),
        *(pair(1, 1, "x", "y", 0.1, None), pair(1, 2, "x", "y", 0.4, 0.7), pair(1, 2, "x", "z", 1.0, None)),
    ]
    rows = summary.summarize_pairs(lines)
    assert [(row["cycle"], row["a"], row["b"], row["trials"]) for row in rows] == [
        (1, "x", "y", 2),
        (2, "x", "y", 2),
        (2, "x", "z", 2),
    ]
    assert rows[1]["C"]["mean"] == pytest.approx(0.3)
    assert rows[1]["C"]["high"] == pytest.approx(
        0.3 + 12.7062 * 0.1, rel=1e-4
    )  # t(0.975, 1) * 0.1414 / sqrt(2)
    assert rows[1]["spearman"]["mean"] == pytest.approx(0.6)
    assert rows[2]["spearman"]["mean"] is None
    contents = summary.contents([], lines)
    assert set(contents) == {"pairs.csv"}
    table = list(csv.DictReader(contents["pairs.csv"].decode().splitlines()))
    assert float(table[1]["C_mean"]) == pytest.approx(0.3)
    assert table[2]["spearman_mean"] == ""


def test_ties_are_summarized_where_lines_count_them():
    rows = summary.summarize([line(0, 1, ties=None), line(0, 2, ties=4), line(1, 1), line(1, 2, ties=8)])
    assert [row["ties"]["mean"] for row in rows] == [None, 6]
    assert "ties" not in summary.summarize(LINES)[0]


def test_metrics_are_summarized_where_lines_have_them():
    classes = [{"ant": 0.5, "bee": 0.9, "cat": None}, {"ant": 0.7, "bee": 0.8, "cat": None}]
    lines = [line(t, 1, ece=0.1 + 0.2 * t, per_class_accuracy=classes[t]) for t in range(2)]
    (row,) = summary.summarize(lines)
    assert row["ece"]["mean"] == pytest.approx(0.2)
    assert row["per_class_accuracy"]["ant"]["mean"] == pytest.approx(0.6)
    assert row["per_class_accuracy"]["cat"]["mean"] is None
    table = list(csv.DictReader(io.StringIO(summary.contents(lines)["summary.csv"].decode())))
    assert float(table[0]["per_class_accuracy_bee_mean"]) == pytest.approx(0.85)
    assert "nll" not in row


def test_the_means_of_pairs_are_symmetric():
    values = [("x", "y", 0.2), ("x", "z", None), ("y", "z", -0.5)]
    lines = [
        {"cycle": cycle, "a": a, "b": b, "C": C and C + 0.1 * trial}
        for cycle in (1, 2)
        for trial in range(3)
        for a, b, C in values
    ]
    names, means = summary.pair_means(lines, 2)
    assert names == ["x", "y", "z"]
    assert means == pytest.approx(
        np.array([[1, 0.3, np.nan], [0.3, 1, -0.4], [np.nan, -0.4, 1]]), nan_ok=True
    )
