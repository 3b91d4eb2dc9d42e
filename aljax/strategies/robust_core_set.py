"""Robust k-center: greedy centers refined by mixed-integer programs that may leave outliers out.

Shapes: M candidates, L labeled points, D features, B the budget, E pairs within the greedy radius.
"""

import time
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from aljax.kcenter import k_center_greedy
from aljax.ops import distances
from aljax.runtime.mesh import of_own_memory
from aljax.strategies.base import NO_SCORES, Selection, View, features_of, needs, tie_order

if TYPE_CHECKING:
    from scipy.sparse import csr_array

OUTLIERS = 1e-4  # of the candidates, at least one: Xi of the paper
SECONDS = 60.0  # for the programs of a selection
SECONDS_OF_ONE_PROGRAM = 10.0
MOST_PAIRS = 3_000_000
ROUNDING = 1e-3  # of distances, so that no radius is passed over for it
INFEASIBLE = 2  # a status of scipy.optimize.milp


@needs("features", "labeled_features")
def robust_core_set(key: jax.Array, view: View, budget: int) -> Selection:
    """Selects centers of the smallest radius that covers all but a few outliers; no scores.

    Labeled images are centers too. With time enough the radius depends on the features alone; the
    note reports where the time limit was reached.

    Source: Sener & Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set
    Approach", ICLR 2018, section 4 and algorithm 2.
    """
    candidates, labeled = features_of(view)
    order = tie_order(key, view.subset_size)
    cover = robust_k_center(candidates[order], labeled, budget, of_own_memory(view.mesh))
    note = cover.unsolved and (
        f"the best feasible answer, of radius {cover.radius:.6g} where the greedy one has "
        f"{cover.greedy_radius:.6g} and none less than {cover.bound:.6g}: {cover.unsolved}"
    )
    return Selection(order[cover.chosen], NO_SCORES, note)


class Cover(NamedTuple):
    """Holds centers, and how well they cover."""

    chosen: np.ndarray  # positions of candidates, [B] int32
    radius: float  # within it of a center lie all candidates but the outliers
    greedy_radius: float  # the same of the greedy centers
    bound: float  # no centers have a smaller radius
    unsolved: str  # why the search ended before radius and bound met; "" if they did


class Near(NamedTuple):
    """Holds the pairs of candidates within the greedy radius of each other."""

    pairs: "csr_array"  # distances, [M, M], E of them
    labeled: np.ndarray  # of each candidate to the nearest labeled point, [M]


def robust_k_center(
    candidates: np.ndarray,
    labeled: np.ndarray,
    budget: int,
    mesh: Mesh | None = None,
    seconds: float = SECONDS,
) -> Cover:
    """Searches for the smallest radius for which B centers cover all candidates but a few outliers.

    Greedy centers give the largest radius to consider, and half the greedy radius of B + Xi
    centers, Xi the number of outliers, the smallest. Between them lie the distances of pairs;
    a bisection asks of each in turn whether a mixed-integer program has a solution:

        u_j in {0, 1}, 0 <= z_i <= 1;  sum_j u_j <= B;  sum_i z_i <= Xi;
        z_i + sum_{j: d_ij <= radius} u_j >= 1  for each i that no labeled point covers.

    A program that is not solved in its time counts as one without solution, and the answer is
    then the best found, not the best there is; which one that is depends on the machine's
    speed. Memory: 12 E bytes, where more than 3 million pairs are not tried, and a few times
    that in the solver.

    Args:
      candidates: [M, D].
      labeled: [L, D]; centers all.
      budget: from 1 to M.
      mesh: for the greedy start.
      seconds: for all programs together.

    Returns:
      The cover. Where the best solution has fewer than B centers, the farthest candidates follow.
      Ties go to the lowest position.

    Source: Sener & Savarese, ICLR 2018, section 4 and algorithm 2, with one variable
    less per pair: which center a point belongs to need not be decided. What shares no candidate with
    another is left out of the program, and counted. The solver is HiGHS.
    """
    outliers = int(np.ceil(OUTLIERS * len(candidates)))
    points = np.concatenate([candidates, labeled]).astype(np.float32)
    row = np.arange(len(points))
    in_order = np.asarray(
        k_center_greedy(
            points,
            is_center=row >= len(candidates),
            is_candidate=row < len(candidates),
            budget=min(budget + outliers, len(candidates)),
            mesh=mesh,
        )
    )
    to_labeled = distances.nearest(candidates, labeled)
    chosen = in_order[:budget].astype(np.int32)
    greedy_radius = _radius(
        np.minimum(to_labeled, distances.nearest(candidates, candidates[chosen])), outliers
    )
    farthest = float(np.minimum(to_labeled, distances.nearest(candidates, points[in_order])).max())
    bound = (1 - ROUNDING) * farthest / 2
    near = _pairs_within(candidates, to_labeled, bound, greedy_radius)
    if near is None:
        reason = f"more than {MOST_PAIRS} pairs lie within the greedy radius"
        return Cover(chosen, greedy_radius, greedy_radius, bound, reason)
    radii = np.unique(np.append(near.pairs.data, to_labeled))
    radii = radii[(radii >= bound) & (radii < greedy_radius)]
    end = time.monotonic() + seconds
    low, high, unsolved = 0, len(radii), ""  # high does, and so does all above; below low none is known to
    while low < high:
        middle = (low + high) // 2
        left = min(end - time.monotonic(), SECONDS_OF_ONE_PROGRAM)
        decided, centers = _solve(near, radii[middle], budget, outliers, left) if left > 0 else (False, None)
        if centers is not None:
            chosen, high = _filled(points, len(candidates), centers, budget, mesh), middle
            continue
        if decided:
            bound = float(radii[middle])
        else:
            limits = f"{seconds:g} s, {SECONDS_OF_ONE_PROGRAM:g} s for a radius"
            unsolved = f"the time limit of {limits}, left one undecided"
        low = middle + 1
    radius = _radius(np.minimum(to_labeled, distances.nearest(candidates, candidates[chosen])), outliers)
    return Cover(chosen, radius, greedy_radius, bound if unsolved else radius, unsolved)


