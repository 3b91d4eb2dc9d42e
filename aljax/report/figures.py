"""The figures of a report: what each shows of the records, and the words below it.

A figure is a function of the runs that are shown, and a line in `FIGURES`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from aljax import metrics
from aljax.records import reader, summary
from aljax.records.files import Record
from aljax.records.reader import Run, get
from aljax.report import claims, explanation, plots, protocol

MOST_CLASSES = 40  # rows of the figure of classes


class Drawn(NamedTuple):
    """A figure, and its words."""

    name: str  # of its files, and of its ids in the page
    figure: Figure
    caption: str
    place: str = ""  # the section of the page, from `FIGURES`


def draw(shown: Sequence[Run]) -> list[Drawn]:
    """Draws the figures of one run, or those that lay several side by side."""
    shown = [run for run in shown if run.lines]
    if not shown:
        return []
    return [one._replace(place=place) for place, function in FIGURES for one in function(shown)]


def of_one(function: Callable[[Run], list[Drawn]]) -> Callable[[Sequence[Run]], list[Drawn]]:
    """Makes a figure of a single run a figure of several, for which it draws nothing."""

    @functools.wraps(function)
    def drawn(shown: Sequence[Run]) -> list[Drawn]:
        return function(shown[0]) if len(shown) == 1 else []

    return drawn


def correlation(shown: Sequence[Run]) -> list[Drawn]:
    """Draws C over cycles."""
    labels, colours = _labels(shown)
    settings = {(run.config["budget"], run.config["subset_size"]) for run in shown}
    cycles = sorted({line["cycle"] for run in shown for line in run.lines})
    band = None
    if len(settings) == 1:
        low, high = claims.chance_band(*settings.pop())
        band = low, high, "95 % of independent selections"
    study = any(protocol.has_points(run.config) for run in shown)
    figure = plots.curves(
        {label: _series(run, "C", "cycle") for label, run in zip(labels, shown, strict=True)},
        x_label="cycle",
        y_label="correlation C",
        colours=colours,
        trials={labels[0]: _each_trial(shown[0], "C", "cycle")} if len(shown) == 1 else None,
        band=band,
        points={at: c for at, c in protocol.POINTS.items() if at <= cycles[-1]} if study else None,
        zero=True,
        limits=(-1.05, 1.05),
    )
    caption = (
        f"The correlation C of the two selections over cycles: {_drawn(shown)}; 0 is what independent "
        "selections have on average"
        + (", and the grey band holds 95 % of theirs, one trial at a time" if band else "")
        + (". The stars are the study's" if study else "")
        + f".{_listed(labels, shown)}"
    )
    return [Drawn("correlation", figure, caption)]


def accuracy(shown: Sequence[Run]) -> list[Drawn]:
    """Draws accuracy over labels."""
    labels, colours = _labels(shown)
    named = list(zip(labels, shown, strict=True))
    most = max(line["labeled"] for run in shown for line in run.lines)
    bands = {band for run in shown for band in protocol.bands(run.config) if band.labeled <= most}
    known = [line["accuracy"] for run in shown for line in run.lines if line["accuracy"] is not None]
    if not known:
        return []
    seen = [100 * value for value in known]
    seen += [edge for band in bands for edge in (band.low, band.high)]
    margin = 1 + 0.08 * (max(seen) - min(seen))
    figure = plots.curves(
        {label: _series(run, "accuracy", "labeled", 100) for label, run in named},
        x_label="labeled images",
        y_label="test accuracy (%)",
        colours=colours,
        trials={labels[0]: _each_trial(shown[0], "accuracy", "labeled", 100)} if len(shown) == 1 else None,
        published=sorted(bands),
        limits=(max(0.0, min(seen) - margin), min(102.0, max(seen) + margin)),
        whole_ticks=False,
    )
    caption = f"Test accuracy over labeled images: {_drawn(shown)}.{_listed(labels, shown)}"
    if bands:
        caption += " The bars are published ranges for a ResNet-18, by the strategy that chose the labels."
    return [Drawn("accuracy", figure, caption)]


def fit(shown: Sequence[Run]) -> list[Drawn]:
    """Draws C against measures of the model that selected, a point each run, trial and cycle."""
    points = explanation.points_of(shown) if len(shown) > 1 else []
    labels, _ = _labels(shown)
    panels = {}
    for measure, title in explanation.MEASURES.items():
        groups = {}
        for number, label in enumerate(labels):
            of_run = [point for point in points if point.run == number]
            pairs = [(x, point.C) for point in of_run if (x := getattr(point, measure)) is not None]
            if pairs:
                groups[label] = tuple(zip(*pairs, strict=True))
        if groups:
            panels[title] = groups
    if not panels:
        return []
    loss = explanation.MEASURES["train_loss"]
    positive = all(x > 0 for xs, _ in panels.get(loss, {}).values() for x in xs)
    figure = plots.scatters(
        panels,
        y_label="correlation C",
        names=labels,
        logarithmic=[loss] if positive else [],
        limits=(-1.05, 1.05),
    )
    caption = (
        "C against the fit of the model that selected: each point is a trial's cycle, coloured by run. "
        "Accuracy, training loss and labels are those of the cycle before, which that model comes from; the "
        "correlations are Spearman's, over the sub-pool, of the uncertainty strategy's scores with the "
        f"distance to the nearest labeled image and with the length of the features.{_listed(labels, shown)}"
    )
    return [Drawn("fit", figure, caption)]


@of_one
def class_accuracy(run: Run) -> list[Drawn]:
    """Draws the accuracy of the best, the median and the worst class, where it was measured."""
    rows = [row for row in summary.summarize(run.lines) if row.get(metrics.PER_CLASS)]
    if not rows:
        return []
    ranked = [
        sorted(
            (of for of in row[metrics.PER_CLASS].values() if of["mean"] is not None),
            key=lambda of: of["mean"],
        )
        for row in rows
    ]
    picks = {
        "best class": lambda classes: classes[-1],
        "median class": lambda classes: classes[len(classes) // 2],
        "worst class": lambda classes: classes[0],
    }
    at = [row["labeled"] for row in rows]
    figure = plots.curves(
        {name: (at, [_scaled(pick(classes), 100) for classes in ranked]) for name, pick in picks.items()},
        x_label="labeled images",
        y_label="test accuracy (%)",
        colours=dict(zip(picks, plots.RUNS, strict=False)),
        limits=(0, 102),
        whole_ticks=False,
    )
    caption = "Test accuracy of single classes, ranked in each cycle by the mean over trials."
    return [Drawn("class-accuracy", figure, caption)]


@of_one
def distance(run: Run) -> list[Drawn]:
    """Draws the distance of the batches from the labeled images."""
    lines = _with_model(run)
    if not lines:
        return []
    names = {"uncertainty": "uncertainty batch", "diversity": "diversity batch", "pool": "random batch"}
    figure = _of_lines(lines, "distance", names, "mean distance to nearest label")
    caption = (
        "Mean Euclidean distance of each batch to its nearest labeled images, in the space of the "
        "model's features, before it is labeled. A random batch has the mean of the sub-pool. The "
        "higher the uncertainty batch lies, the more new ground it breaks."
    )
    return [Drawn("distance", figure, caption)]


@of_one
def coverage(run: Run) -> list[Drawn]:
    """Draws the radius that remains uncovered after each batch."""
    lines = _with_model(run)
    if not lines:
        return []
    names = {
        "uncertainty": "uncertainty batch",
        "diversity": "diversity batch",
        "random": "random batch",
    }
    figure = _of_lines(lines, "radius", names, "coverage radius after labeling")
    caption = (
        "The largest distance in the sub-pool to the nearest labeled image, once each batch is labeled: "
        "the radius that k-center makes small. The lower, the better the batch covers the sub-pool."
    )
    return [Drawn("coverage", figure, caption)]


@of_one
def spearman(run: Run) -> list[Drawn]:
    """Draws the rank correlation of the scores with the true loss and with the distance."""
    lines = _with_model(run)
    if all(value is None for line in lines for value in line["spearman"].values()):
        return []
    figure = _of_lines(
        lines,
        "spearman",
        {"loss": "with the true loss", "distance": "with the distance"},
        "Spearman correlation of the scores",
        colours={"with the true loss": plots.OTHER, "with the distance": plots.INK},
        zero=True,
        limits=(-1.05, 1.05),
    )
    caption = (
        "Rank correlation, over the sub-pool, of the uncertainty strategy's scores (for Learning Loss the "
        "predicted loss) with the true loss, and with the distance to the nearest labeled image."
    )
    return [Drawn("spearman", figure, caption)]


@of_one
def classes(run: Run) -> list[Drawn]:
    """Draws the class balance of the batches against the sub-pool's."""
    counted = [line for line in run.diagnostics if line.get("classes")]
    if not counted:
        return []
    cycles = sorted({line["cycle"] for line in counted})
    counts = {
        name: np.array(
            [
                np.sum([line["classes"][name] for line in counted if line["cycle"] == cycle], axis=0)
                for cycle in cycles
            ],
            float,
        )
        for name in ("pool", "uncertainty", "diversity")
    }
    with np.errstate(divide="ignore", invalid="ignore"):  # classes without an image, and empty batches
        share = {name: count / count.sum(axis=1, keepdims=True) for name, count in counts.items()}
        ratios = {
            f"{name} batch": np.clip(np.log2(share[name] / share["pool"]), -2, 2).T
            for name in ("uncertainty", "diversity")
        }
    names = _class_names(run, counts["pool"].shape[1])
    held = (counts["uncertainty"] + counts["diversity"]).sum(axis=0)
    rows = np.sort(np.argsort(-held, kind="stable")[:MOST_CLASSES])
    drawable = all(plots.drawable(names[row]) for row in rows)
    labels = [names[row] if drawable else str(row) for row in rows]
    figure = plots.class_shares({name: ratio[rows] for name, ratio in ratios.items()}, cycles, labels)
    caption = (
        "How often each class is in a batch against the sub-pool, all trials together: 1 as often, 2 twice "
        "as often; colours end at a quarter and at four times."
    )
    if len(rows) < len(names):
        caption += f" Of {len(names):,} classes, the {len(rows)} that the batches hold most of."
    if not drawable:
        caption += " The classes: " + ", ".join(f"{row} {names[row]}" for row in rows) + "."
    return [Drawn("classes", figure, caption)]


