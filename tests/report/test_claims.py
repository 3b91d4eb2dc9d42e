import numpy as np
import pytest
from scipy import stats

from aljax.report import claims as verdict

DIGITS = {
    "dataset": {"name": "digits"},
    "uncertainty": "learning_loss",
    "diversity": "core_set",
    "budget": 50,
    "subset_size": 500,
    "cycles": 5,
    "trials": 3,
}
STUDY = {
    **DIGITS,
    "dataset": {"name": "cifar10"},
    "budget": 1_000,
    "subset_size": 10_000,
    "cycles": 10,
    "trials": 5,
    "model": {"width": 64},
    "train": {"epochs": 200, "batch_size": 128},
}


def lines(values, budget=50, accuracy=0.5):
    """Records of trials [T] of C [T, cycles]."""
    return [
        {"trial": t, "cycle": c, "labeled": budget * c, "C": value, "accuracy": accuracy + 0.001 * t}
        for t, row in enumerate(values)
        for c, value in enumerate(row, start=1)
    ]


def judged(config, records):
    return {claim.text: claim for claim in verdict.claims(config, records)}


RISING = [[0.0, -0.5, -0.2, 0.1, 0.4], [0.1, -0.4, -0.1, 0.2, 0.5], [-0.1, -0.6, -0.2, 0.3, 0.6]]


def test_the_signs_against_scipy():
    found = judged(DIGITS, lines(RISING))
    low, high = stats.t.interval(0.95, 2, -0.5, stats.sem([-0.5, -0.4, -0.6]))
    claim = found["C is negative at cycle 2"]
    assert claim.measured == "-0.500"
    assert claim.interval == f"{low:+.3f} to {high:+.3f}"
    assert (claim.trials, claim.verdict) == (3, verdict.REPRODUCED)
    assert found["C is positive at the last cycle (5)"].verdict == verdict.REPRODUCED
    falling = judged(DIGITS, lines(-np.array(RISING)))
    assert falling["C is negative at cycle 2"].verdict == verdict.NOT_REPRODUCED
    assert falling["C is positive at the last cycle (5)"].verdict == verdict.NOT_REPRODUCED


def test_an_interval_across_the_bound_is_too_few_trials_to_tell():
    wide = [[0, -0.9, 0, 0, 0.9], [0, 0.3, 0, 0, -0.3]]
    found = judged(DIGITS, lines(wide))
    assert found["C is negative at cycle 2"].verdict == verdict.TOO_FEW
    assert found["C is positive at the last cycle (5)"].verdict == verdict.TOO_FEW


def test_one_trial_tells_nothing():
    for claim in verdict.claims(DIGITS, lines(RISING[:1])):
        assert claim.verdict in (verdict.TOO_FEW, verdict.DOES_NOT_APPLY)
    tau = stats.kendalltau([2, 3, 4, 5], RISING[0][1:])
    rise = judged(DIGITS, lines(RISING[:1]))["C rises over the cycles that have a model"]
    assert (rise.measured, rise.interval) == (f"tau {tau.statistic:+.2f}", f"p {tau.pvalue:.2g}")


def test_the_rise_is_pages_trend_test():
    found = judged(DIGITS, lines(RISING))["C rises over the cycles that have a model"]
    p = stats.page_trend_test(np.array(RISING)[:, 1:]).pvalue
    assert found.interval == f"p {p:.2g}"
    assert found.verdict == verdict.REPRODUCED
    falling = judged(DIGITS, lines(-np.array(RISING)))["C rises over the cycles that have a model"]
    assert falling.verdict == verdict.NOT_REPRODUCED
    flat = judged(DIGITS, lines([[0, 0.1, -0.1, 0.1, -0.1], [0, -0.1, 0.1, -0.1, 0.1]]))
    assert flat["C rises over the cycles that have a model"].verdict == verdict.TOO_FEW


def test_an_unfinished_run_claims_nothing_of_what_it_has_not_reached():
    found = judged(DIGITS, [line for line in lines(RISING) if line["cycle"] <= 2])
    assert found["C is negative at cycle 2"].verdict == verdict.REPRODUCED
    last = found["C is positive at the last cycle (5)"]
    assert (last.measured, last.trials, last.verdict) == ("-", 0, verdict.TOO_FEW)
    assert all(claim.verdict != verdict.REPRODUCED for claim in verdict.claims(DIGITS, []))


