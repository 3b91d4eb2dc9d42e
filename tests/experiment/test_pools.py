import numpy as np

from aljax import experiment
from aljax.experiment import study as studies
from aljax.training import feed
from tests.harness import results, small

FIELDS = {"trials": 1, "cycles": 2, "compare": ("dropquery", "margin"), "metrics": ("ece",)}


def test_a_run_from_the_disk_in_small_portions_writes_the_bytes_of_one_in_memory(tmp_path, monkeypatch):
    experiment.run(small(**FIELDS), tmp_path / "memory")
    gathered, most = feed.gathered, []

    def counting(examples, rows, size, sharding):
        assert isinstance(examples.images, np.memmap)
        most.append(size)
        return gathered(examples, rows, size, sharding)

    monkeypatch.setattr(feed, "gathered", counting)
    monkeypatch.setattr(feed, "PORTION", 64 * 8 * 8)  # one chunk: 64 images
    experiment.run(small(**FIELDS, **{"dataset.cache": str(tmp_path / "cache")}), tmp_path / "disk")
    assert max(most) == 64  # of 1,300 and 497
    assert len(most) >= 2 * 8 + 2
    assert results(tmp_path / "disk") == results(tmp_path / "memory")


def test_where_people_label_room_grows_with_the_labels(tmp_path):
    def room(labeled, oracle, size=100_000):
        images = feed.Images(None, np.zeros(size, np.int32), None, None)
        config = small(oracle=oracle, budget=20, cycles=3)
        blank = dict.fromkeys(studies.Study._fields)
        return studies.places(studies.Study(**{**blank, "config": config, "train_set": images}), labeled)

    assert [room(n, "page") for n in (0, 1, 256, 257, 5000, 99_000)] == [256, 256, 256, 512, 8192, 100_000]
    assert room(3, "page", size=100) == 100
    assert room(3, "dataset") == 60
