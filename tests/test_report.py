import csv
import json

import numpy as np
import pytest
from scipy import stats

from aljax import report


def line(trial, cycle, **values):
    zero = dict.fromkeys(report.MEASURES, 0.0)
    return {**zero, "trial": trial, "cycle": cycle, "labeled": 10 * cycle, "chance": 5.0, **values}


LINES = [
    line(t, c, C=0.1 * t - 0.2 * c, overlap=t + c, accuracy=0.5 + 0.1 * t) for t in range(4) for c in (1, 2)
]


def test_summary_against_scipy():
    rows = report.summarize(LINES)
    assert [(row["cycle"], row["labeled"], row["trials"]) for row in rows] == [(1, 10, 4), (2, 20, 4)]
    values = [0.1 * t - 0.4 for t in range(4)]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert rows[1]["C"] == pytest.approx(
        {"mean": np.mean(values), "sd": np.std(values, ddof=1), "low": low, "high": high}
    )


def test_one_trial_has_no_spread():
    row = report.summarize(LINES[:2])[0]
    assert row["C"] == {"mean": pytest.approx(-0.2), "sd": None, "low": None, "high": None}


def test_unfinished_trials_count_where_they_have_been():
    assert [row["trials"] for row in report.summarize(LINES[:3])] == [2, 1]


def test_files_and_table(tmp_path, capsys):
    report.finish(tmp_path, LINES)
    rows = json.loads((tmp_path / "summary.json").read_text())
    assert rows == report.summarize(LINES)
    with open(tmp_path / "summary.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert float(table[1]["C_low"]) == rows[1]["C"]["low"]
    printed = capsys.readouterr().out
    assert "means over 4 trials" in printed
    assert "65.0 ± 12.9" in printed
    assert "-0.250 ± 0.129" in printed
    assert f"run directory: {tmp_path}" in printed.replace("\n", "")