@of_one
def sub_pools(run: Run) -> list[Drawn]:
    """Draws the sub-pool of each cycle whose images are kept, in the plane of two principal components."""
    return [
        Drawn(
            f"subpool-cycle-{cycle:02d}",
            plots.sub_pool(kept),
            f"The sub-pool of trial {trial}, cycle {cycle}, in the plane of the first two principal "
            "components of its features, and who selected what.",
        )
        for (trial, cycle), kept in run.galleries.items()
    ]


# Every figure, with its place on the page: "curves", "fit" (with a table), "why" (with the diagnostics),
# "albums" (with images), or any other name, which gets a section of its own.
FIGURES: tuple[tuple[str, Callable[[Sequence[Run]], list[Drawn]]], ...] = (
    ("curves", correlation),
    ("curves", accuracy),
    ("curves", class_accuracy),
    ("fit", fit),
    ("why", distance),
    ("why", coverage),
    ("why", spearman),
    ("classes", classes),
    ("albums", sub_pools),
)


def _with_model(run: Run) -> list[Record]:
    """Returns the diagnostics of the cycles that have a model."""
    return [line for line in run.diagnostics if line.get("distance")]


def _labels(shown: Sequence[Run]) -> tuple[list[str], dict[str, str]]:
    """Returns the name of each run's curve in the legend, and the colours of the names."""
    if len(shown) == 1:
        trials = len({line["trial"] for line in shown[0].lines})
        label = f"mean of {trials} trials, 95 % interval" if trials > 1 else "the one trial"
        return [label], {label: plots.BOTH}
    labels = reader.names(shown)
    if not all(map(plots.drawable, labels)):
        labels = [f"run {number}" for number in range(1, len(shown) + 1)]
    return labels, {label: plots.RUNS[i % len(plots.RUNS)] for i, label in enumerate(labels)}


