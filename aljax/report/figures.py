"""Which figures a report has: what each shows of the records, and the words below it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from aljax.records import reader as runs
from aljax.records import summary
from aljax.records.files import Record
from aljax.records.reader import Run, get
from aljax.report import claims as verdict
from aljax.report import plots as figures


class Drawn(NamedTuple):
    """A figure and what goes with it."""

    name: str  # of its files, and of its ids in the page
    figure: Figure
    caption: str


def drawings(shown: Sequence[Run]) -> list[Drawn]:
    """The figures of one run, or those that lay several side by side."""
    shown = [run for run in shown if run.lines]
    if not shown:
        return []
    drawn = [correlation(shown), accuracy(shown)]
    if len(shown) > 1:
        return drawn
    run = shown[0]
    measured = [line for line in run.diagnostics if line.get("distance")]
    if measured:
        drawn += [distance(measured), coverage(measured)]
    if any(value is not None for line in measured for value in line["spearman"].values()):
        drawn.append(spearman(measured))
    if run.diagnostics:
        drawn.append(classes(run))
    for (trial, cycle), kept in run.galleries.items():
        caption = (
            f"The sub-pool of trial {trial}, cycle {cycle}, in the plane of the first two principal "
            "components of its features, and who selected what."
        )
        drawn.append(Drawn(f"subpool-cycle-{cycle:02d}", figures.sub_pool(kept), caption))
    return drawn


def correlation(shown: Sequence[Run]) -> Drawn:
    """C over cycles."""
    labels, colours = _labels(shown)
    settings = {(run.config["budget"], run.config["subset_size"]) for run in shown}
    cycles = sorted({line["cycle"] for run in shown for line in run.lines})
    band = None
    if len(settings) == 1:
        low, high = verdict.chance_band(*settings.pop())
        band = low, high, "95 % of independent selections"
    study = any(verdict.is_study(run.config) for run in shown)
    figure = figures.curves(
        {label: _series(run, "C", "cycle") for label, run in zip(labels, shown, strict=True)},
        x_label="cycle",
        y_label="correlation C",
        colours=colours,
        trials={labels[0]: _each_trial(shown[0], "C", "cycle")} if len(shown) == 1 else None,
        band=band,
        points={at: c for at, c in verdict.POINTS.items() if at <= cycles[-1]} if study else None,
        zero=True,
        limits=(-1.05, 1.05),
    )
    caption = (
        f"The correlation C of the two selections over cycles: {_drawn(shown)}; 0 is what independent "
        "selections have on average"
        + (", and the grey band holds 95 % of theirs, one trial at a time" if band else "")
        + (". The stars are the study's" if study else "")
        + "."
    )
    return Drawn("correlation", figure, caption)


def accuracy(shown: Sequence[Run]) -> Drawn:
    """Accuracy over labels."""
    labels, colours = _labels(shown)
    named = list(zip(labels, shown, strict=True))
    most = max(line["labeled"] for run in shown for line in run.lines)
    bands = {band for run in shown for band in verdict.bands(run.config) if band.labeled <= most}
    seen = [100 * line["accuracy"] for run in shown for line in run.lines]
    seen += [edge for band in bands for edge in (band.low, band.high)]
    margin = 1 + 0.08 * (max(seen) - min(seen))
    figure = figures.curves(
        {label: _series(run, "accuracy", "labeled", 100) for label, run in named},
        x_label="labeled images",
        y_label="test accuracy (%)",
        colours=colours,
        trials={labels[0]: _each_trial(shown[0], "accuracy", "labeled", 100)} if len(shown) == 1 else None,
        published=sorted(bands),
        limits=(max(0.0, min(seen) - margin), min(102.0, max(seen) + margin)),
        whole_ticks=False,
    )
    caption = f"Test accuracy over labeled images: {_drawn(shown)}."
    if bands:
        caption += " The bars are published ranges for a ResNet-18, by the strategy that chose the labels."
    return Drawn("accuracy", figure, caption)


def distance(lines: Sequence[Record]) -> Drawn:
    """How far from the labeled images the batches lie."""
    names = {"uncertainty": "uncertainty batch", "diversity": "diversity batch", "pool": "random batch"}
    figure = _of_lines(lines, "distance", names, "mean distance to nearest label")
    caption = (
        "Mean Euclidean distance of each batch to its nearest labeled images, in the space of the "
        "model's features, before it is labeled. A random batch has the mean of the sub-pool. The "
        "higher the uncertainty batch lies, the more new ground it breaks."
    )
    return Drawn("distance", figure, caption)


def coverage(lines: Sequence[Record]) -> Drawn:
    """What remains uncovered after each batch."""
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
    return Drawn("coverage", figure, caption)


def spearman(lines: Sequence[Record]) -> Drawn:
    """What the scores go with."""
    figure = _of_lines(
        lines,
        "spearman",
        {"loss": "with the true loss", "distance": "with the distance"},
        "Spearman correlation of the scores",
        colours={"with the true loss": figures.OTHER, "with the distance": figures.INK},
        zero=True,
        limits=(-1.05, 1.05),
    )
    caption = (
        "Rank correlation, over the sub-pool, of the uncertainty strategy's scores (for Learning Loss the "
        "predicted loss) with the true loss, and with the distance to the nearest labeled image."
    )
    return Drawn("spearman", figure, caption)


def classes(run: Run) -> Drawn:
    """The class balance of the batches against the sub-pool's."""
    cycles = sorted({line["cycle"] for line in run.diagnostics})
    counts = {
        name: np.array(
            [
                np.sum([line["classes"][name] for line in run.diagnostics if line["cycle"] == cycle], axis=0)
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
    caption = (
        "How often each class is in a batch against the sub-pool, all trials together: 1 as often, 2 twice "
        "as often; colours end at a quarter and at four times."
    )
    return Drawn("classes", figures.class_shares(ratios, cycles, names), caption)


def _labels(shown: Sequence[Run]) -> tuple[list[str], dict[str, str]]:
    """What the legend calls the curve of each run, and its colour."""
    if len(shown) == 1:
        trials = len({line["trial"] for line in shown[0].lines})
        label = f"mean of {trials} trials, 95 % interval" if trials > 1 else "the one trial"
        return [label], {label: figures.BOTH}
    labels = runs.names(shown)
    return labels, {label: figures.RUNS[i % len(figures.RUNS)] for i, label in enumerate(labels)}


def _drawn(shown: Sequence[Run]) -> str:
    """What a curve is, in words."""
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
    """A figure of some entries of the diagnostics over cycles."""
    palette = {
        "uncertainty batch": figures.UNCERTAINTY,
        "diversity batch": figures.DIVERSITY,
        "random batch": figures.MUTED,
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
    return figures.curves(
        series, x_label="cycle", y_label=y_label, colours=colours or palette, size=(3.9, 3.1), **options
    )


def _class_names(run: Run, count: int) -> list[str]:
    for kept in run.galleries.values():
        return [str(name) for name in kept.class_names]
    return [f"class {number}" for number in range(count)]
