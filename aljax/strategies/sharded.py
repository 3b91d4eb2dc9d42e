"""Selection from more points than memory holds: their features lie in shards, and are read block by block.

All methods narrow the points down in rounds. In a round, every block of points is replaced by a few chosen
of it; once those that are left fit, the batch is chosen among them. What it reaches over all points is then
measured, in one more pass.

- k-center decomposes with a guarantee: a point is at most the sum of the rounds' radii away from a center.
  Where the points that are farthest from the batch lie farther than any that were left, they join these, and
  the batch is chosen anew, up to twice. That brings the radius near that of one block of all.
- MaxHerding and ProbCover maximize a sum over all points, of which a block knows its share alone: a choice is
  judged by the points of its block, and in later rounds by points drawn from all. That is good where blocks
  are alike, as of points in random order; what it loses beside one block of all has no useful bound. Of
  MaxHerding, as many points of a block stay as the batch has (Mirzasoleiman et al.): four times as many
  reached no more.
- ProbCover's radius does not decompose: it depends on clusters of all points, and is to be given.
- Cluster-Margin clusters those points alone whose margins are smallest; the paper's clusters are of all.

Sources: Malkomes, Kusner, Chen, Weinberger & Moseley, "Fast Distributed k-Center Clustering with Outliers on
Massive Data", NeurIPS 2015 (two rounds); Ceccarello, Pietracaprina & Pucci, "Solving k-center Clustering
(with Outliers) in MapReduce and Streaming, almost as Accurately as Sequentially", VLDB 2019 (more points of
each block than centers); Mirzasoleiman, Karbasi, Sarkar & Krause, "Distributed Submodular Maximization",
NeurIPS 2013; Citovsky et al., "Batch Active Learning at Scale", NeurIPS 2021 (margins first).

Shapes: N points, D features, L labeled points, B the budget, n points in a block.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from aljax.data import shards as files
from aljax.data.shards import Shards
from aljax.kcenter import k_center_greedy
from aljax.strategies.base import of_unit_length, seed_of
from aljax.strategies.cluster_margin import CLUSTER_SIZE, clusters_of, in_turns
from aljax.strategies.maxherding import RADIUS, herded
from aljax.strategies.probcover import coverage
from aljax.strategies.rounds import Points, joined, narrowed

MORE = 4  # points of a block for each center: Ceccarello et al. measure radii near the exact ones from there
CORRECTIONS = 2  # of k-center: how often the batch is chosen anew, at most
NEAR = 1.01  # times the next center's distance: a radius up to it is as greedy k-center of one block has it
LEAST_BLOCK = 2**16  # rows of a block for k-center
LEAST_SQUARE = 2**13  # rows of a block whose pairs are all compared
LAST = 2**18  # rows that the batch is chosen among, at most
ROWS_AT_ONCE = 2**14  # of a measurement


class Batch(NamedTuple):
    """Holds a selection, and what it reaches over all points."""

    chosen: np.ndarray  # numbers of rows in the order of choice, [B] int64
    reached: (
        float  # the radius of k-center; else the mean similarity to, or share of points near, a chosen one
    )
    bound: float  # of k-center, no B centers have a smaller radius; else NaN
    rounds: int  # that narrowed the points down, before the last
    among: int  # points in the last round


def k_center(
    shards: Shards,
    budget: int,
    labeled: np.ndarray | None = None,
    *,
    more: int = MORE,
    block: int = LEAST_BLOCK,
    last: int = LAST,
    mesh: Mesh | None = None,
) -> Batch:
    """Selects centers by greedy k-center in rounds: of every block `more` B points, of those B.

    With r the distance at which the last round would make its next center, and R the sum of the largest
    distances of a block's points from those chosen of it over the rounds: r / 2 <= optimal radius, and
    radius <= r + R. Where the radius is above r, the farthest points, `more` B of them, join those of the
    last round, up to `CORRECTIONS` times; the best batch counts, and the largest r.

    Args:
      shards: the N points.
      budget: B, from 1 to N.
      labeled: points that are centers to begin with, [L, D].
      more: how many points of a block stay for each center; more bring the radius nearer to that of one
        block of all points, and take memory.
      block: rows of a block, at least; a block is four times as large as what stays of it, at least.
      last: rows that fit for the last round.
      mesh: as in `k_center_greedy`.

    Returns:
      The batch with the radius reached, exactly, and a lower bound of the optimal one.

    Raises:
      ValueError: if the budget is not in 1..N.
      InvalidInputError: if a shard is damaged or missing, or a number is not finite.
    """
    _check_budget(budget, shards)
    centers = _centers(labeled, shards)

    def choose(points: Points, count: int) -> np.ndarray:
        features = np.concatenate([centers, points.features])
        is_center = np.arange(len(features)) < len(centers)
        return np.asarray(k_center_greedy(features, is_center, ~is_center, count, mesh)) - len(centers)

    points, rounds = narrowed(shards, more * budget, choose, block, last)
    found = Batch(np.empty(0, np.int64), np.inf, 0.0, rounds, 0)
    for corrections in reversed(range(1 + CORRECTIONS if rounds else 1)):
        order = choose(points, min(budget + 1, len(points.rows)))
        known = np.concatenate([centers, points.features[order[:budget]]])
        following = points.features[order[budget:]]
        apart = float(nearest(following, known)[0][0]) if len(following) else 0.0
        radius, far = _farthest(shards, known, more * budget)
        bound, among = max(found.bound, apart / 2), len(points.rows)
        if radius < found.reached:
            found = found._replace(chosen=points.rows[order[:budget]], reached=radius)
        found = found._replace(bound=bound, among=among)
        if not corrections or radius <= NEAR * apart:
            break
        new = ~np.isin(far.rows, points.rows)
        points = joined([points, Points(*(part[new] for part in far))])
    return found


def maxherding(
    key: jax.Array,
    shards: Shards,
    budget: int,
    labeled: np.ndarray | None = None,
    *,
    radius: float = RADIUS,
    more: int = 1,
    block: int = LEAST_SQUARE,
) -> Batch:
    """Selects by MaxHerding in rounds, on features of length 1.

    Args:
      key: draws ties, and the points that judge.
      shards, budget, labeled, more: as in `k_center`.
      radius: of the kernel.
      block: rows of a block, of the last round, and of those that judge, at least.

    Returns:
      The batch with the mean similarity of all points to their most similar center.

    Raises:
      ValueError, InvalidInputError: as `k_center`.
    """
    _check_budget(budget, shards)
    centers = of_unit_length(_centers(labeled, shards))

    def choose(points: Points, count: int) -> np.ndarray:
        weights = points.weights.astype(np.float32)
        counting = None if weights.all() else np.flatnonzero(weights)
        return herded(key, points.features, centers, weights, radius, count, counting).chosen

    judges = _drawn(key, shards, block)
    points, rounds = narrowed(shards, more * budget, choose, block, block, judges)
    order = choose(points, budget)
    known = np.concatenate([centers, points.features[order]])
    total = sum(
        float(np.exp(-((nearest(of_unit_length(part), known)[0] / radius) ** 2)).sum())
        for _, part in files.blocks(shards, ROWS_AT_ONCE)
    )
    return Batch(points.rows[order], total / shards.rows, np.nan, rounds, len(points.rows))


def probcover(
    key: jax.Array,
    shards: Shards,
    budget: int,
    radius: float,
    labeled: np.ndarray | None = None,
    *,
    more: int = MORE,
    block: int = LEAST_SQUARE,
) -> Batch:
    """Selects by ProbCover in rounds, on features of length 1; ends early where all points are covered.

    Args:
      key: draws the points that judge.
      shards, budget, labeled, more, block: as in `maxherding`.
      radius: of the balls; `probcover.pure_radius` of a sample gives one.

    Returns:
      The batch, of at most B, with the share of the points that lie in a ball.

    Raises:
      ValueError, InvalidInputError: as `k_center`.
    """
    _check_budget(budget, shards)
    centers = of_unit_length(_centers(labeled, shards))

    def choose(points: Points, count: int) -> np.ndarray:
        return coverage(points.features, centers, count, radius, points.weights)

    judges = _drawn(key, shards, block)
    points, rounds = narrowed(shards, more * budget, choose, block, block, judges)
    order = choose(points, budget)
    known = np.concatenate([centers, points.features[order]])
    covered = sum(
        int((nearest(of_unit_length(part), known)[0] < radius).sum())
        for _, part in files.blocks(shards, ROWS_AT_ONCE)
    )
    return Batch(points.rows[order], covered / shards.rows, np.nan, rounds, len(points.rows))


def cluster_margin(shards: Shards, margins: Any, budget: int, keep: int = 10) -> np.ndarray:
    """Selects among the `keep` B points of smallest margin, in turns from their clusters.

    Args:
      shards: the N points.
      margins: the two largest probabilities' difference, [N]; may be mapped.
      budget: B, from 1 to N.
      keep: how many are clustered for each that is selected.

    Returns:
      Numbers of rows in the order of choice, [B] int64.

    Raises:
      ValueError: if the budget is not in 1..N, or margins are not N finite numbers.
      InvalidInputError: as `k_center`.
    """
    _check_budget(budget, shards)
    rows = smallest(margins, min(keep * budget, shards.rows), shards.rows)
    points = of_unit_length(files.taken(shards, rows))
    clusters = clusters_of(points, -(-len(points) // CLUSTER_SIZE))
    return rows[in_turns(clusters)[:budget]]


def smallest(values: Any, count: int, rows: int) -> np.ndarray:
    """Returns the places of the smallest of values [rows], rising; of equal ones the first: [count] int64.

    Raises:
      ValueError: if they are not so many finite numbers.
    """
    if np.shape(values) != (rows,):
        raise ValueError(f"margins have shape {np.shape(values)}; accepted: ({rows},), as there are rows")
    best, places = np.empty(0, np.float32), np.empty(0, np.int64)
    for start in range(0, rows, 2**20):
        part = np.asarray(values[start : start + 2**20], np.float32)
        if not np.isfinite(part).all():
            raise ValueError(f"margin {start + int(np.argmin(np.isfinite(part)))} is not finite")
        best, places = np.append(best, part), np.append(places, np.arange(start, start + len(part)))
        order = np.argsort(best, kind="stable")[:count]
        best, places = best[order], places[order]
    return places


def nearest(points: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each point's distance to the nearest of centers [c, D], and which that is, [n] each."""
    size = ROWS_AT_ONCE if len(points) > 1024 else 1024
    filled = np.pad(centers, ((0, -len(centers) % 128), (0, 0)), mode="edge")
    distance, index = np.empty(len(points), np.float32), np.empty(len(points), np.int64)
    for start in range(0, len(points), size):
        part = points[start : start + size]
        found = _nearest(np.pad(part, ((0, size - len(part)), (0, 0))), filled)
        distance[start : start + size], index[start : start + size] = (
            np.asarray(one)[: len(part)] for one in found
        )
    return distance, np.minimum(index, len(centers) - 1)


