"""Images tied at the cut, by strategy and cycle: python -m benchmarks.ties RUN --out FILE.csv.

An image is tied at the cut if its score is the lowest chosen one, and not all of that score were chosen:
which of them were is chance. RUN compares several strategies, as configs/digits_pairs.py does. A strategy
that returns no scores is left out, as no ties can be counted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aljax.records import files, reader, selections
from aljax.strategies.base import ties_at_cut
from benchmarks import common


def counted(run: Path) -> list[dict[str, object]]:
    """Counts the ties of every compared strategy that scores images.

    Returns:
      A row for each strategy: the trials, the budget, and the mean over trials of the images tied in each
      cycle from 2 on, which is the first with a model; most first.
    """
    loaded = reader.load(run)
    ties: dict[str, dict[int, list[int]]] = {}
    for line in loaded.lines:
        if line["cycle"] == 1:
            continue
        made = selections.load(selections.path_of(run, line["trial"], line["cycle"]))
        if made is None:
            continue
        for name, scores in made.compared_scores.items():
            if len(scores):
                chosen = np.flatnonzero(np.isin(made.subset, made.compared[name]))
                tied = ties_at_cut(scores, chosen)[1]
                ties.setdefault(name, {}).setdefault(line["cycle"], []).append(tied)
    rows = []
    for name, of_cycles in ties.items():
        means = {cycle: float(np.mean(values)) for cycle, values in sorted(of_cycles.items())}
        rows.append(
            {
                "strategy": name,
                "trials": min(map(len, of_cycles.values())),
                "budget": loaded.config["budget"],
                "mean": round(float(np.mean(list(means.values()))), 2),
                **{f"cycle {cycle}": round(value, 2) for cycle, value in means.items()},
            }
        )
    return sorted(rows, key=lambda row: -row["mean"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, and writes it; returns the exit status."""
    parser = common.parser(__doc__, "where to write the table as CSV")
    parser.add_argument("run", type=Path, help="a run directory")
    given = parser.parse_args(arguments)
    rows = counted(given.run)
    if not rows:
        print(f"{given.run}: no selection of several strategies that score images")
        return 2
    if given.out is not None:
        files.write(given.out, common.csv_of(rows))
    common.show("Images tied at the cut", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
