"""Greedy k-center beside what one would take instead: python -m benchmarks.kcenter

Each size is a pool, centers to begin with, a budget and a number of features. Two kinds of
features, in both of which the pruning must pay:

- clustered, like a network's: 10 clusters with centers of N(0, 1.5^2) in 16 dimensions, each
  point its cluster's center plus N(0, 1) times a length of its own (gamma of shape 2, scale
  1/2), mapped to D dimensions by a matrix of N(0, 1/16), plus N(0, 0.05^2), and ReLU;
- gaussian: N(0, 1) in each of the D dimensions, where all distances are nearly alike.

Rivals: scikit-activeml's CoreSet, small-text's greedy coreset, scikit-learn's distances in a
loop, NumPy tuned (norms once, one matrix-vector product a pick, everything in place), and the
plain loop in JAX (all distances from the difference, every row read at every pick). A pick of
small-text takes all distances to all centers again, so it makes only its first picks and its
time is multiplied accordingly; each later pick would take longer.

Bytes: of aljax, the rows that it fetched from the features, of candidates and of centers, as it
counted them (its front, which stays in the cache, is read at every pick beside that). Of the
others, points x budget rows: what the picks read at least, the first pass not counted.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin_min

from aljax import kcenter
from aljax.runtime import mesh
from benchmarks import common


class Size(NamedTuple):
    """A problem: points that may be taken, centers to begin with, how many to take."""

    points: int
    centers: int
    budget: int
    dimensions: int
    rivals: tuple[str, ...]


PACKAGES = ("scikit-activeml", "small-text", "scikit-learn")
METHODS = (*PACKAGES, "numpy", "plain loop")
SIZES = {
    "tiny": Size(300, 100, 30, 16, METHODS),
    "small": Size(10_000, 5_000, 1_000, 512, METHODS),
    "medium": Size(50_000, 5_000, 5_000, 512, ("numpy", "plain loop")),
    "large": Size(1_000_000, 1_000, 1_000, 512, ("numpy",)),  # the plain loop takes far longer
}
SMALL_TEXT_PICKS = 2
MOST_COPIED = 100_000  # points that every device gets a copy of; larger pools stay on one


def clustered(rng: np.random.Generator, points: int, dimensions: int) -> np.ndarray:
    """Features like a network's; see above."""
    rank = 16
    centers = rng.normal(0, 1.5, (10, rank))
    mix = rng.normal(0, rank**-0.5, (rank, dimensions)).astype(np.float32)
    features = np.empty((points, dimensions), np.float32)
    for block in _blocks(points):
        count = len(range(*block.indices(points)))
        length = rng.gamma(2, 0.5, (count, 1))
        hidden = centers[rng.integers(0, 10, count)] + length * rng.normal(size=(count, rank))
        noise = 0.05 * rng.standard_normal((count, dimensions), np.float32)
        features[block] = np.maximum(hidden.astype(np.float32) @ mix + noise, 0)
    return features


def gaussian(rng: np.random.Generator, points: int, dimensions: int) -> np.ndarray:
    """Features that are all equally far from each other, nearly."""
    return rng.standard_normal((points, dimensions), np.float32)


FEATURES = {"clustered": clustered, "gaussian": gaussian}


def _blocks(count: int, length: int = 10_000) -> Iterator[slice]:
    return (slice(start, start + length) for start in range(0, count, length))


# The rivals: each takes the pool [P, D], the centers [L, D] and the budget, and gives its picks in order.


def scikit_activeml(points: np.ndarray, centers: np.ndarray, budget: int) -> np.ndarray:
    """Its CoreSet strategy."""
    from skactiveml.pool import CoreSet

    labels = np.concatenate([np.full(len(points), np.nan), np.zeros(len(centers))])
    return CoreSet(random_state=0).query(np.concatenate([points, centers]), labels, batch_size=budget)


def small_text(points: np.ndarray, centers: np.ndarray, budget: int) -> np.ndarray:
    """Its greedy coreset, the first picks."""
    from small_text.query_strategies.coresets import greedy_coreset

    features = np.concatenate([points, centers])
    unlabeled, labeled = np.split(np.arange(len(features)), [len(points)])
    picks = min(SMALL_TEXT_PICKS, budget)
    return greedy_coreset(features, unlabeled, labeled, picks, distance_metric="euclidean")


