"""Comparisons of series that have a value for each trial, and of several runs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aljax.records import reader, summary
from aljax.records.files import Record
from aljax.records.reader import Run
from aljax.report.claims import ALL_EQUAL, LEVEL, TOO_FEW

Series = Mapping[int, Mapping[int, float]]  # by trial, values by cycle or by number of labels


class Difference(NamedTuple):
    """A paired comparison of two series, trial by trial."""

    text: str
    trials: int
    mean: float | None  # of the differences
    low: float | None
    high: float | None
    p: float | None  # of the paired t-test, two-sided
    verdict: str


def differences(shown: Sequence[Run]) -> list[Difference]:
    """Compares each further run with the first: C at one cycle, accuracy at one number of labels.

    Both are the last that the two runs have in all trials that they share.
    """
    names = reader.names(shown)
    found = []
    for name, run in list(zip(names, shown, strict=True))[1:]:
        pair = f"{name} minus {names[0]}"
        a, b = (summary.by_trial(one.lines, "C") for one in (run, shown[0]))
        if (at := last_shared(a, b)) is not None:
            found.append(paired(f"C at cycle {at}: {pair}", *_at(at, a, b)))
        if not same_data(run, shown[0]):
            continue
        a, b = (by_labels(one.lines) for one in (run, shown[0]))
        if (at := last_shared(a, b)) is not None:
            found.append(paired(f"accuracy at {at:,} labels: {pair}", *_at(at, a, b)))
        elif a.keys() & b.keys():
            text = f"accuracy: {pair}; no number of labels is in both, in all trials that they share"
            found.append(Difference(text, 0, None, None, None, None, "not compared"))
    return found


def by_labels(lines: Sequence[Record]) -> dict[int, dict[int, float]]:
    """Groups the accuracy as {trial: {labels: value}}."""
    trials: dict[int, dict[int, float]] = {}
    for line in lines:
        trials.setdefault(line["trial"], {})[line["labeled"]] = line["accuracy"]
    return trials


def last_shared(a: Series, b: Series) -> int | None:
    """Returns the last cycle, or number of labels, that two series have in all trials that they share."""
    common = [set(series[trial]) for series in (a, b) for trial in a.keys() & b.keys()]
    return max(set.intersection(*common), default=None) if common else None


def same_data(a: Run, b: Run) -> bool:
    """Tells whether two runs are on the same images, as far as their configs know."""
    known = a.config["dataset"].keys() & b.config["dataset"].keys()
    return all(a.config["dataset"][name] == b.config["dataset"][name] for name in known)


def _at(at: int, *series: Series) -> list[dict[int, float]]:
    return [{trial: values[at] for trial, values in of.items() if at in values} for of in series]


def paired(text: str, a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """Compares two series by the paired t-test over the trials that both have.

    Args:
      text: the name of a - b.
      a, b: a value for each trial.

    Returns:
      The difference a - b; its verdict is "differ", "no difference shown", "all equal" or too few trials.
    """
    from scipy import stats

    shared = sorted(a.keys() & b.keys())
    gaps = [a[trial] - b[trial] for trial in shared]
    measured = summary.spread(gaps)
    p, verdict = None, TOO_FEW
    if len(gaps) > 1 and not any(gaps):
        verdict = ALL_EQUAL
    elif len(gaps) > 1 and np.ptp(gaps) > 0:
        p = float(stats.ttest_rel([a[trial] for trial in shared], [b[trial] for trial in shared]).pvalue)
        verdict = "differ" if p < LEVEL else "no difference shown"
    return Difference(text, len(gaps), measured["mean"], measured["low"], measured["high"], p, verdict)