def test_undefined_c_counts_as_no_trial():
    records = lines(RISING)
    for record in records:
        if record["cycle"] == 2:
            record["C"] = None
    assert judged(DIGITS, records)["C is negative at cycle 2"].trials == 0


def test_the_studys_value_is_asked_of_its_protocol_alone():
    text = "C at cycle 10 is the study's, +0.596"
    assert judged(DIGITS, lines(RISING))[text].verdict == verdict.DOES_NOT_APPLY
    assert "digits" in judged(DIGITS, lines(RISING))[text].note
    near = [[0.0] * 9 + [0.596 + d] for d in (-0.02, 0.0, 0.03, -0.01, 0.01)]
    assert judged(STUDY, lines(near, 1_000))[text].verdict == verdict.REPRODUCED
    far = [[0.0] * 9 + [0.3 + d] for d in (-0.02, 0.0, 0.03)]
    assert judged(STUDY, lines(far, 1_000))[text].verdict == verdict.NOT_REPRODUCED
    wide = [[0.0] * 9 + [0.596 + d] for d in (-0.6, 0.6)]
    assert judged(STUDY, lines(wide, 1_000))[text].verdict == verdict.TOO_FEW
    assert verdict.is_study(STUDY)
    for change in ({"uncertainty": "entropy"}, {"budget": 500}, {"acquire": "diversity"}):
        assert not verdict.is_study({**STUDY, **change})


def test_accuracy_is_judged_by_the_band_of_the_strategy_that_labels():
    def verdicts(config, accuracy):
        records = lines([[0.0] * 10] * 3, 1_000, accuracy)
        return {
            text.split()[2]: claim.verdict
            for text, claim in judged(config, records).items()
            if "labels" in text
        }

    assert verdicts(STUDY, 0.905) == {
        "1,000": verdict.NOT_REPRODUCED,
        "5,000": verdict.NOT_REPRODUCED,
        "10,000": verdict.REPRODUCED,
    }
    assert verdicts(STUDY, 0.48)["1,000"] == verdict.REPRODUCED
    assert verdicts(STUDY, 0.509)["1,000"] == verdict.TOO_FEW
    assert list(verdicts({**STUDY, "uncertainty": "entropy"}, 0.9)) == ["1,000", "10,000"]
    assert verdicts(DIGITS, 0.9) == {}
    smaller = {**STUDY, "model": {"width": 16}, "trials": 3}
    claim = judged(smaller, lines([[0.0] * 10] * 3, 1_000))[
        "accuracy at 1,000 labels is as published, 46 to 51 %"
    ]
    assert claim.note == "trials 3 (the study: 5); model.width 16 (the study: 64)"


@pytest.mark.parametrize(("budget", "subset_size"), [(5, 20), (50, 500), (30, 40)])
def test_the_chance_band_holds_independent_selections(budget, subset_size):
    from aljax.agreement import correlation

    low, high = verdict.chance_band(budget, subset_size)
    rng = np.random.default_rng(0)
    overlaps = rng.hypergeometric(budget, subset_size - budget, budget, size=20_000)
    found = correlation(overlaps, budget, subset_size)
    assert np.mean((found >= low - 1e-9) & (found <= high + 1e-9)) >= 0.945
    assert np.mean(found < low - 1e-9) <= 0.03
    assert np.mean(found > high + 1e-9) <= 0.03


def test_a_difference_needs_a_paired_test():
    a, b = {0: 0.5, 1: 0.6, 2: 0.7, 3: 0.1}, {0: 0.4, 1: 0.45, 2: 0.58, 9: 0.0}
    found = verdict.paired("a minus b", a, b)
    assert found.trials == 3
    assert found.p == pytest.approx(stats.ttest_rel([0.5, 0.6, 0.7], [0.4, 0.45, 0.58]).pvalue)
    assert found.mean == pytest.approx((0.1 + 0.15 + 0.12) / 3)
    assert found.verdict == "differ"
    assert verdict.paired("", a, {0: 0.9, 1: 0.2, 2: 0.7}).verdict == "no difference shown"
    assert verdict.paired("", {0: 1.0}, {0: 0.5}).verdict == verdict.TOO_FEW
    assert verdict.paired("", {}, {}).mean is None
