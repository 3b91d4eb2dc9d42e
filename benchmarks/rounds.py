"""Compares what selection reaches in rounds and in one block of all points: python -m benchmarks.rounds.

k-center's radius in rounds is divided by its radius on one block of all points; what MaxHerding and ProbCover
reach (the mean similarity, and the share of points that are covered) likewise. Points are Gaussian, in twelve
clusters in random order ("mixed"), or in those one after the other ("in order"), each of several dimensions
and draws; ProbCover's radius is `pure_radius` of twelve clusters. docs/pools.md shows the outcome.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aljax.data import shards as files
from aljax.data.shards import Shards
from aljax.strategies import sharded
from aljax.strategies.base import of_unit_length
from aljax.strategies.probcover import pure_radius
from aljax.strategies.typiclust import clusters_of
from benchmarks import common

CLUSTERS = 12
KINDS = ("gaussian", "mixed", "in order")
POINTS = {"k-center": 16_000, "maxherding": 6_000, "probcover": 6_000}
BLOCKS = 10  # that the points are cut into
# Points of a block that are kept for each one wanted.
KEPT = {"k-center": (1, 2, 4, 8), "maxherding": (1, 4), "probcover": (1, 4)}


def drawn(kind: str, count: int, dimensions: int, seed: int) -> np.ndarray:
    """Draws points of a kind, [count, dimensions] float32."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, dimensions))
    if kind != "gaussian":
        cluster = np.arange(count) * CLUSTERS // count
        points = 5 * rng.normal(size=(CLUSTERS, dimensions))[cluster] + points
    return (rng.permutation(points) if kind == "mixed" else points).astype(np.float32)


def reached(name: str, shards: Shards, radius: float, budget: int, more: int, rows: int) -> float:
    """Selects with blocks of so many rows, of which `more` B are kept; returns what the batch reaches."""
    key = jax.random.key(0)
    if name == "k-center":
        return sharded.k_center(shards, budget, more=more, block=rows, last=rows).reached
    if name == "maxherding":
        return sharded.maxherding(key, shards, budget, more=more, block=rows).reached
    return sharded.probcover(key, shards, budget, radius, more=more, block=rows).reached


def ratios(name: str, kind: str, count: int, dimensions: int, budget: int, seed: int) -> dict[int, float]:
    """Returns what rounds reach, divided by what one block of all does, by the points kept."""
    points = drawn(kind, count, dimensions, seed)
    unit = of_unit_length(points)
    radius = pure_radius(unit, clusters_of(unit, CLUSTERS, seed)) if name == "probcover" else 0.0
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "points.npy", points)
        shards = files.opened(Path(folder))
        of = partial(reached, name, shards, radius, budget)
        whole = of(1, count)
        return {more: of(more, count // BLOCKS) / whole for more in KEPT[name]}


def table(
    points: Mapping[str, int], dimensions: Sequence[int], budget: int, draws: int
) -> list[dict[str, Any]]:
    """Returns a row for each method, kind and number of points kept: the lowest and highest ratio."""
    rows = []
    for name, count in points.items():
        for kind in KINDS:
            found = [
                ratios(name, kind, count, size, budget, seed) for size in dimensions for seed in range(draws)
            ]
            for more in KEPT[name]:
                values = [one[more] for one in found]
                row = {"method": name, "points": kind, "kept": more, "ratios": len(values)}
                rows.append(row | {"lowest": min(values), "highest": max(values)})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it."""
    parser = common.parser(__doc__)
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--draws", type=int, default=3, help="of each kind and number of dimensions")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--scale", type=float, default=1, help="times the number of points")
    given = parser.parse_args(arguments)
    points = {name: round(given.scale * count) for name, count in POINTS.items()}
    rows = table(points, given.dimensions, given.budget, given.draws)
    common.show(f"rounds of {BLOCKS} blocks beside one, budget {given.budget}", rows)
    options = {"points": points, "budget": given.budget, "dimensions": given.dimensions, "draws": given.draws}
    common.write(given.out, {"options": options, "rounds": rows})


if __name__ == "__main__":
    main()