def _listed(labels: Sequence[str], shown: Sequence[Run]) -> str:
    """Returns the names of the runs that the legend only numbers."""
    pairs = zip(labels, reader.names(shown), strict=True)
    listed = [f"{label} is {name}" for label, name in pairs if label != name]
    return f" In the legend, {', '.join(listed)}." if listed and len(shown) > 1 else ""


def _drawn(shown: Sequence[Run]) -> str:
    """Returns the description of a curve."""
    if len(shown) == 1 and len({line["trial"] for line in shown[0].lines}) == 1:
        return "one trial alone, which has no interval"
    thin = ", each trial thin behind it" if len(shown) == 1 else ""
    return "mean over trials with its 95 % interval" + thin


def _series(run: Run, measure: str, x: str, factor: float = 1.0) -> tuple[list[float], list[summary.Spread]]:
    rows = summary.summarize(run.lines)
    return [row[x] for row in rows], [_scaled(row[measure], factor) for row in rows]


def _scaled(measured: summary.Spread, factor: float) -> summary.Spread:
    return {name: None if value is None else factor * value for name, value in measured.items()}


def _each_trial(run: Run, measure: str, x: str, factor: float = 1.0) -> list[tuple[list[float], list[float]]]:
    at, trials = summary.by_trial(run.lines, x), summary.by_trial(run.lines, measure)
    if len(trials) == 1:
        return []
    return [
        ([at[trial][cycle] for cycle in values], [factor * value for value in values.values()])
        for trial, values in trials.items()
    ]


def _of_lines(
    lines: Sequence[Record],
    group: str,
    names: Mapping[str, str],
    y_label: str,
    colours: Mapping[str, str] | None = None,
    **options: Any,
) -> Figure:
    """Draws some entries of the diagnostics over cycles."""
    palette = {
        "uncertainty batch": plots.UNCERTAINTY,
        "diversity batch": plots.DIVERSITY,
        "random batch": plots.MUTED,
    }
    cycles = sorted({line["cycle"] for line in lines})
    series = {
        name: (
            cycles,
            [summary.spread(get(line, group, key) for line in lines if line["cycle"] == c) for c in cycles],
        )
        for key, name in names.items()
    }
    if "limits" not in options:
        options["limits"] = 0, 1.1 * max(get(line, group, key) or 0 for line in lines for key in names)
    return plots.curves(
        series, x_label="cycle", y_label=y_label, colours=colours or palette, size=(3.9, 3.1), **options
    )


def _class_names(run: Run, count: int) -> list[str]:
    for kept in run.galleries.values():
        return [str(name) for name in kept.class_names]
    return [f"class {number}" for number in range(count)]
