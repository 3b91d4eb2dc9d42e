"""Plots by matplotlib: each is drawn from numbers alone, without the records.

Colours are Okabe & Ito's, which stay apart for colour-blind readers, and keep their meaning from
figure to figure. Within a page they become CSS variables, so that a figure follows the page's
light or dark scheme. No pyplot, no state: a function takes numbers and returns a Figure.
"""

import functools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager, ft2font
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from aljax.records import diagnostics
from aljax.records.summary import Spread
from aljax.report.protocol import Band

INK, MUTED, LINE = "#1c1f23", "#6b7178", "#d5d8dc"
UNCERTAINTY, DIVERSITY, BOTH, OTHER = "#d55e00", "#0072b2", "#009e73", "#cc79a7"
RUNS = (BOTH, UNCERTAINTY, DIVERSITY, OTHER, "#e69f00", "#56b4e9")  # one colour per run, side by side
POINTS = ("o", "s", "^", "D", "v", "P")  # the shapes of one colour's runs, where there are many
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    UNCERTAINTY: "uncertainty",
    DIVERSITY: "diversity",
    BOTH: "both",
    OTHER: "other",
}
MARKERS = {UNCERTAINTY: "s", DIVERSITY: "^"}  # as in the picture of the sub-pool
STRATEGY_COLOURS = {"any": MUTED, "random": MUTED, "core_set": DIVERSITY, "entropy": OTHER}
SHARES = LinearSegmentedColormap.from_list("shares", [DIVERSITY, "#f2f2f2", UNCERTAINTY])

SIZE = (4.8, 3.2)  # inches: a figure that fills the width of a page's text
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "svg.hashsalt": "aljax",
    "figure.dpi": 100,
}