@jax.jit
def _nearest(points, centers):
    """Finds the nearest by a matrix product, and measures it by the difference."""
    origin = centers.mean(axis=0)
    left, right = points - origin, centers - origin
    squares = jnp.sum(right**2, axis=1) - 2 * jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
    index = squares.argmin(axis=1)
    return jnp.sqrt(jnp.sum((points - centers[index]) ** 2, axis=1)), index


def _farthest(shards: Shards, centers: np.ndarray, count: int) -> tuple[float, Points]:
    """Returns the largest distance of a point from the nearest center, and `count` of the farthest points."""
    rows, features = np.empty(0, np.int64), np.empty((0, shards.dimensions), np.float32)
    apart = np.empty(0, np.float32)
    for start, part in files.blocks(shards, ROWS_AT_ONCE):
        distance = nearest(part, centers)[0]
        (far,) = np.nonzero(distance > (apart.min() if len(apart) == count else -1))
        rows, features = np.append(rows, start + far), np.concatenate([features, part[far]])
        apart = np.append(apart, distance[far])
        most = np.sort(np.argsort(-apart, kind="stable")[:count])
        rows, features, apart = rows[most], features[most], apart[most]
    return float(apart.max()), Points(rows, features, np.ones(len(rows), np.int64))


def _drawn(key: jax.Array, shards: Shards, count: int) -> Points:
    """Draws points uniformly, of length 1."""
    rng = np.random.default_rng(seed_of(key))
    rows = np.sort(rng.choice(shards.rows, min(count, shards.rows), replace=False))
    return Points(rows, of_unit_length(files.taken(shards, rows)), np.ones(len(rows), np.int64))


def _centers(labeled: np.ndarray | None, shards: Shards) -> np.ndarray:
    centers = (
        np.empty((0, shards.dimensions), np.float32) if labeled is None else np.asarray(labeled, np.float32)
    )
    if centers.shape[1:] != (shards.dimensions,):
        raise ValueError(f"labeled points have shape {centers.shape}; accepted: [L, {shards.dimensions}]")
    return centers


def _check_budget(budget: int, shards: Shards) -> None:
    if not 1 <= budget <= shards.rows:
        raise ValueError(f"budget is {budget}; accepted: 1 to {shards.rows}, the points")
