"""The table of ties."""

import csv

import numpy as np
import pytest

from aljax.records import selections
from benchmarks import ties
from tests import harness


def test_each_strategys_ties_at_the_cut_are_counted_from_its_scores(tmp_path):
    run = harness.finished_run(tmp_path / "run")
    for trial, scores in ((3, [9, 9, 9, 5, 5, 5, 5, 1, 1, 1]), (4, [9, 9, 9, 9, 5, 5, 5, 1, 1, 1])):
        path = selections.path_of(run, trial, 2)
        made = selections.load(path)
        scores = np.array(scores, np.float32)
        compared = {**made.compared, "learning_loss": made.subset[:4]}
        kept = {**made.compared_scores, "learning_loss": scores}
        selections.save(path, made._replace(compared=compared, compared_scores=kept))
    out = tmp_path / "ties.csv"
    assert ties.main([str(run), f"--out={out}"]) == 0
    (row,) = csv.DictReader(out.read_text().splitlines())  # core_set has no scores
    assert row == {
        "strategy": "learning_loss",
        "trials": "2",
        "budget": "4",
        "mean": "2.0",  # four images of score 5, of which one was chosen, and none
        "cycle 2": "2.0",
    }


def test_a_run_of_two_strategies_alone_has_no_table(tmp_path, capsys):
    run = harness.make_run(tmp_path / "run")
    assert ties.main([str(run)]) == 2
    assert capsys.readouterr().out == f"{run}: no selection of several strategies that score images\n"


@pytest.mark.parametrize("missing", ["selections/trial-03/cycle-02.npz"])
def test_selections_that_are_missing_are_passed_over(tmp_path, missing):
    run = harness.finished_run(tmp_path / "run")
    (run / missing).unlink()
    assert [row["trials"] for row in ties.counted(run)] == [1]
