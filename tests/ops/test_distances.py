import numpy as np

from aljax.ops import distances


def test_the_blocks_make_up_the_whole(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 4)
    rng = np.random.default_rng(0)
    left, right = (1000 + rng.normal(size=(size, 3)).astype(np.float32) for size in (11, 6))
    whole = np.full((11, 6), np.nan)
    for rows, columns, values in distances.blocks(left, right):
        assert np.isnan(whole[rows, columns]).all()
        whole[rows, columns] = values
    np.testing.assert_allclose(whole, np.linalg.norm(left[:, None] - right, axis=-1), atol=1e-3)


def test_few_traces_serve_all_blocks(monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", 4)
    before = distances._distances._cache_size()
    for size in (9, 13, 17):  # each ends with one row
        list(distances.blocks(np.zeros((size, 7)), np.ones((8, 7))))
    assert distances._distances._cache_size() == before + 2
