"""How time and memory grow with the problem: python -m benchmarks.growth --out FOLDER

Every strategy selects from a view made up for it: features as benchmarks.kcenter makes its
clustered ones, random class probabilities and predicted losses. One thing grows, the others
stay: pool size, budget, number of features, number of strategies (one after the other, as they
stand in the table of strategies) and number of devices. Writes growth.png, growth.svg and
growth.json into the folder, anew after each. Memory is this process's on the host, beyond the view.
"""

from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from aljax.runtime import mesh
from aljax.strategies import STRATEGIES, Selection, View, select
from benchmarks import common
from benchmarks.kcenter import clustered

CLASSES, MODELS = 10, 3


class Problem(NamedTuple):
    """What a strategy is asked."""

    pool: int
    labeled: int
    budget: int
    features: int
    devices: int


Values = dict[str, tuple[int, ...]]  # what each axis takes, where all else is as in the problem
SIZES: dict[str, tuple[Problem, Values]] = {
    "tiny": (
        Problem(pool=200, labeled=50, budget=20, features=8, devices=1),
        {"pool": (100, 200), "budget": (20,), "features": (8,)},
    ),
    "full": (
        Problem(pool=10_000, labeled=5_000, budget=1_000, features=512, devices=1),
        {
            "pool": (2_000, 5_000, 10_000, 20_000, 50_000),
            "budget": (100, 300, 1_000, 3_000, 10_000),
            "features": (32, 64, 128, 256, 512, 1_024),
        },
    ),
}
UNITS = {
    "pool": "images in the pool",
    "budget": "images to select",
    "features": "features of an image",
    "devices": "devices",
    "strategies": "strategies",
}


def view_of(problem: Problem) -> View:
    """A view with every field that there is."""
    rng = np.random.default_rng(0)
    features = clustered(rng, problem.pool + problem.labeled, problem.features)
    logits = rng.normal(size=(MODELS, problem.pool, CLASSES)).astype(np.float32)
    members = jax.nn.log_softmax(logits)
    return View(
        subset_size=problem.pool,
        mesh=mesh.local(problem.devices, batch_size=problem.devices),
        num_labeled=problem.labeled,
        log_probs=members[0],
        predicted_loss=jax.device_put(rng.exponential(size=problem.pool).astype(np.float32)),
        features=jax.device_put(features[: problem.pool]),
        labeled_features=jax.device_put(features[problem.pool :]),
        member_log_probs=members,
        num_classes=CLASSES,
    )


def run(names: tuple[str, ...], view: View, budget: int) -> list[Selection]:
    """All of these strategies, one after the other."""
    return [select(name, jax.random.key(0), view, budget) for name in names]


def measure(problem: Problem, groups: Mapping[str, tuple[str, ...]], repeats: int) -> dict[str, Any]:
    """Seconds and peak memory of each group of strategies on one problem."""
    view = view_of(problem)
    functions = {label: partial(run, names, view, problem.budget) for label, names in groups.items()}
    times = common.alternate(functions, repeats)
    memory = {label: common.peak_memory(function) for label, function in functions.items()}
    return {
        label: {
            "seconds": float(np.median(taken)),
            "seconds_low": min(taken),
            "seconds_high": max(taken),
            "peak_memory": memory[label],
        }
        for label, taken in times.items()
    }


def grow(size: str, names: list[str], repeats: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each axis and its points: the value, the problem, and what each line has there."""
    base, axes = SIZES[size]

    @cache
    def at(problem: Problem) -> dict[str, Any]:
        apart = {name: (name,) for name in names}
        return {"problem": problem._asdict(), "lines": measure(problem, apart, repeats)}

    for axis, values in {**axes, "devices": tuple(range(1, len(jax.local_devices()) + 1))}.items():
        yield axis, [{"value": value, **at(base._replace(**{axis: value}))} for value in values]
    counts = range(1, len(names) + 1)
    together = {str(count): tuple(names[:count]) for count in counts}
    figures = measure(base, together, repeats)
    points = [
        {"value": count, "problem": base._asdict(), "lines": {"all together": figures[str(count)]}}
        for count in counts
    ]
    yield "strategies", points


def draw(axes: dict[str, list[dict[str, Any]]]) -> Figure:
    """Time above, memory below; a column for what grows, a line for each strategy."""
    figure = Figure(figsize=(3.6 * len(axes), 6.5), layout="constrained")
    grid = figure.subplots(2, len(axes), squeeze=False, sharey="row")
    for column, (axis, points) in zip(grid.T, axes.items(), strict=True):
        values = [point["value"] for point in points]
        for number, label in enumerate(points[0]["lines"]):
            style = {"color": f"C{number % 10}", "linestyle": "-" if number < 10 else "--", "label": label}
            if axis == "strategies":
                style["color"] = "black"
            own = [point["lines"][label] for point in points]
            column[0].plot(values, [line["seconds"] for line in own], marker=".", **style)
            if own[0]["peak_memory"] is not None:
                megabytes = [line["peak_memory"] / 1e6 for line in own]
                column[1].plot(values, megabytes, marker=".", **style)
        for panel in column:
            panel.set_xlabel(UNITS[axis])
            if axis not in ("devices", "strategies"):
                panel.set_xscale("log")
                panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xticks(values, [f"{value:,}" for value in values])
            panel.grid(alpha=0.3)
        column[0].set_yscale("log")
        column[1].set_yscale("symlog", linthresh=1)
        column[1].set_ylim(bottom=0)
    grid[0, 0].set_ylabel("seconds")
    grid[1, 0].set_ylabel("peak memory, MB")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    return figure


def main() -> None:
    """Measures, shows, draws and writes."""
    parser = common.parser(__doc__, out="folder for growth.png, growth.svg and growth.json")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    mesh.local(0, batch_size=1)  # so that each core of a CPU counts as a device
    axes: dict[str, list[dict[str, Any]]] = {}
    for axis, points in grow(options.size, options.strategies, options.repeats):
        axes[axis] = points
        common.show(f"seconds, by {UNITS[axis]}", [_row(axis, point) for point in points])
        if options.out is not None:  # after each, as the next may take long
            figures = {"size": options.size, "repeats": options.repeats, "axes": axes}
            common.write(options.out / "growth.json", figures)
            figure = draw(axes)
            for suffix in ("png", "svg"):
                figure.savefig(options.out / f"growth.{suffix}", dpi=150)


def _row(axis: str, point: dict[str, Any]) -> dict[str, object]:
    return {axis: point["value"], **{label: line["seconds"] for label, line in point["lines"].items()}}


if __name__ == "__main__":
    main()
