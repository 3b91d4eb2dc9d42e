"""Summaries of a run's records over its trials.

A summary has one row per cycle; each measure in it has a mean, a standard deviation and a
95 % interval of the mean over trials (Student's t; none for a single trial). A measure that a
trial lacks (None) is left out of the mean.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aljax import metrics
from aljax.config import flatten
from aljax.records.files import Record

MEASURES = ("accuracy", "overlap", "C", "kappa", "jaccard", "test_loss", "train_loss")
NAMES = ("summary.json", "summary.csv", "pairs.csv")  # of the files
PAIR_MEASURES = ("overlap", "C", "kappa", "jaccard", "spearman")

Spread = dict[str, float | None]


def summarize(lines: Sequence[Record]) -> list[dict[str, Any]]:
    """Returns one row per cycle: its number, labels, trials, chance overlap, and each of `MEASURES`.

    Args:
      lines: records of cycles.jsonl, of any number of trials.

    Returns:
      Rows in order of cycles; a measure is {"mean", "sd", "low", "high"}, where sd (of the
      sample) and the 95 % interval are None for a single trial. If the lines count "ties", the
      images tied at the cut of the selections, so do the rows; and they have the metrics of the lines, that
      of each class as a dictionary of measures. Where trials stopped, the row of that
      cycle has "stopped", with the "trial" and the "reason" of each.
    """
    further = [name for name in ("ties", *metrics.SCALARS) if any(name in line for line in lines)]
    rows = []
    for cycle in sorted({line["cycle"] for line in lines}):
        group = [line for line in lines if line["cycle"] == cycle]
        row = {
            "cycle": cycle,
            "labeled": same_or_mean([line["labeled"] for line in group]),
            "trials": len(group),
            "chance": same_or_mean([line["chance"] for line in group]),
            **{name: spread(line.get(name) for line in group) for name in (*MEASURES, *further)},
        }
        of_classes = [line[metrics.PER_CLASS] for line in group if line.get(metrics.PER_CLASS)]
        if of_classes:
            row[metrics.PER_CLASS] = {
                name: spread(line[name] for line in of_classes) for name in of_classes[0]
            }
        ends = [line for line in group if line.get("stopped")]
        if ends:
            row["stopped"] = [{"trial": line["trial"], "reason": line["stopped"]} for line in ends]
        rows.append(row)
    return rows


def same_or_mean(values: Sequence[float]) -> float:
    """Returns the value that all trials share, as it is; else the mean."""
    return values[0] if len(set(values)) == 1 else float(np.mean(values))


def summarize_pairs(lines: Sequence[Record]) -> list[dict[str, Any]]:
    """Returns one row per cycle and pair of strategies: both, the trials, and each of `PAIR_MEASURES`.

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
            **{name: spread(line.get(name) for line in group) for name in PAIR_MEASURES},
        }
        for (cycle, a, b), group in sorted(groups.items(), key=lambda item: item[0][0])
    ]


def pair_means(lines: Sequence[Record], cycle: int) -> tuple[list[str], np.ndarray]:
    """Returns the mean of C over trials in one cycle, for every pair of strategies.

    Args:
      lines: records of pairs.jsonl.
      cycle: from 1.

    Returns:
      The names of the S strategies, and the means [S, S], symmetric, with 1 on the diagonal; nan for
      a pair whose C is not defined in any trial.
    """
    lines = [line for line in lines if line["cycle"] == cycle]
    names = list(dict.fromkeys(line[side] for side in ("a", "b") for line in lines))
    groups: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        if line.get("C") is not None:
            groups.setdefault((line["a"], line["b"]), []).append(line["C"])
    means = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(means, 1)
    for (a, b), values in groups.items():
        i, j = names.index(a), names.index(b)
        means[i, j] = means[j, i] = np.mean(values)
    return names, means


def spread(values: Iterable[float | None]) -> Spread:
    """Returns the mean, the sample's standard deviation, and the 95 % interval of the mean (Student's t)."""
    from scipy.special import stdtrit  # Student's t; scipy.stats takes a second more to import

    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "sd": None, "low": None, "high": None}
    count, mean = len(known), float(np.mean(known))
    if count == 1:
        return {"mean": mean, "sd": None, "low": None, "high": None}
    sd = float(np.std(known, ddof=1))
    half = float(stdtrit(count - 1, 0.975)) * sd / math.sqrt(count)
    return {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def wilson(share: float, count: int) -> list[float]:
    """Returns the 95 % interval of a probability of which `share` was observed in `count` draws.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    z = 1.959964
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return [max(0.0, center - half), min(1.0, center + half)]


def contents(lines: Sequence[Record], pair_lines: Sequence[Record] = ()) -> dict[str, bytes]:
    """Returns the contents of the summary's files by name; no file for no cycle, and none for no pairs.

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


def remove(workdir: Path) -> None:
    """Removes the summary of a run that goes on to more cycles."""
    for name in NAMES:
        (workdir / name).unlink(missing_ok=True)


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


def area_under_curve(lines: Sequence[Record]) -> Spread:
    """Returns the mean height of the accuracy curve over the labels, by the trapezoid rule.

    The integral from the first number of labels to the last that every trial has reached,
    divided by their difference; None of one cycle alone.

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
    """Groups one measure as {trial: {cycle: value}}; values that are None are left out."""
    trials: dict[int, dict[int, float]] = {}
    for line in lines:
        if line.get(name) is not None:
            trials.setdefault(line["trial"], {})[line["cycle"]] = line[name]
    return trials
