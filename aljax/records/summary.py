"""Tables from a run's records.

A summary has one row per cycle; each measure in it has a mean, a standard deviation and a
95 % interval of the mean over trials (Student's t; none for a single trial). A measure that a
trial does not have (None) is left out of the mean.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.table import Table
from scipy.stats import t as student_t

from aljax.config import flatten
from aljax.records.files import Record

MEASURES = ("accuracy", "overlap", "C", "kappa", "jaccard", "test_loss", "train_loss")

PAIR_MEASURES = ("overlap", "C", "kappa", "jaccard", "spearman")

HEADINGS = ("cycle", "labeled", "accuracy %", "overlap", "by chance", "C")

Spread = dict[str, float | None]


def summarize(lines: Sequence[Record]) -> list[dict[str, Any]]:
    """One row per cycle: its number, labels, trials, chance overlap, and each of `MEASURES`.

    Args:
      lines: records of cycles.jsonl, of any number of trials.

    Returns:
      Rows in order of cycles; a measure is {"mean", "sd", "low", "high"}, where sd (of the
      sample) and the 95 % interval are None for a single trial. Where trials stopped, the row of
      that cycle has "stopped", with the "trial" and the "reason" of each.
    """
    rows = []
    for cycle in sorted({line["cycle"] for line in lines}):
        group = [line for line in lines if line["cycle"] == cycle]
        row = {
            "cycle": cycle,
            "labeled": same_or_mean([line["labeled"] for line in group]),
            "trials": len(group),
            "chance": same_or_mean([line["chance"] for line in group]),
            **{name: spread(line.get(name) for line in group) for name in MEASURES},
        }
        ends = [line for line in group if line.get("stopped")]
        if ends:
            row["stopped"] = [{"trial": line["trial"], "reason": line["stopped"]} for line in ends]
        rows.append(row)
    return rows


def same_or_mean(values: Sequence[float]) -> float:
    """The one value that all trials have, as it is; else their mean."""
    return values[0] if len(set(values)) == 1 else float(np.mean(values))


def summarize_pairs(lines: Sequence[Record]) -> list[dict[str, Any]]:
    """One row per cycle and pair of strategies: both, the trials, and each of `PAIR_MEASURES`.

    Args:
      lines: records of pairs.jsonl, of any number of trials.

    Returns:
      Rows in order of cycles; a measure is as in `summarize`.
    """
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for line in lines:
        groups.setdefault((line["cycle"], line["a"], line["b"]), []).append(line)
    return [
        {
            "cycle": cycle,
            "a": a,
            "b": b,
            "trials": len(group),
            **{name: spread(line[name] for line in group) for name in PAIR_MEASURES},
        }
        for (cycle, a, b), group in sorted(groups.items(), key=lambda item: item[0][0])
    ]


def spread(values: Iterable[float | None]) -> Spread:
    """Mean, standard deviation of the sample, and the 95 % interval of the mean (Student's t)."""
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "sd": None, "low": None, "high": None}
    count, mean = len(known), float(np.mean(known))
    if count == 1:
        return {"mean": mean, "sd": None, "low": None, "high": None}
    sd = float(np.std(known, ddof=1))
    half = float(student_t.ppf(0.975, count - 1)) * sd / math.sqrt(count)
    return {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def contents(lines: Sequence[Record], pair_lines: Sequence[Record] = ()) -> dict[str, bytes]:
    """The contents of the summary's files by their names; of no cycle, and of no pairs, no files.

    Args:
      lines: records of cycles.jsonl.
      pair_lines: records of pairs.jsonl.
    """
    rows, of_pairs = summarize(lines), summarize_pairs(pair_lines)
    found = {}
    if rows:
        found = {"summary.json": (json.dumps(rows, indent=2) + "\n").encode(), "summary.csv": _csv(rows)}
    if of_pairs:
        found["pairs.csv"] = _csv(of_pairs)
    return found


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    flat = [
        {name.replace(".", "_"): value for name, value in flatten(row).items() if name != "stopped"}
        for row in rows
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().encode()


def cells(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows of a summary as texts under `HEADINGS`: means over trials ± standard deviation."""
    return [
        (
            str(row["cycle"]),
            f"{row['labeled']:.6g}",
            plus_minus(row["accuracy"], ".1f", 100),
            plus_minus(row["overlap"], ".1f"),
            f"{row['chance']:g}",
            plus_minus(row["C"], "+.3f"),
        )
        for row in rows
    ]


def plus_minus(measure: Spread, form: str, factor: float = 1.0) -> str:
    """A measure as "mean ± standard deviation"."""
    mean, sd = measure["mean"], measure["sd"]
    if mean is None:
        return "-"
    text = format(factor * mean, form)
    return text if sd is None else f"{text} ± {format(factor * sd, form.lstrip('+'))}"


def title(rows: Sequence[dict[str, Any]]) -> str:
    """What stands above the table."""
    most, fewest = (pick(row["trials"] for row in rows) for pick in (max, min))
    trials = f"{most} trial{'s' * (most > 1)}" if most == fewest else f"{fewest} to {most} trials"
    return f"means over {trials} ± standard deviation"


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of a summary as a table for a terminal."""
    shown = Table(title=title(rows))
    for heading in HEADINGS:
        shown.add_column(heading, justify="right")
    for row in cells(rows):
        shown.add_row(*row)
    return shown


def matrix(names: Sequence[str], means: Sequence[Sequence[float]], cycle: int) -> Table:
    """C of every pair in one cycle, means over trials, as a table for a terminal.

    Args:
      names: the strategies, S.
      means: [S, S].
      cycle: from 1.
    """
    shown = Table(
        title=f"100 C of every pair in cycle {cycle}, means over trials", box=None, padding=(0, 1, 0, 0)
    )
    shown.add_column(no_wrap=True)
    for number in range(1, len(names) + 1):
        shown.add_column(str(number), justify="right", no_wrap=True)
    for number, (name, row) in enumerate(zip(names, means, strict=True), start=1):
        known = ("?" if value != value else f"{100 * value:+.0f}" for value in row[: number - 1])
        shown.add_row(f"{number} {name}", *known)
    return shown


def area_under_curve(lines: Sequence[Record]) -> Spread:
    """The mean height of the accuracy curve over the labels, by the trapezoid rule.

    The integral from the first number of labels to the last that every trial has reached,
    divided by their difference; of one cycle alone there is none.

    Args:
      lines: records of cycles.jsonl.

    Returns:
      The spread over trials, in units of accuracy (0 to 1).
    """
    trials = by_trial(lines, "accuracy")
    labels = by_trial(lines, "labeled")
    shared = sorted(set.intersection(*(set(values) for values in trials.values()))) if trials else []
    if len(shared) < 2:
        return spread([])

    def of_trial(trial: int) -> float | None:
        x = [labels[trial][cycle] for cycle in shared]
        area = float(np.trapezoid([trials[trial][cycle] for cycle in shared], x))
        return area / (x[-1] - x[0]) if x[-1] > x[0] else None

    return spread(of_trial(trial) for trial in trials)


def by_trial(lines: Sequence[Record], name: str) -> dict[int, dict[int, float]]:
    """One measure as {trial: {cycle: value}}, without those that are None."""
    trials: dict[int, dict[int, float]] = {}
    for line in lines:
        if line.get(name) is not None:
            trials.setdefault(line["trial"], {})[line["cycle"]] = line[name]
    return trials