def scikit_learn(points: np.ndarray, centers: np.ndarray, budget: int) -> np.ndarray:
    """Its distances: once to all centers, then to each pick."""
    distance = pairwise_distances_argmin_min(points, centers)[1]
    picks = np.empty(budget, np.int64)
    for i in range(budget):
        picks[i] = index = distance.argmax()
        distance = np.minimum(distance, pairwise_distances(points, points[index : index + 1])[:, 0])
        distance[index] = -np.inf
    return picks


def tuned_numpy(points: np.ndarray, centers: np.ndarray, budget: int) -> np.ndarray:
    """Norms once, matrix products, everything in place."""
    square = np.einsum("pd,pd->p", points, points)
    distance = np.full(len(points), np.inf, np.float32)
    for chosen in (centers[block] for block in _blocks(len(centers), 1_000)):
        for rows in _blocks(len(points), 1_000):
            lengths = points[rows] @ chosen.T
            lengths *= -2
            lengths += np.einsum("cd,cd->c", chosen, chosen)
            np.minimum(distance[rows], lengths.min(axis=1) + square[rows], out=distance[rows])
    length = np.empty_like(distance)
    picks = np.empty(budget, np.int64)
    for i in range(budget):
        picks[i] = index = distance.argmax()
        np.dot(points, points[index], out=length)
        length *= -2
        length += square
        length += square[index]
        np.minimum(distance, length, out=distance)
        distance[index] = -np.inf
    return picks


