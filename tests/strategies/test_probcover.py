import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.ops import distances
from aljax.strategies.probcover import coverage, most_covering, pure_radius

NONE = np.empty((0, 1), np.float32)
LINE = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [30.0]], np.float32)


def test_the_radius_reaches_to_the_nearest_of_another_class():
    # Each point's nearest of another class: 10, 9, 8, 8, 9, and 28 from the last to the second class.
    labels = np.array([0, 0, 0, 1, 1, 0])
    assert pure_radius(LINE, labels) == 8
    # Of 20 points one may be in an impure ball: here the pair at 0.5 are two, so their 0.5 is the radius.
    many = np.concatenate([np.arange(0.0, 36, 2), [100, 100.5]])[:, None].astype(np.float32)
    assert pure_radius(many, np.r_[np.zeros(19), 1].astype(int)) == pytest.approx(0.5, abs=1e-2)
    assert pure_radius(many[:19], np.zeros(19, int)) == np.inf


def test_19_of_20_balls_are_pure_at_the_radius():
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    labels = (points[:, 0] > 0).astype(int)
    radius = pure_radius(points, labels)

    def purity(size):
        apart = np.linalg.norm(points[:, None] - points, axis=-1)
        return np.mean([(labels[row < size] == labels[i]).all() for i, row in enumerate(apart)])

    assert purity(radius * (1 - 1e-4)) >= 0.95 > purity(radius * (1 + 1e-4))


def test_the_ball_that_covers_most_is_taken_first():
    assert list(coverage(LINE, NONE, 3, radius=1.5)) == [1, 3, 5]


def test_what_a_label_covers_counts_no_more():
    assert list(coverage(LINE, np.array([[0.5]], np.float32), 2, radius=1.0)) == [2, 3]


def test_it_ends_when_all_are_covered():
    assert list(coverage(LINE, NONE, 6, radius=100.0)) == [0]
    assert len(coverage(LINE, LINE, 6, radius=1.0)) == 0


def brute_force(candidates, labeled, budget, radius):
    apart = np.linalg.norm(candidates[:, None] - candidates, axis=-1) < radius
    np.fill_diagonal(apart, True)
    uncovered = ~(np.linalg.norm(candidates[:, None] - labeled, axis=-1) < radius).any(axis=1)
    chosen = []
    while len(chosen) < budget and uncovered.any():
        chosen.append(int((apart & uncovered).sum(axis=1).argmax()))
        uncovered &= ~apart[chosen[-1]]
    return chosen


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 40), st.floats(0.2, 3))
def test_as_by_brute_force(seed, budget, radius):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(50, 2)).astype(np.float32)
    chosen = coverage(points[:40], points[40:], budget, radius)
    assert list(chosen) == brute_force(points[:40], points[40:], budget, radius)


def test_as_by_brute_force_over_many_blocks(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 16)
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    assert list(coverage(points[:50], points[50:], 30, 0.7)) == brute_force(points[:50], points[50:], 30, 0.7)


def test_the_clusters_give_the_radius():
    chosen, radius = most_covering(LINE, NONE, 3, num_classes=2, seed=0)
    assert radius == 19
    assert list(chosen) == [0, 5]


def test_scikit_activeml_takes_as_good_ones():
    pytest.importorskip("skactiveml", reason="compares with scikit-activeml, of the bench extra")
    from skactiveml.pool import ProbCover

    # Balls that hold 9, 7, 5 and 3 points, so that no tie is to be broken.
    points = np.concatenate([20 * i + np.r_[0, np.linspace(-1, 1, 8 - 2 * i)] for i in range(4)])[:, None]
    unlabeled = np.full(len(points), np.nan)
    with pytest.warns(UserWarning, match="maximum purity"):  # it does not compute it for one radius
        peer = ProbCover(deltas=[1.05], random_state=0).query(points, unlabeled, batch_size=4)
    chosen = coverage(points.astype(np.float32), NONE, 4, radius=1.05)
    assert list(chosen) == list(peer)
