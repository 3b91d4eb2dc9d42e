"""The files of points that benchmarks.synthetic writes."""

import numpy as np

from aljax import data
from aljax.data import synthetic
from benchmarks import synthetic as benchmark


def test_the_files_are_embeddings_with_their_own_split(tmp_path):
    assert benchmark.main([f"--out={tmp_path}"]) == 0
    drawn = synthetic.three_clust(np.random.default_rng(1))
    request = {
        "name": "points",
        "data_dir": str(tmp_path / "three_clust.npz"),
        "image_size": 8,
        "channels": 1,
    }
    loaded = data.load("embeddings", **request)
    np.testing.assert_array_equal(loaded.train.images, drawn.train)
    np.testing.assert_array_equal(loaded.test.labels, drawn.test_labels)
    assert loaded.class_names == ("0", "1")
    assert (tmp_path / "diverging_sin.npz").exists()
