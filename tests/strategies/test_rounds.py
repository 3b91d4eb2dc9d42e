"""Narrowing down in rounds; what methods make of it is in test_sharded.py."""

import numpy as np

from aljax.data import shards
from aljax.strategies import rounds


def test_a_round_begins_before_the_one_before_has_ended(tmp_path):
    np.save(tmp_path / "part-0.npy", np.ones((4_000, 3), np.float32))
    files = shards.opened(tmp_path)
    met = []  # the last row of every block that was chosen from

    def choose(points, count):
        met.append((np.ptp(points.rows) >= 100, points.rows.max()))
        return np.arange(count)

    left, count = rounds.narrowed(files, 10, choose, block=100, last=100)
    assert count == 2
    assert list(left.rows[:20]) == [*range(10), *range(1000, 1010)]
    first_later = next(at for at, (later, _) in enumerate(met) if later)
    assert met[first_later][1] < 1_100
    assert sum(not later for later, _ in met[:first_later]) == 11
