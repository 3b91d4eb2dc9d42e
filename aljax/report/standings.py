"""The comparison of accuracies as tables, as figures, and as numbers in a file."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from aljax.records import files, summary
from aljax.report import accuracy, plots, render, text
from aljax.report.accuracy import Accuracies, Ranking


def show(found: Accuracies) -> None:
    """Prints the tables, and the sentences on ranks."""
    console = Console()
    ranking = accuracy.ranking(accuracy.areas(found))
    for table in (areas(found, ranking), gaps(found), penalties(found)):
        console.print(table)
    for sentence in sentences(found, ranking):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def write(found: Accuracies, folder: Path) -> None:
    """Writes accuracy.json, and the curves and ranks as SVG and PNG."""
    heights = accuracy.areas(found)
    ranking = accuracy.ranking(heights)
    numbers = {
        **found._asdict(),
        "values": found.values.tolist(),
        "areas": heights.tolist(),
        "penalties": accuracy.penalties(found.values).tolist(),
        "ranking": {**ranking._asdict(), "ranks": ranking.ranks.tolist()},
        "differences": [
            {**gap._asdict(), "trials_for_a_point": needed} for gap, needed in accuracy.differences(found)
        ],
    }
    files.write(folder / "accuracy.json", (json.dumps(numbers, indent=1) + "\n").encode())
    for name, figure in (("curves", curves(found)), ("ranks", ranks(found.names, ranking))):
        files.write(folder / f"{name}.svg", render.svg(figure))
        files.write(folder / f"{name}.png", render.png(figure))


def areas(found: Accuracies, ranking: Ranking) -> Table:
    """Returns the area under each curve, the accuracy at the last number of labels, and the mean rank."""
    many = len(found.trials)
    shown = Table(title=f"{many} trial{'s' * (many > 1)}, mean ± standard deviation")
    last = f"accuracy % at {found.labels[-1]:,}"
    for heading in ("labels by", "area under the curve, %", last, "mean rank of the area"):
        shown.add_column(heading, justify="left" if heading == "labels by" else "right")
    heights = accuracy.areas(found)
    for row in np.argsort(ranking.ranks, kind="stable"):
        spreads = [summary.spread(values.tolist()) for values in (heights[row], found.values[row, :, -1])]
        cells = [text.plus_minus(spread, ".2f", 100) for spread in spreads]
        shown.add_row(found.names[row], *cells, f"{ranking.ranks[row]:.2f}")
    return shown


def gaps(found: Accuracies) -> Table:
    """Returns the differences of areas to the first run, with the trials that one point would need."""
    shown = Table(title=f"area under the curve, points of accuracy, against {found.names[0]}")
    for heading in ("", "mean", "95 % interval", "p, paired t-test", "trials for a point"):
        shown.add_column(heading, justify="right" if heading else "left")
    for gap, needed in accuracy.differences(found):
        bounds = "-"
        if gap.low is not None and gap.high is not None:
            bounds = f"{100 * gap.low:+.2f} to {100 * gap.high:+.2f}"
        shown.add_row(
            gap.text,
            "-" if gap.mean is None else f"{100 * gap.mean:+.2f}",
            bounds,
            "-" if gap.p is None else f"{gap.p:.2g}",
            "-" if gap.low is None else f"more than {accuracy.MOST:,}" if needed is None else f"{needed:,}",
        )
    return shown


def penalties(found: Accuracies) -> Table:
    """Returns the pairwise penalty matrix, and the mean of each column."""
    values = accuracy.penalties(found.values)
    shown = Table(title="share of the numbers of labels at which the row beats the column")
    for name in ("", *found.names):
        shown.add_column(name, justify="right" if name else "left")
    for name, row in zip(found.names, values, strict=True):
        shown.add_row(name, *(f"{value:.2f}" for value in row), end_section=name == found.names[-1])
    others = max(1, len(found.names) - 1)
    shown.add_row("is beaten, mean", *(f"{value / others:.2f}" for value in values.sum(axis=0)))
    return shown


def sentences(found: Accuracies, ranking: Ranking) -> list[str]:
    """Returns what the ranks say, and in what the runs differ beside their strategies."""
    p = "" if ranking.p is None else f"Friedman's test that all rank alike: p {ranking.p:.2g}. "
    said = [f"{p}Mean ranks have to be {ranking.difference:.2f} apart (Nemenyi, 5 %)."]
    for group in ranking.groups:
        said.append(f"Not told apart: {', '.join(found.names[row] for row in group)}.")
    if found.differing:
        said.append(f"The runs also differ in {', '.join(found.differing)}.")
    return said


def curves(found: Accuracies) -> Figure:
    """Draws the accuracy over labels: means over trials with their 95 % intervals."""
    series = {}
    for name, values in zip(found.names, 100 * found.values, strict=True):
        series[name] = (found.labels, [summary.spread(at.tolist()) for at in values.T])
    colours = {name: plots.RUNS[i % len(plots.RUNS)] for i, name in enumerate(found.names)}
    return plots.curves(
        series,
        x_label="labeled images",
        y_label="test accuracy (%)",
        colours=colours,
        whole_ticks=False,
    )


@plots.styled
def ranks(names: Sequence[str], ranking: Ranking) -> Figure:
    """Draws the critical-difference diagram: mean ranks, with a bar over those that are not told apart."""
    order = np.argsort(ranking.ranks, kind="stable").tolist()
    left = order[: -(-len(order) // 2)]
    figure, axes = plots.empty((5.6, 1.1 + 0.22 * len(left) + 0.12 * len(ranking.groups)))
    axes.axis("off")
    worst = len(names)
    axes.set_xlim(-0.2 * worst, 1 + 1.2 * worst)
    axes.plot([1, worst], [0, 0], color=plots.INK, linewidth=1)
    for rank in range(1, worst + 1):
        axes.plot([rank, rank], [0, 0.12], color=plots.INK, linewidth=1)
        axes.annotate(str(rank), (rank, 0.2), ha="center", fontsize=8)
    axes.plot([1, 1 + ranking.difference], [0.75, 0.75], color=plots.INK, linewidth=1.5)
    axes.annotate(f"critical difference {ranking.difference:.2f}", (1, 0.85), fontsize=8)
    below = 0.3 + 0.18 * len(ranking.groups)
    for number, group in enumerate(ranking.groups):
        ends = [ranking.ranks[group[0]] - 0.03, ranking.ranks[group[-1]] + 0.03]
        axes.plot(ends, [-0.2 - 0.18 * number] * 2, color=plots.UNCERTAINTY, linewidth=3)
    for side, rows in (("left", left), ("right", order[len(left) :][::-1])):
        edge, align = (0.6, "right") if side == "left" else (worst + 0.4, "left")
        for place, row in enumerate(rows):
            height, rank = -below - 0.35 * place, ranking.ranks[row]
            axes.plot([rank, rank, edge], [0, height, height], color=plots.MUTED, linewidth=0.8)
            axes.annotate(f"{names[row]} ({rank:.2f})", (edge, height), ha=align, va="center", fontsize=8)
    axes.set_ylim(-below - 0.35 * len(left), 1.1)
    return figure
