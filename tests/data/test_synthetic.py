import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from aljax.data import synthetic


@pytest.mark.parametrize(("make", "count"), [(synthetic.three_clust, 600), (synthetic.diverging_sin, 2_000)])
def test_a_fifth_judges_and_every_coordinate_runs_from_0_to_1(make, count):
    drawn = make(np.random.default_rng(0))
    assert (len(drawn.train), len(drawn.test)) == (0.8 * count, 0.2 * count)
    for part, labels in ((drawn.train, drawn.train_labels), (drawn.test, drawn.test_labels)):
        assert (part.dtype, labels.dtype) == (np.float32, np.int32)
        assert part.min(axis=0).tolist() == [0, 0]
        assert part.max(axis=0).tolist() == [1, 1]
        assert np.mean(labels) == pytest.approx(0.5, abs=0.12)
    again = make(np.random.default_rng(0))
    np.testing.assert_array_equal(again.train, drawn.train)
    assert not np.array_equal(make(np.random.default_rng(1)).train, drawn.train)


def test_three_clusters_lie_where_they_should_and_the_middle_is_of_both_classes():
    drawn = synthetic.three_clust(np.random.default_rng(0), points=4_000)
    middle = drawn.train[:, 0] > 0.6  # within one deviation of its centre, and beyond
    assert 0.35 < middle.mean() < 0.5
    assert drawn.train_labels[middle].mean() == pytest.approx(0.5, abs=0.05)
    left = drawn.train[:, 0] < 0.35
    heights = [drawn.train[left & (drawn.train_labels == label), 1].mean() for label in (1, 0)]
    assert heights[0] < 0.4 < 0.6 < heights[1]
    best = KNeighborsClassifier(50).fit(drawn.train, drawn.train_labels)
    assert best.score(drawn.test, drawn.test_labels) == pytest.approx(0.75, abs=0.03)  # at most, by design


def test_the_sine_waves_part_and_a_line_does_nearly_all():
    drawn = synthetic.diverging_sin(np.random.default_rng(0))
    late = drawn.train[:, 0] > 0.5
    line = LogisticRegression(C=1e3).fit(drawn.train[late], drawn.train_labels[late])
    assert line.score(drawn.train[late], drawn.train_labels[late]) > 0.99
    early = drawn.train[:, 0] < 0.05
    nearest = KNeighborsClassifier(20).fit(drawn.train, drawn.train_labels)
    assert nearest.score(drawn.train[early], drawn.train_labels[early]) < 0.85
    assert 0.93 < nearest.score(drawn.test, drawn.test_labels) < 0.995
