import collections
import itertools
import json

import numpy as np
import pytest
from scipy import stats

from aljax.report import claims, protocol
from tests.harness import config_of

DIGITS = {
    "dataset": {"name": "digits"},
    "uncertainty": "learning_loss",
    "diversity": "core_set",
    "budget": 50,
    "subset_size": 500,
    "cycles": 5,
    "trials": 3,
}
STUDY = config_of("cifar10")


def lines(values, budget=50, accuracy=0.5):
    """Records of trials [T] of C [T, cycles]."""
    return [
        {"trial": t, "cycle": c, "labeled": budget * c, "C": value, "accuracy": accuracy + 0.001 * t}
        for t, row in enumerate(values)
        for c, value in enumerate(row, start=1)
    ]


def judged(config, records):
    return {claim.text: claim for claim in claims.judge(config, records)}


RISING = [[0.0, -0.5, -0.2, 0.1, 0.4], [0.1, -0.4, -0.1, 0.2, 0.5], [-0.1, -0.6, -0.2, 0.3, 0.6]]


def test_the_signs_against_scipy():
    found = judged(DIGITS, lines(RISING))
    low, high = stats.t.interval(0.95, 2, -0.5, stats.sem([-0.5, -0.4, -0.6]))
    claim = found["C is negative at cycle 2"]
    assert claim.measured == "-0.500"
    assert claim.interval == f"{low:+.3f} to {high:+.3f}"
    assert (claim.trials, claim.verdict) == (3, claims.HOLDS)
    assert found["C is positive at the last cycle (5)"].verdict == claims.HOLDS
    falling = judged(DIGITS, lines(-np.array(RISING)))
    assert falling["C is negative at cycle 2"].verdict == claims.DOES_NOT_HOLD
    assert falling["C is positive at the last cycle (5)"].verdict == claims.DOES_NOT_HOLD


def test_an_interval_across_the_bound_is_too_few_trials_to_tell():
    wide = [[0, -0.9, 0, 0, 0.9], [0, 0.3, 0, 0, -0.3]]
    found = judged(DIGITS, lines(wide))
    assert found["C is negative at cycle 2"].verdict == claims.TOO_FEW
    assert found["C is positive at the last cycle (5)"].verdict == claims.TOO_FEW


def test_one_trial_tells_nothing():
    for claim in claims.judge(DIGITS, lines(RISING[:1])):
        assert claim.verdict in (claims.TOO_FEW, claims.DOES_NOT_APPLY)
    tau = stats.kendalltau([2, 3, 4, 5], RISING[0][1:])
    rise = judged(DIGITS, lines(RISING[:1]))["C rises over the cycles that have a model"]
    assert (rise.measured, rise.interval) == (f"tau {tau.statistic:+.2f}", f"p {tau.pvalue:.2g}")


def test_the_rise_is_pages_trend_test():
    found = judged(DIGITS, lines(RISING))["C rises over the cycles that have a model"]
    p = stats.page_trend_test(np.array(RISING)[:, 1:]).pvalue
    assert found.interval == f"p {p:.2g}"
    assert found.verdict == claims.HOLDS
    falling = judged(DIGITS, lines(-np.array(RISING)))["C rises over the cycles that have a model"]
    assert falling.verdict == claims.DOES_NOT_HOLD
    assert found.interval == f"p {stats.page_trend_test(np.array(RISING)[:, 1:], method='exact').pvalue:.2g}"
    flat = judged(DIGITS, lines([[0, 0.1, -0.1, 0.1, -0.1], [0, -0.1, 0.1, -0.1, 0.1]]))
    assert flat["C rises over the cycles that have a model"].verdict == claims.TOO_FEW


@pytest.mark.parametrize("rows", [[[0.5] * 5] * 3, [[0.1] * 5, [0.4] * 5], [[-1.0] * 5]])
def test_equal_c_has_no_trend_and_no_nan(rows):
    rise = judged(DIGITS, lines(rows))["C rises over the cycles that have a model"]
    assert (rise.measured, rise.interval, rise.verdict) == ("all equal", "-", claims.TOO_FEW)
    assert "nan" not in str(claims.judge(DIGITS, lines(rows)))


def test_trials_that_cancel_have_no_nan():
    rise = judged(DIGITS, lines([[0, 1, 2, 3, 4], [0, 4, 3, 2, 1]]))
    assert "nan" not in str(rise)


@pytest.mark.parametrize(("trials", "cycles"), [(2, 3), (3, 4), (4, 5)])
def test_the_exact_p_against_all_orders(trials, cycles):
    """The share of all orders of the rows whose L is at least that of the rows."""
    rng = np.random.default_rng(0)
    weights = np.arange(1, cycles + 1)
    of_row = [int(np.dot(order, weights)) for order in itertools.permutations(weights)]
    sums = collections.Counter({0: 1})
    for _ in range(trials):
        sums = collections.Counter(
            {
                total: sum(count * of_row.count(total - before) for before, count in sums.items())
                for total in {before + one for before in sums for one in set(of_row)}
            }
        )
    for _ in range(5):
        rows = rng.normal(size=(trials, cycles))
        found = int(sum(np.dot(stats.rankdata(row), weights) for row in rows))
        expected = sum(count for total, count in sums.items() if total >= found) / len(of_row) ** trials
        assert claims.trend(rows) == pytest.approx(expected)


