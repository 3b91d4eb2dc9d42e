"""Selects as other code does, for the seconds that benchmarks/strategies.py lays beside aljax's.

- scikit-activeml: its strategy, with its defaults. Where each image of the batch takes as long as the one
  before, it selects a few, and a few more; the difference tells what each of the others takes.
- authors: TypiClust and ProbCover as their papers' code goes about it, written anew: scikit-learn's k-means,
  in mini-batches above 50 clusters and with the defaults of its version 1.0.2, distances by PyTorch, and a
  list of all pairs of points that lie in each other's balls. Their search of the radius over a grid is left
  out for one pass over the distances, which is less.

Shapes: M candidates, L labeled points, P = M + L, D features, K classes, B the budget, n points of a cluster.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

FEW, MORE = 2, 6  # images that are selected where each takes as long as the one before
ROWS_AT_ONCE = 500


class Problem(NamedTuple):
    """Holds what the peers select from."""

    candidates: np.ndarray  # [M, D] float32
    labeled: np.ndarray  # [L, D] float32
    labels: np.ndarray  # of the labeled points, [L] int
    num_classes: int
    num_members: int
    budget: int


def small(problem: Problem) -> Problem:
    """Returns a part of the problem, to warm up with."""
    return problem._replace(
        candidates=problem.candidates[:300],
        labeled=problem.labeled[:100],
        labels=problem.labels[:100],
        budget=min(problem.budget, 3),
    )


def scikit_activeml(strategy: str, problem: Problem) -> Callable[[], int]:
    """Fits models, and returns a call that selects by scikit-activeml's strategy and says how many."""
    from skactiveml import pool

    points = np.concatenate([problem.candidates, problem.labeled])
    labels = np.concatenate([np.full(len(problem.candidates), np.nan), problem.labels])
    method, needed, _ = METHODS[strategy]
    models = _classifiers(problem, {"": 0, "clf": 1, "ensemble": problem.num_members}[needed])
    arguments = {
        "": {},
        "clf": {"clf": models[0] if models else None, "fit_clf": False},
        "ensemble": {"ensemble": models, "fit_ensemble": False},
    }[needed]

    def run() -> int:
        method(pool).query(points, labels, batch_size=problem.budget, **arguments)
        return problem.budget

    return run


def _classifiers(problem: Problem, count: int) -> list[Any]:
    """Fits logistic regressions to samples of the labeled points."""
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    fitted = []
    for _ in range(count):
        drawn = rng.integers(0, len(problem.labels), min(1000, len(problem.labels)))
        model = SklearnClassifier(
            LogisticRegression(max_iter=20, tol=0.1), classes=range(problem.num_classes)
        )
        fitted.append(model.fit(problem.labeled[drawn], problem.labels[drawn]))
    return fitted


# The strategy of the module `pool`, the model that it asks for, and whether to measure its first picks alone.
METHODS: dict[str, tuple[Callable[[Any], Any], str, bool]] = {
    "random": (lambda pool: pool.RandomSampling(random_state=0), "", False),
    "least_confidence": (lambda pool: pool.UncertaintySampling(random_state=0), "clf", False),
    "margin": (lambda pool: pool.UncertaintySampling("margin_sampling", random_state=0), "clf", False),
    "entropy": (lambda pool: pool.UncertaintySampling("entropy", random_state=0), "clf", False),
    "bald": (lambda pool: pool.GreedyBALD(random_state=0), "ensemble", False),
    "vote_entropy": (lambda pool: pool.QueryByCommittee("vote_entropy", random_state=0), "ensemble", False),
    "batchbald": (lambda pool: pool.BatchBALD(random_state=0), "ensemble", True),
    "core_set": (lambda pool: pool.CoreSet(random_state=0), "", False),
    "badge": (lambda pool: pool.Badge(random_state=0), "clf", True),
    "typiclust": (lambda pool: pool.TypiClust(random_state=0), "", False),
    "probcover": (lambda pool: pool.ProbCover(random_state=0), "", False),
    "maxherding": (lambda pool: pool.MaxHerding(random_state=0), "", True),
    "dropquery": (lambda pool: pool.DropQuery(random_state=0), "clf", False),
}


def typiclust(problem: Problem) -> int:
    """The most typical point of each cluster without a label, as the authors' code does it."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    points = _of_unit_length(np.concatenate([problem.candidates, problem.labeled]))
    num_clusters = min(len(problem.labeled) + problem.budget, 500)
    if num_clusters <= 50:
        method = KMeans(num_clusters, n_init=10)
    else:
        method = MiniBatchKMeans(num_clusters, batch_size=5000, n_init=3)
    cluster = method.fit_predict(points)
    free = np.arange(len(points)) < len(problem.candidates)
    sizes = np.bincount(cluster, minlength=num_clusters)
    labels = np.bincount(cluster[~free], minlength=num_clusters)
    order = [int(index) for index in np.lexsort((-sizes, labels)) if sizes[index] > 5]
    for i in range(problem.budget):
        turns = (np.flatnonzero(free & (cluster == order[j % len(order)])) for j in itertools.count(i))
        left = next(members for members in turns if len(members))
        free[left[_typicality(points[left]).argmax()]] = False
    return problem.budget


def _typicality(points: np.ndarray) -> np.ndarray:
    """Returns one over the mean squared distance to the 20 nearest others, or half of n."""
    neighbors = min(20, len(points) // 2)
    if not neighbors:
        return np.ones(len(points))
    squares = np.square(points).sum(axis=1)
    apart = squares[:, None] - 2 * points @ points.T + squares
    nearest = np.sort(apart, axis=1)[:, 1 : neighbors + 1]
    return 1 / (np.maximum(nearest, 0).mean(axis=1) + 1e-5)


def probcover(problem: Problem) -> int:
    """The balls that cover the most points, from a list of the pairs of points in them."""
    import torch
    from sklearn.cluster import KMeans

    points = _of_unit_length(np.concatenate([problem.candidates, problem.labeled]))
    tensor = torch.from_numpy(points)
    cluster = torch.from_numpy(KMeans(problem.num_classes, n_init=10).fit_predict(points))
    reach = []
    for rows, own in zip(tensor.split(ROWS_AT_ONCE), cluster.split(ROWS_AT_ONCE), strict=True):
        apart = torch.cdist(rows, tensor)
        apart[own[:, None] == cluster] = torch.inf
        reach.append(apart.amin(dim=1))
    radius = float(torch.cat(reach).quantile(0.05))
    edges = []
    for start, rows in enumerate(tensor.split(ROWS_AT_ONCE)):
        edge = (torch.cdist(rows, tensor) < radius).nonzero()
        edges.append(edge + torch.tensor([start * ROWS_AT_ONCE, 0]))
    center, member = torch.cat(edges).numpy().T
    covered = np.zeros(len(points), bool)
    covered[member[center >= len(problem.candidates)]] = True
    left = ~covered[member]
    center, member = center[left], member[left]
    for _ in range(problem.budget):
        if not len(center):
            break
        best = np.bincount(center, minlength=len(points)).argmax()
        covered[member[center == best]] = True
        left = ~covered[member]
        center, member = center[left], member[left]
    return problem.budget


def _of_unit_length(points: np.ndarray) -> np.ndarray:
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


AUTHORS: dict[str, Callable[[Problem], int]] = {"typiclust": typiclust, "probcover": probcover}