def styled(function):
    """Draws with `STYLE`, and leaves matplotlib's settings as they were."""

    def draw(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    draw.__doc__ = function.__doc__
    return draw


def empty(size: tuple[float, float] = SIZE) -> tuple[Figure, Axes]:
    """Returns a figure with one pair of axes."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


@styled
def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[Spread]]],
    *,
    x_label: str,
    y_label: str,
    colours: Mapping[str, str],
    trials: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]] | None = None,
    band: tuple[float, float, str] | None = None,
    points: Mapping[float, float] | None = None,
    published: Sequence[Band] = (),
    zero: bool = False,
    limits: tuple[float, float] | None = None,
    whole_ticks: bool = True,
    size: tuple[float, float] = SIZE,
) -> Figure:
    """Draws means over trials with their 95 % intervals, above bands and marks.

    Args:
      series: by name: x, and the spread at each x.
      x_label, y_label: with units.
      colours: of the names.
      trials: by name, (x, y) of each trial, drawn thin.
      band: low, high and a name: a grey area behind all.
      points: x and y of marks to compare with, called "the study".
      published: ranges of accuracy (%) at numbers of labels.
      zero: a line at 0.
      limits: of y.
      whole_ticks: every x a tick.
      size: inches.
    """
    figure, axes = empty(size)
    if band is not None:
        axes.axhspan(*band[:2], color=MUTED, alpha=0.18, linewidth=0, label=band[2])
    if zero:
        axes.axhline(0, color=MUTED, linewidth=0.8)
    _published(axes, published)
    for name, (x, spreads) in series.items():
        colour = colours[name]
        for trial_x, trial_y in (trials or {}).get(name, ()):
            axes.plot(trial_x, trial_y, color=colour, alpha=0.5, linewidth=0.7)
        mean, low, high = (
            np.array([spread[key] for spread in spreads], float) for key in ("mean", "low", "high")
        )  # nan where there is none: a gap
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(x, mean, color=colour, marker=MARKERS.get(colour, "o"), label=name)
    if points:
        axes.plot(list(points), list(points.values()), "*", color=INK, markersize=9, label="the study")
    axes.set(xlabel=x_label, ylabel=y_label)
    if limits:
        axes.set_ylim(*limits)
    at = sorted({value for x, _ in series.values() for value in x})
    if whole_ticks and 0 < len(at) <= 12:
        axes.set_xticks(at)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=3, borderaxespad=0)
    return figure


def _published(axes: Axes, published: Sequence[Band]) -> None:
    """Draws ranges as short bars, those of one number of labels side by side."""
    for labeled in sorted({band.labeled for band in published}):
        group = [band for band in published if band.labeled == labeled]
        for place, band in enumerate(group):
            x = labeled + 160 * (place - (len(group) - 1) / 2)
            colour = STRATEGY_COLOURS.get(band.strategy, UNCERTAINTY)
            axes.plot(
                [x, x], [band.low, band.high], color=colour, alpha=0.6, linewidth=4, solid_capstyle="butt"
            )
            axes.annotate(
                "published" if band.strategy == "any" else band.strategy,
                (x, band.low),
                xytext=(0, -3),
                textcoords="offset points",
                rotation=90,
                ha="center",
                va="top",
                fontsize=6,
                color=colour,
            )


@styled
def scatters(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    y_label: str,
    names: Sequence[str],
    logarithmic: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draws the same y against several x, each a panel.

    Args:
      panels: by the label of the x axis and the name of the points: x and y.
      y_label: of all panels.
      names: of the points, in the order of their colours.
      logarithmic: labels of the x axes that are logarithmic.
      limits: of y.
    """
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(1.6 * SIZE[0], 0.75 * SIZE[1] * rows + 0.35), layout="constrained")
    grid = figure.subplots(rows, 3, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for place, (axes, (x_label, points)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        axes.axhline(0, color=MUTED, linewidth=0.8)
        for name, (x, y) in points.items():
            number = names.index(name)
            axes.scatter(
                x,
                y,
                s=14,
                color=RUNS[number % len(RUNS)],
                marker=POINTS[number // len(RUNS) % len(POINTS)],
                alpha=0.75,
                linewidths=0,
                label=name,
            )
        axes.set_xlabel(x_label)
        axes.set_ylabel("" if place % 3 else y_label)
        axes.tick_params(labelleft=not place % 3)
        if x_label in logarithmic:
            axes.set_xscale("log")
        if limits is not None:
            axes.set_ylim(*limits)
    handles = {
        label: handle
        for axes in grid.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = min(4, len(handles))
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=columns, borderaxespad=0)
    return figure


@styled
def class_shares(
    shares: Mapping[str, np.ndarray], cycles: Sequence[int], class_names: Sequence[str]
) -> Figure:
    """Draws the share of each class in a batch against the sub-pool, as log2 of the ratio.

    Args:
      shares: by name of the batch, log2 ratios [K, T], nan where a batch holds none.
      cycles: T numbers.
      class_names: K.
    """
    height = max(2.6, 0.22 * len(class_names) + 1.1)
    width = min(max(SIZE[0], 0.55 * len(cycles) + 2), 2.5 * SIZE[0])
    step = -(-len(cycles) // 25)  # between the cycles that are labeled
    figure = Figure(figsize=(width, height), layout="constrained")
    pair = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(pair, shares.items(), strict=True):
        image = axes.pcolormesh(
            np.arange(len(cycles) + 1),
            np.arange(len(class_names) + 1),
            values,
            cmap=SHARES,
            vmin=-2,
            vmax=2,
            rasterized=values.size > 2_000,
        )
        axes.set_facecolor("none")
        axes.grid(False)
        axes.set_title(name)
        axes.set_xticks(np.arange(len(cycles))[::step] + 0.5, [str(cycle) for cycle in cycles[::step]])
        axes.set_yticks(np.arange(len(class_names)) + 0.5, [_short(name) for name in class_names])
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.set_xlabel("cycle")
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=list(pair), ticks=[-2, -1, 0, 1, 2], shrink=0.8)
    bar.ax.set_yticklabels(["¼", "½", "1", "2", "4"])
    bar.set_label("share against the sub-pool")
    bar.outline.set_visible(False)
    return figure


@styled
def sub_pool(kept: diagnostics.Gallery) -> Figure:
    """Draws the sub-pool in two dimensions, marked by who selected what."""
    figure, axes = empty((4.8, 4.0))
    large = len(kept.group) > 2_000
    for who, name, colour, marker, size in (
        (diagnostics.NEITHER, "not selected", MUTED, "o", 6),
        (diagnostics.DIVERSITY, "only diversity", DIVERSITY, "^", 22),
        (diagnostics.UNCERTAINTY, "only uncertainty", UNCERTAINTY, "s", 18),
        (diagnostics.BOTH, "both", BOTH, "D", 26),
    ):
        at = kept.coordinates[kept.group == who]
        axes.scatter(
            at[:, 0],
            at[:, 1],
            s=size / (1 if not large else 2 if who == diagnostics.BOTH else 4),
            c=colour,
            marker=marker,
            alpha=0.3 if who == diagnostics.NEITHER else 0.9,
            linewidths=0,
            rasterized=large,
            label=f"{name} ({len(at):,})",
        )
    axes.set(xlabel="first principal component", ylabel="second principal component")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, borderaxespad=0, markerscale=1.2)
    return figure


@functools.cache
def _glyphs() -> frozenset[int]:
    font = font_manager.findfont(font_manager.FontProperties(family=STYLE["font.sans-serif"]))
    return frozenset(ft2font.FT2Font(font).get_charmap())


def drawable(text: str) -> bool:
    """Tells whether the font has all letters of a text, and sets them one after the other, left to right."""
    return all(
        ord(letter) in _glyphs()
        and letter.isprintable()
        and unicodedata.bidirectional(letter) not in ("R", "AL")
        and not unicodedata.combining(letter)
        for letter in text
    )


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