@partial(jax.jit, static_argnames="budget")
def plain_loop(points: jax.Array, centers: jax.Array, *, budget: int) -> jax.Array:
    """In JAX: every row is read at every pick; distances from the difference."""
    square = jnp.sum(points**2, axis=-1)
    size = min(128, len(centers))

    def look(i, carry):
        shortest, nearest = carry
        index = jnp.minimum(i * size, len(centers) - size) + jnp.arange(size)
        chosen = centers[index]
        products = jnp.matmul(points, chosen.T, precision=jax.lax.Precision.HIGHEST)
        lengths = square[:, None] - 2 * products + jnp.sum(chosen**2, axis=-1)
        length = lengths.min(axis=1)
        nearest = jnp.where(length < shortest, index[lengths.argmin(axis=1)], nearest)
        return jnp.minimum(shortest, length), nearest

    start = jnp.full(len(points), jnp.inf), jnp.zeros(len(points), jnp.int32)
    nearest = jax.lax.fori_loop(0, -(-len(centers) // size), look, start)[1]

    def pick(i, carry):
        distance, picks = carry
        index = jnp.argmax(distance)
        distance = jnp.minimum(distance, jnp.sum((points - points[index]) ** 2, axis=-1))
        return distance.at[index].set(-jnp.inf), picks.at[i].set(index)

    distance = jnp.sum((points - centers[nearest]) ** 2, axis=-1)
    return jax.lax.fori_loop(0, budget, pick, (distance, jnp.zeros(budget, jnp.int32)))[1]


RIVALS: dict[str, Callable[..., Any]] = {
    "scikit-activeml": scikit_activeml,
    "small-text": small_text,
    "scikit-learn": scikit_learn,
    "numpy": tuned_numpy,
}


def read_bandwidth() -> float:
    """Bytes a second that all cores together read from memory, the best of five."""
    array = np.ones(2**28, np.float32)
    parts = np.array_split(array, mesh.cores())
    with ThreadPoolExecutor(len(parts)) as pool:
        return array.nbytes / min(common.seconds(lambda: list(pool.map(np.max, parts))) for _ in range(5))


def measure(size: Size, kind: str, repeats: int, bandwidth: float) -> dict[str, Any]:
    """All methods on one problem: seconds, ratios, picks, bytes, memory."""
    rng = np.random.default_rng(0)
    features = FEATURES[kind](rng, size.points + size.centers, size.dimensions)
    points, centers = np.split(features, [size.points])
    on_device = jax.device_put(features)
    row = np.arange(len(features))
    runs: dict[str, Callable[[], Any]] = {}
    effort: dict[str, kcenter.Effort] = {}

    def run_aljax(name: str, devices: Mesh) -> jax.Array:
        picks, effort[name] = kcenter.search(
            on_device, row >= size.points, row < size.points, size.budget, devices
        )
        return picks

    most = len(jax.local_devices()) if size.points <= MOST_COPIED else 1
    for count in sorted({1, most}):
        name = f"aljax, {count} device{'s' if count > 1 else ''}"
        devices = mesh.local(count, batch_size=count)
        runs[name] = partial(run_aljax, name, devices)
        runs[name]()  # compiles
        if mesh.of_own_memory(devices) == devices:
            base = name  # the most devices that Core-set would use
    absent = [name for name in size.rivals if name in PACKAGES and common.version(name) is None]
    for name in size.rivals:
        if name == "plain loop":
            on_device_too = jax.device_put(points), jax.device_put(centers)
            compiled = plain_loop.lower(*on_device_too, budget=size.budget).compile()
            runs[name] = partial(compiled, *on_device_too)
        elif name not in absent:
            runs[name] = partial(RIVALS[name], points, centers, size.budget)

    picks: dict[str, np.ndarray] = {}
    memory: dict[str, int | None] = {}

    def keep_picks(name: str) -> None:
        picks[name] = np.asarray(runs[name]())

    for name in runs:
        memory[name] = common.peak_memory(partial(keep_picks, name))
    times = common.alternate(runs, repeats, warm_up="never")
    for name, taken in times.items():
        times[name] = [seconds * size.budget / len(picks[name]) for seconds in taken]
    figures: dict[str, Any] = common.compared(times, base)
    plain_bytes = features.itemsize * size.dimensions * size.points * size.budget
    for name, own in figures.items():
        own["picks"] = len(picks[name])
        own["same_picks"] = bool(np.array_equal(picks[name], picks[base][: len(picks[name])]))
        own["shared_picks"] = len(np.intersect1d(picks[name], picks[base][: len(picks[name])]))
        own["bytes_read"] = plain_bytes
        if name in effort:
            own["effort"] = {field: int(value) for field, value in effort[name]._asdict().items()}
            rows = own["effort"]["rows"] + own["effort"]["center_rows"]
            own["bytes_read"] = rows * size.dimensions * features.itemsize
        own["peak_memory"] = memory[name]
    return {
        "size": size._asdict(),
        "features": kind,
        "feature_bytes": features.nbytes,
        "base": base,
        "repeats": repeats,
        "plain_bytes": plain_bytes,
        "seconds_to_read_plain_bytes": plain_bytes / bandwidth,
        "methods": figures,
        "not_installed": absent,
    }


def rows_of(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of one problem."""
    rows: list[dict[str, Any]] = []
    for name, own in figures["methods"].items():
        same = "yes" if own["same_picks"] else f"{own['shared_picks']:,} of {own['picks']:,}"
        first = "" if own["picks"] == figures["size"]["budget"] else f", first {own['picks']:,}, time scaled"
        rows.append(
            {
                "method": name,
                "seconds": own["seconds"],
                "from": own["seconds_low"],
                "to": own["seconds_high"],
                "ratio": own["ratio"],
                "same picks": same + first,
                "GB read": own["bytes_read"] / 1e9,
                "fewer bytes": figures["plain_bytes"] / own["bytes_read"],
                "memory / features": None
                if own["peak_memory"] is None
                else 1 + own["peak_memory"] / figures["feature_bytes"],
            }
        )
    blank = dict.fromkeys(rows[0])
    return rows + [
        {**blank, "method": name, "same picks": "not installed"} for name in figures["not_installed"]
    ]


def main() -> None:
    """Measures the sizes asked for, and shows and writes the figures after each."""
    parser = common.parser(__doc__)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["small"])
    parser.add_argument("--features", nargs="+", choices=FEATURES, default=list(FEATURES))
    parser.add_argument("--against", nargs="+", choices=METHODS, default=METHODS, help="the rivals")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    mesh.local(0, batch_size=1)  # so that each core of a CPU counts as a device
    bandwidth = read_bandwidth()
    print(f"All cores together read {bandwidth / 1e9:.3g} GB/s from memory.")
    problems = []
    for size, kind in itertools.product(options.size, options.features):
        rivals = tuple(name for name in SIZES[size].rivals if name in options.against)
        figures = measure(SIZES[size]._replace(rivals=rivals), kind, options.repeats, bandwidth)
        problems.append({"name": size, **figures})
        points, centers, budget, dimensions, _ = SIZES[size]
        common.show(
            f"{points:,} x {dimensions} {kind} features, {centers:,} centers, budget {budget:,}; to read the "
            f"pool at every pick takes {figures['seconds_to_read_plain_bytes']:.3g} s at least; "
            f"ratio: seconds to those of {figures['base']}",
            rows_of(figures),
        )
        common.write(options.out, {"read_bandwidth": bandwidth, "problems": problems})


if __name__ == "__main__":
    main()
