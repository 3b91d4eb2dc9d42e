import chex
import jax
import numpy as np
import pytest

from aljax.scenarios import pool


def test_a_subset_is_uniform_over_the_unlabeled_alone():
    images = pool.label(pool.unlabeled(20), np.array([3, 7, 11]))
    drawn = np.zeros(20, int)
    for seed in range(400):
        subset = pool.draw_subset(jax.random.key(seed), images, 5)
        assert subset.shape == (5,)
        assert subset.dtype == np.int32
        assert list(subset) == sorted(set(subset))
        drawn[subset] += 1
    assert drawn[[3, 7, 11]].sum() == 0
    free = np.delete(drawn, [3, 7, 11])
    assert np.all(np.abs(free - 400 * 5 / 17) < 50)  # five standard deviations


def test_a_subset_may_be_all_that_is_unlabeled_but_no_more():
    images = pool.label(pool.unlabeled(6), np.array([0, 5]))
    chex.assert_trees_all_equal(
        pool.draw_subset(jax.random.key(0), images, 4), np.arange(1, 5, dtype=np.int32)
    )
    with pytest.raises(ValueError, match="5 is more than the 4"):
        pool.draw_subset(jax.random.key(0), images, 5)


def test_labels_keep_their_order():
    images = pool.label(pool.label(pool.unlabeled(9), np.array([4, 1])), np.array([8, 0]))
    assert list(images.labeled) == [4, 1, 8, 0]
    assert list(pool.padded(images, 6)) == [4, 1, 8, 0, 0, 0]
    assert list(pool.known_labels(images, np.arange(9) + 10, 6)) == [14, 11, 18, 10, -1, -1]


@pytest.mark.parametrize("batch", [[2, 2], [1, 4], [9], [-1]])
def test_label_refuses(batch):
    images = pool.label(pool.unlabeled(9), np.array([4]))
    with pytest.raises(ValueError, match="a batch holds"):
        pool.label(images, np.array(batch))