def _solve(
    near: Near, radius: float, budget: int, outliers: int, seconds: float
) -> tuple[bool, np.ndarray | None]:
    """Returns whether the program was decided, and at most B centers if they were found."""
    from scipy import optimize, sparse  # late: importing them takes a second

    rows = np.flatnonzero(near.labeled > radius)
    if len(rows) <= outliers:
        return True, np.empty(0, np.int32)
    within = near.pairs[rows]
    within.data = (within.data <= radius).astype(np.float64)
    within.eliminate_zeros()
    alone = within @ (within.sum(axis=0) > 1).astype(np.float64) == 0  # no candidate covers it and another
    single, rows, within = rows[alone].astype(np.int32), rows[~alone], within[~alone]
    columns = np.unique(within.indices)
    within = within[:, columns]
    size, slack = len(columns), len(rows)
    # The last variable counts those alone that are left out as outliers; of the others, each is a center.
    covered = sparse.hstack([within, sparse.eye_array(slack), sparse.csr_array((slack, 1))], format="csr")
    counts = np.zeros((2, size + slack + 1))
    counts[0, :size], counts[0, -1] = 1, -1
    counts[1, size:] = 1
    answer = optimize.milp(
        c=np.zeros(size + slack + 1),
        integrality=np.concatenate([np.ones(size), np.zeros(slack), [1]]),
        bounds=optimize.Bounds(0, np.append(np.ones(size + slack), len(single))),
        constraints=[
            *([optimize.LinearConstraint(covered, lb=1)] if slack else []),
            optimize.LinearConstraint(sparse.csr_array(counts), ub=[budget - len(single), outliers]),
        ],
        options={"time_limit": seconds},
    )
    if answer.x is None:
        return answer.status == INFEASIBLE, None
    centers = single[round(answer.x[-1]) :]
    return True, np.append(centers, columns[answer.x[:size] > 0.5]).astype(np.int32)


def _filled(
    points: np.ndarray, num_candidates: int, centers: np.ndarray, budget: int, mesh: Mesh | None
) -> np.ndarray:
    """Returns the centers, followed by the farthest candidates up to B, [B] int32."""
    if len(centers) == budget:
        return centers
    row = np.arange(len(points))
    taken = np.isin(row, centers)
    more = k_center_greedy(
        points,
        is_center=taken | (row >= num_candidates),
        is_candidate=~taken & (row < num_candidates),
        budget=budget - len(centers),
        mesh=mesh,
    )
    return np.append(centers, np.asarray(more)).astype(np.int32)


def _radius(nearest: np.ndarray, outliers: int) -> float:
    """Returns the largest distance to a center, leaving out the farthest `outliers`."""
    return float(np.sort(nearest)[-1 - outliers]) if len(nearest) > outliers else 0.0


def _pairs_within(candidates: np.ndarray, to_labeled: np.ndarray, low: float, high: float) -> Near | None:
    """Finds pairs up to `high` apart, the first more than `low` from a label; None if too many."""
    from scipy import sparse

    parts, count = [], 0
    for rows, columns, lengths in distances.blocks(candidates, candidates):
        if rows == columns:
            np.fill_diagonal(lengths := lengths.copy(), 0)
        i, j = np.nonzero((lengths <= high) & (to_labeled[rows, None] > low))
        parts.append((lengths[i, j], i + rows.start, j + columns.start))
        count += len(i)
        if count > MOST_PAIRS:
            return None
    values, i, j = (np.concatenate(part) for part in zip(*parts, strict=True))
    size = len(candidates)
    return Near(sparse.coo_array((values, (i, j)), shape=(size, size)).tocsr(), to_labeled)
