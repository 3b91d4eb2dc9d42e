"""The matrix of C of every pair of strategies: python -m benchmarks.matrix RUN --out FOLDER.

RUN compares several strategies, and need not have come to its end. matrix.svg shows the mean C over trials in
the first cycle that has a model, in the one half-way, and in the last; matrix.csv has all cycles, with
the 95 % intervals. Strategies stand in the order of the dendrogram of the last cycle's C, those that agree
side by side.
"""

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from aljax.records import files, reader, summary
from aljax.records.files import Record
from aljax.report import plots, render
from benchmarks import common


def order_of(means: np.ndarray) -> np.ndarray:
    """Orders strategies by average linkage, C of 1 being no distance; [S] positions.

    Args:
      means: C of every pair, [S, S], symmetric.
    """
    apart = 1 - (means + means.T) / 2
    np.fill_diagonal(apart, 0)
    condensed = squareform(np.nan_to_num(apart, nan=1.0), checks=False)
    return hierarchy.leaves_list(hierarchy.linkage(condensed, "average", optimal_ordering=True))


def shown_cycles(lines: Sequence[Record]) -> list[int]:
    """Returns the first cycle with a model, the one half-way, and the last."""
    cycles = sorted({line["cycle"] for line in lines if line["cycle"] > 1})
    return sorted({cycles[0], cycles[len(cycles) // 2], cycles[-1]})


@plots.styled
def figure_of(lines: Sequence[Record], labels: dict[int, int]) -> Figure:
    """Draws the matrices of three cycles side by side.

    Args:
      lines: of pairs.jsonl.
      labels: labels that the model of a cycle was trained on, by cycle.
    """
    cycles = shown_cycles(lines)
    order = order_of(summary.pair_means(lines, cycles[-1])[1])
    figure = Figure(figsize=(3.9 * len(cycles) + 1.8, 5.6), layout="constrained")
    for axes, cycle in zip(figure.subplots(1, len(cycles), squeeze=False)[0], cycles, strict=True):
        names, means = summary.pair_means(lines, cycle)
        means = means[np.ix_(order, order)]
        picture = axes.imshow(means, cmap=plots.SHARES, vmin=-1, vmax=1)
        axes.grid(False)
        axes.set_title(f"cycle {cycle}: a model of {labels[cycle]:,} labels")
        axes.set_xticks(range(len(names)), [names[i] for i in order], rotation=90, fontsize=6.5)
        first = axes is figure.axes[0]
        axes.set_yticks(range(len(names)), [names[i] for i in order] if first else [], fontsize=6.5)
    figure.colorbar(picture, ax=figure.axes, shrink=0.8, label="C, mean over trials")
    return figure


def table_of(lines: Sequence[Record]) -> bytes:
    """Returns mean, deviation and interval of C of every pair and cycle, as the content of a CSV file."""
    groups: dict[tuple[int, str, str], list[float | None]] = {}
    for line in lines:
        groups.setdefault((line["cycle"], line["a"], line["b"]), []).append(line.get("C"))
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(["cycle", "a", "b", "trials", "C_mean", "C_sd", "C_low", "C_high"])
    for place, values in sorted(groups.items(), key=lambda item: item[0][0]):
        known = [value for value in values if value is not None]
        cells = ["" if value is None else f"{value:.4f}" for value in summary.spread(known).values()]
        writer.writerow([*place, len(known), *cells])
    return content.getvalue().encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the figure and the table; returns the exit status."""
    parser = common.parser(__doc__, "a folder")
    parser.add_argument("run", type=Path, help="a run directory")
    given = parser.parse_args(arguments)
    loaded = reader.load(given.run)
    lines = [line for line in loaded.pairs if line["cycle"] > 1]
    if not lines:
        print(f"{given.run}: no pairs of strategies with a model; accepted: a run with config.compare")
        return 2
    labels = {line["cycle"] + 1: line["labeled"] for line in loaded.lines}
    folder = given.out or given.run
    files.write(folder / "matrix.svg", render.svg(figure_of(lines, labels)))
    files.write(folder / "matrix.csv", table_of(lines))
    print(folder / "matrix.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
