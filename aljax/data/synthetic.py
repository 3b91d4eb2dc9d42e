"""Two-dimensional data sets that are drawn on the spot: ThreeClust and DivergingSin.

Their definitions are those of CDALBench (Werner et al., "A Cross-Domain Benchmark for Active Learning",
NeurIPS 2024, datasets/sythData.py in the authors' repository), whose tables are there to check against.

Shapes: N points.
"""

from typing import NamedTuple

import numpy as np

TEST = 0.2  # share of the points that judge the models


class Points(NamedTuple):
    """Points of two classes, each coordinate scaled to 0 to 1."""

    train: np.ndarray  # [N, 2] float32
    train_labels: np.ndarray  # [N] int32
    test: np.ndarray
    test_labels: np.ndarray


def three_clust(rng: np.random.Generator, points: int = 150) -> Points:
    """Draws three clusters of unit covariance, the middle one of both classes alike.

    Class 1 is a Gaussian at (0, 0) and one at (4, 3), class 0 one at (0, 6) and one at (4, 3): the
    middle holds half of the points, and no model tells its classes apart.

    Args:
      rng: the source of randomness.
      points: of each of the four Gaussians.
    """
    centers = np.repeat([[0.0, 0], [4, 3], [0, 6], [4, 3]], points, axis=0)
    return _split(rng, centers + rng.normal(size=centers.shape), np.repeat([1, 0], 2 * points))


def diverging_sin(rng: np.random.Generator, points: int = 1_000) -> Points:
    """Draws two sine waves that part: sin(2 x) + x / 2 of class 1, and sin(2 x) - x / 2 of class 0.

    x runs evenly from 0 to 10, and the noise of y has a deviation of 0.3.

    Args:
      rng: the source of randomness.
      points: of each class.
    """
    x = np.tile(np.linspace(0, 10, points), 2)
    labels = np.repeat([1, 0], points)
    y = np.sin(2 * x) + np.where(labels == 1, x, -x) / 2 + rng.normal(0, 0.3, 2 * points)
    return _split(rng, np.stack([x, y], axis=1), labels)


def _split(rng: np.random.Generator, points: np.ndarray, labels: np.ndarray) -> Points:
    """Draws the test points, and scales both parts by their own extremes, as CDALBench does."""
    order = rng.permutation(len(points))
    test, train = np.split(order, [int(TEST * len(points))])

    def scaled(rows: np.ndarray) -> np.ndarray:
        low, high = points[rows].min(axis=0), points[rows].max(axis=0)
        return ((points[rows] - low) / (high - low)).astype(np.float32)

    labels = labels.astype(np.int32)
    return Points(scaled(train), labels[train], scaled(test), labels[test])
