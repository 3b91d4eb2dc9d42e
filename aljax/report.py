"""Tables from a run's records.

A summary has one row per cycle; each measure in it has a mean, a standard deviation and a
95 % interval of the mean over trials (Student's t; none for a single trial).
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student_t

from aljax import records
from aljax.files import Record, write

MEASURES = ("accuracy", "overlap", "C", "kappa", "jaccard", "test_loss", "train_loss")


def finish(workdir: Path, lines: Sequence[Record]) -> None:
    """Writes summary.csv and summary.json, and prints the table and where the run directory is."""
    for name, content in files(lines).items():
        path = workdir / name
        if not path.exists() or path.read_bytes() != content:
            write(path, content)
    console = Console()
    console.print(table(summarize(lines)))
    console.print(f"run directory: {workdir}", highlight=False, soft_wrap=True)


def files(lines: Sequence[Record]) -> dict[str, bytes]:
    """The contents of the summary's files by their names."""
    rows = summarize(lines)
    flat = [{name.replace(".", "_"): value for name, value in records.flatten(row).items()} for row in rows]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return {
        "summary.json": (json.dumps(rows, indent=2) + "\n").encode(),
        "summary.csv": text.getvalue().encode(),
    }


def summarize(lines: Sequence[Record]) -> list[dict[str, Any]]:
    """One row per cycle: its number, labels, trials, chance overlap, and each of `MEASURES`.

    Args:
      lines: records of cycles.jsonl, of any number of trials.

    Returns:
      Rows in order of cycles; a measure is {"mean", "sd", "low", "high"}, where sd (of the
      sample) and the 95 % interval are None for a single trial.
    """
    rows = []
    for cycle in sorted({line["cycle"] for line in lines}):
        group = [line for line in lines if line["cycle"] == cycle]
        rows.append(
            {
                "cycle": cycle,
                "labeled": group[0]["labeled"],
                "trials": len(group),
                "chance": group[0]["chance"],
                **{name: _spread([line[name] for line in group]) for name in MEASURES},
            }
        )
    return rows


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    count, mean = len(values), float(np.mean(values))
    if count == 1:
        return {"mean": mean, "sd": None, "low": None, "high": None}
    sd = float(np.std(values, ddof=1))
    half = float(student_t.ppf(0.975, count - 1)) * sd / math.sqrt(count)
    return {"mean": mean, "sd": sd, "low": mean - half, "high": mean + half}


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows of a summary as a table for a terminal: means over trials ± standard deviation."""

    def cell(measure, form, factor=1.0):
        text = format(factor * measure["mean"], form)
        if measure["sd"] is not None:
            text += f" ± {format(factor * measure['sd'], form.lstrip('+'))}"
        return text

    trials = rows[0]["trials"]
    shown = Table(title=f"means over {trials} trial{'s' * (trials > 1)} ± standard deviation")
    for heading in ("cycle", "labeled", "accuracy %", "overlap", "by chance", "C"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            str(row["cycle"]),
            str(row["labeled"]),
            cell(row["accuracy"], ".1f", 100),
            cell(row["overlap"], ".1f"),
            f"{row['chance']:g}",
            cell(row["C"], "+.3f"),
        )
    return shown
