import jax
import numpy as np
import pytest

from aljax.experiment import validation
from aljax.scenarios import pool


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.33])
@pytest.mark.parametrize("sizes", [[50] * 6, [20, 0, 3, 17, 1, 0, 9]])
def test_the_share_held_out_is_kept_from_batch_to_batch(fraction, sizes):
    images = np.random.default_rng(0).permutation(1000).astype(np.int32)
    labeled, held = np.empty(0, np.int32), np.empty(0, np.int32)
    for cycle, size in enumerate(sizes):
        batch = images[len(labeled) : len(labeled) + size]
        labeled = np.concatenate([labeled, batch])
        new = validation.draw_holdout(jax.random.key(cycle), batch, fraction, len(labeled), len(held))
        assert set(new) <= set(batch)
        held = np.concatenate([held, new])
        assert len(set(held)) == len(held) <= round(fraction * len(labeled))
        assert len(held) == round(fraction * len(labeled)) or size < 2
        kept = validation.without(pool.Pool(1000, labeled), held)
        assert list(kept.labeled) == [image for image in labeled if image not in set(held)]


def test_what_is_held_out_is_random():
    batch = np.arange(10, dtype=np.int32)
    held = [validation.draw_holdout(jax.random.key(seed), batch, 0.3, 10, 0) for seed in range(200)]
    counts = np.bincount(np.concatenate(held), minlength=10)
    assert np.all(np.abs(counts - 60) < 33)  # five standard deviations


def test_folds_hold_every_image_once():
    labeled = np.array([7, 3, 11, 2, 5, 13, 17], np.int32)
    parts = validation.folds(jax.random.key(0), labeled, 3)
    assert sorted(len(part) for part in parts) == [2, 2, 3]
    assert sorted(np.concatenate(parts)) == sorted(labeled)
    assert not np.array_equal(np.concatenate(parts), labeled)
