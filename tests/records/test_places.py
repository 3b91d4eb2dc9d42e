from pathlib import Path

from aljax.records import places


def test_a_plan_comes_to_trial_after_trial():
    config = {"first_trial": 3, "trials": 2, "cycles": 2}
    assert places.plan(config) == [(3, 1), (3, 2), (4, 1), (4, 2)]
    assert list(places.trials(config)) == [3, 4]


def test_a_trial_that_stopped_has_no_later_cycles():
    plan = places.plan({"first_trial": 0, "trials": 2, "cycles": 3})
    lines = [{"trial": 0, "cycle": 2, "stopped": "enough"}, {"trial": 1, "cycle": 1, "stopped": None}]
    assert places.shortened(plan, lines) == [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]
    assert places.shortened(plan, [{"trial": 9, "cycle": 1, "stopped": "of another run"}]) == plan


def test_each_place_has_its_file():
    assert places.file_of(Path("x"), 0, 1) == Path("x/trial-00/cycle-01.npz")
    assert places.file_of(Path("x"), 12, 100, ".csv") == Path("x/trial-12/cycle-100.csv")
    assert places.place_of({"trial": 1}) == (1, None)
