"""Who is more accurate: areas, wins, ranks and needed trials, by hand and against published tables."""

import json

import numpy as np
import pytest
from scipy import stats

from aljax.cli import accuracy as command
from aljax.errors import InvalidInputError
from aljax.records import reader
from aljax.report import accuracy, standings
from tests.harness import make_run


def made(path, gain, *, seed=0, trials=5, **fields):
    """Loads a run whose accuracies rise with the labels, by trial, and by a gain from the second cycle on."""
    run = reader.load(make_run(path, trials=trials, seed=0, **fields))
    run.config["seed"] = seed
    for line in run.lines:
        noise = 0.001 * ((line["trial"] * 7 + line["cycle"] * 3) % 5)
        line["accuracy"] = 0.5 + 0.05 * line["cycle"] + 0.01 * line["trial"]
        if line["cycle"] > 1:
            line["accuracy"] += gain + noise * (gain != 0)
    return run


@pytest.fixture
def three(tmp_path):
    gains = {"random": 0.0, "margin": 0.02, "entropy": -0.03}
    return [made(tmp_path / name, gain, acquire=name) for name, gain in gains.items()]


def test_runs_are_compared_at_the_trials_and_labels_that_all_have(three):
    three[1].lines[:] = [line for line in three[1].lines if line["trial"] != 2]
    three[2].lines[:] = [line for line in three[2].lines if line["cycle"] != 3]
    found = accuracy.aligned(three)
    assert found.names == ["random", "margin", "entropy"]
    assert (found.trials, found.labels) == ([0, 1, 3, 4], [8, 16, 32])
    assert found.values[0, 2].tolist() == pytest.approx([0.58, 0.63, 0.73])
    assert found.differing == []
    by_hand = (8 * (0.58 + 0.63) / 2 + 16 * (0.63 + 0.73) / 2) / 24
    assert accuracy.areas(found)[0, 2] == pytest.approx(by_hand)


def test_a_run_beats_another_where_the_paired_t_test_says_so(three):
    values = accuracy.aligned(three).values
    found = accuracy.penalties(values)
    assert found.tolist() == [
        [0, 0, 1],
        [1, 0, 1],
        [0, 0, 0],
    ]  # the first cycle, equal in all, is not counted
    rng = np.random.default_rng(0)
    noisy = values + 0.02 * rng.normal(size=values.shape)
    for a in range(3):
        for b in range(3):
            if a != b:
                test = stats.ttest_rel(noisy[a], noisy[b], axis=0)
                share = np.mean((test.pvalue < 0.05) & (test.statistic > 0))
                assert accuracy.penalties(noisy)[a, b] == pytest.approx(share)
    assert not accuracy.penalties(values[:, :1]).any()


def test_the_critical_difference_is_demsars():
    """Demšar 2006, table 5 (a) and the example below it: q 2.569 for 4, 2.728 for 5; 14 data sets, 1.25."""
    rng = np.random.default_rng(0)
    for runs, quantile in ((3, 2.343), (4, 2.569), (5, 2.728)):
        found = accuracy.ranking(rng.normal(size=(runs, 14)))
        assert found.difference == pytest.approx(quantile * np.sqrt(runs * (runs + 1) / 84), abs=2e-3)
    heights = np.array([[3.0, 3, 3, 3], [2, 2, 2, 1], [1, 1, 1, 1]])
    found = accuracy.ranking(heights)
    assert found.ranks.tolist() == [1, 2.125, 2.875]
    assert found.p == pytest.approx(stats.friedmanchisquare(*heights).pvalue)
    assert found.groups == [[0, 1], [1, 2]]
    assert accuracy.ranking(np.ones((3, 4)))._replace(ranks=0, difference=0) == (0, 0, None, [[0, 1, 2]])


def test_trials_needed_are_those_of_tables():
    """A paired t-test of 80 % power at 5 %: 34 pairs for half a deviation, 10 for one, 199 for a fifth."""
    assert [accuracy.trials_needed(sd, 0.01) for sd in (0.02, 0.01, 0.05)] == [34, 10, 199]
    assert accuracy.trials_needed(0.0) == 2
    assert accuracy.trials_needed(10.0) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": {"name": "birds"}}, "its data is not that of"),
        ({"seed": 4}, r"config.seed=4; accepted: 0, as in"),
    ],
)
def test_runs_that_are_not_paired_are_refused(tmp_path, change, message):
    shown = [made(tmp_path / "a", 0.0), made(tmp_path / "b", 0.0, **change)]
    with pytest.raises(InvalidInputError, match=message):
        accuracy.aligned(shown)
    with pytest.raises(InvalidInputError, match="one run alone; accepted: two or more"):
        accuracy.aligned(shown[:1])
    with pytest.raises(InvalidInputError, match="no trial is in all runs"):
        accuracy.aligned([shown[0], shown[0]._replace(lines=[])])


def test_the_command_prints_tables_and_writes_figures(tmp_path, capsys):
    names = ("random", "margin")
    paths = [make_run(tmp_path / name, seed=i, acquire=name) for i, name in enumerate(names)]
    assert command.main([*map(str, paths), f"--out={tmp_path / 'out'}"]) == 0
    printed = capsys.readouterr().out
    assert "area under the curve minus that of random" in printed
    assert "Mean ranks have to be" in printed
    numbers = json.loads((tmp_path / "out" / "accuracy.json").read_text())
    assert numbers["names"] == list(names)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "accuracy.json",
        *(f"{name}.{suffix}" for name in ("curves", "ranks") for suffix in ("svg", "png")),
    }
    assert command.main([str(paths[0])]) == 2
    assert "one run alone" in capsys.readouterr().err


def test_one_trial_and_other_recipes_are_said(tmp_path):
    shown = [made(tmp_path / name, 0.01, trials=1, train={"epochs": 1 + i}) for i, name in enumerate("ab")]
    found = accuracy.aligned(shown)
    assert found.names == ["a", "b"]
    assert found.differing == ["train.epochs"]
    ranking = accuracy.ranking(accuracy.areas(found))
    assert standings.sentences(found, ranking)[-1] == "The runs also differ in train.epochs."
    assert standings.gaps(found).row_count == 1