def test_an_unfinished_run_claims_nothing_of_what_it_has_not_reached():
    found = judged(DIGITS, [line for line in lines(RISING) if line["cycle"] <= 2])
    assert found["C is negative at cycle 2"].verdict == claims.HOLDS
    last = found["C is positive at the last cycle (5)"]
    assert (last.measured, last.trials, last.verdict) == ("-", 0, claims.TOO_FEW)
    assert all(claim.verdict != claims.HOLDS for claim in claims.judge(DIGITS, []))


def test_undefined_c_counts_as_no_trial():
    records = lines(RISING)
    for record in records:
        if record["cycle"] == 2:
            record["C"] = None
    assert judged(DIGITS, records)["C is negative at cycle 2"].trials == 0


def test_the_studys_value_is_asked_of_its_protocol_alone():
    text = "C at cycle 10 is the study's, +0.596"
    assert judged(DIGITS, lines(RISING))[text].verdict == claims.DOES_NOT_APPLY
    assert "budget 50 (the study: 1000)" in judged(DIGITS, lines(RISING))[text].note
    near = [[0.0] * 9 + [0.596 + d] for d in (-0.02, 0.0, 0.03, -0.01, 0.01)]
    assert judged(STUDY, lines(near, 1_000))[text].verdict == claims.REPRODUCED
    far = [[0.0] * 9 + [0.3 + d] for d in (-0.02, 0.0, 0.03)]
    assert judged(STUDY, lines(far, 1_000))[text].verdict == claims.NOT_REPRODUCED
    wide = [[0.0] * 9 + [0.596 + d] for d in (-0.6, 0.6)]
    assert judged(STUDY, lines(wide, 1_000))[text].verdict == claims.TOO_FEW


STRANGERS = {
    "scenario": "stream",
    "dataset__classes": 2,
    "warm_start": True,
    "train__learning_rate": 1e-4,
    "train__flip": False,
    "uncertainty": "entropy",
    "acquire": "diversity",
    "budget": 500,
    "trials": 3,
    "dataset__images": 30_000,
    "train__milestones": [100],
}


@pytest.mark.parametrize("field", STRANGERS)
def test_a_run_that_differs_in_any_field_does_not_pass_for_the_study(field):
    """Numbers that would reproduce every claim of the study do so in its own protocol alone."""
    numbers = [[0.0, *(np.linspace(-0.36, 0.6, 9) + d)] for d in (-0.02, 0.0, 0.03, -0.01, 0.01)]
    assert claims.REPRODUCED in {claim.verdict for claim in claims.judge(STUDY, lines(numbers, 1_000))}
    stranger = config_of("cifar10", **{field: STRANGERS[field]})
    found = {claim.verdict for claim in claims.judge(stranger, lines(numbers, stranger["budget"]))}
    assert not found & {claims.REPRODUCED, claims.NOT_REPRODUCED}
    name = field.replace("__", ".")
    listed = protocol.departures(stranger)
    assert len(listed) == 1
    assert listed[0].startswith(f"{name} {STRANGERS[field]} (the study: ")


def test_seed_devices_folders_and_further_comparisons_are_free():
    free = {"seed": 5, "devices": 1, "checkpoint_minutes": 1.0, "first_trial": 5, "dataset__data_dir": "/x"}
    config = config_of("cifar10", **free, compare=("random", "entropy"), acquire="learning_loss")
    stored = json.loads(json.dumps({**config, "versions": {"jax": "1"}, "device": "gpu", "data_sha256": "0"}))
    assert protocol.departures(stored) == []
    assert "model.width absent (the study: 64)" in protocol.departures(config_of("cifar10", model__width=...))


def test_doubts_withhold_every_verdict():
    records = lines(RISING)
    records[3]["doubts"] = ["accuracy is no better than chance"]
    found = claims.judge(DIGITS, records)
    assert {claim.verdict for claim in found} == {claims.WITHHELD, claims.DOES_NOT_APPLY}
    assert found[0].measured == "-0.500"


def test_accuracy_is_judged_by_the_band_of_the_strategy_that_labels():
    def verdicts(config, accuracy):
        records = lines([[0.0] * 10] * 3, 1_000, accuracy)
        return {
            text.split()[2]: claim.verdict
            for text, claim in judged(config, records).items()
            if "labels" in text
        }

    assert verdicts(STUDY, 0.905) == {
        "1,000": claims.NOT_REPRODUCED,
        "5,000": claims.NOT_REPRODUCED,
        "10,000": claims.REPRODUCED,
    }
    assert verdicts(STUDY, 0.48)["1,000"] == claims.REPRODUCED
    assert verdicts(STUDY, 0.509)["1,000"] == claims.TOO_FEW
    entropy = verdicts({**STUDY, "uncertainty": "entropy"}, 0.9)
    assert entropy == {"1,000": claims.DOES_NOT_HOLD, "10,000": claims.HOLDS}
    assert verdicts(DIGITS, 0.9) == {}
    assert verdicts(config_of("cifar10", dataset__classes=2), 0.9) == {}


@pytest.mark.parametrize(("budget", "subset_size"), [(5, 20), (50, 500), (30, 40)])
def test_the_chance_band_holds_independent_selections(budget, subset_size):
    from aljax.agreement import correlation

    low, high = claims.chance_band(budget, subset_size)
    rng = np.random.default_rng(0)
    overlaps = rng.hypergeometric(budget, subset_size - budget, budget, size=20_000)
    found = correlation(overlaps, budget, subset_size)
    assert np.mean((found >= low - 1e-9) & (found <= high + 1e-9)) >= 0.945
    assert np.mean(found < low - 1e-9) <= 0.03
    assert np.mean(found > high + 1e-9) <= 0.03
