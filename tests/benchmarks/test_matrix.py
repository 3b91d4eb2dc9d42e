"""The figure and the table of every pair's C."""

import csv

import numpy as np

from aljax.records import files
from benchmarks import matrix
from tests import harness

NAMES = ("margin", "core_set", "entropy")


def lines_of(trials, values):
    places = [("margin", "core_set"), ("margin", "entropy"), ("core_set", "entropy")]
    return [
        {"trial": trial, "cycle": cycle, "a": a, "b": b, "C": value + 0.1 * trial}
        for trial in range(trials)
        for cycle in (2, 3, 4)
        for (a, b), value in zip(places, values, strict=True)
    ]


def test_strategies_that_agree_stand_side_by_side():
    means = np.array([[1, -0.5, 0.9], [-0.5, 1, -0.4], [0.9, -0.4, 1]])
    order = matrix.order_of(means).tolist()
    assert abs(order.index(0) - order.index(2)) == 1
    assert means[0, 1] == -0.5  # and the matrix is left as it was


def test_the_cycles_shown_are_the_first_with_a_model_one_half_way_and_the_last():
    assert matrix.shown_cycles([{"cycle": cycle} for cycle in range(1, 11)]) == [2, 6, 10]
    assert matrix.shown_cycles([{"cycle": 2}, {"cycle": 3}]) == [2, 3]


def test_a_run_gives_a_figure_and_a_table_with_the_intervals(tmp_path):
    run = harness.make_run(tmp_path / "run", compare=NAMES)
    (run / "pairs.jsonl").touch()
    for line in lines_of(3, (-0.5, 0.8, 0.0)):
        files.append(run / "pairs.jsonl", line)
    assert matrix.main([str(run), f"--out={tmp_path}"]) == 0
    assert (tmp_path / "matrix.svg").read_bytes().startswith(b"<?xml")
    rows = list(csv.DictReader((tmp_path / "matrix.csv").read_text().splitlines()))
    assert len(rows) == 9
    assert rows[0] == {
        **{"cycle": "2", "a": "margin", "b": "core_set", "trials": "3"},
        **{"C_mean": "-0.4000", "C_sd": "0.1000", "C_low": "-0.6484", "C_high": "-0.1516"},
    }  # 0.1 x 4.3027 / sqrt(3) either way


def test_a_run_without_pairs_has_no_matrix(tmp_path, capsys):
    run = harness.make_run(tmp_path / "run")
    assert matrix.main([str(run)]) == 2
    assert "no pairs of strategies" in capsys.readouterr().out
