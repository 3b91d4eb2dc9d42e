import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aljax.records import diagnostics

# A row of images on a line, the labeled ones at 0 and 10.
FEATURES = np.array([[1.0, 0], [2, 0], [4, 0], [5, 0], [9, 0], [16, 0]])
CENTERS = np.array([[0.0, 0], [10, 0]])
DISTANCE = [1, 2, 4, 5, 1, 6]


def test_distances_and_coverage_by_hand():
    space = diagnostics.geometry(FEATURES, CENTERS)
    assert space.distance == pytest.approx(DISTANCE)
    found = diagnostics.distances(space, {"a": np.array([2, 5]), "b": np.array([0, 1])})
    assert found["distance"] == pytest.approx({"pool": 19 / 6, "a": 5.0, "b": 1.5})
    # With 4 and 16 labeled the farthest is 2 (from 0 or 4); with 1 and 2 it is still 16.
    assert found["radius"] == pytest.approx({"before": 6.0, "a": 2.0, "b": 6.0})


def test_an_empty_batch_has_no_distance_and_covers_nothing():
    space = diagnostics.geometry(FEATURES, CENTERS)
    labels, none = np.array([0, 1, 0, 1, 0, 1]), np.empty(0, np.int32)
    found = diagnostics.measure(labels, {"uncertainty": none, "diversity": np.array([1])}, 2, space=space)
    assert found["distance"]["uncertainty"] is None
    assert found["radius"]["uncertainty"] == found["radius"]["before"]
    assert found["entropy"]["uncertainty"] is None
    assert found["entropy"]["diversity"] == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 30), st.integers(1, 8))
def test_distances_against_brute_force(seed, size, labeled, width):
    rng = np.random.default_rng(seed)
    features, centers = rng.normal(size=(size, width)), rng.normal(size=(labeled, width))
    batch = rng.choice(size, size // 2 + 1 - size % 2, replace=False)
    space = diagnostics.geometry(features, centers)
    between = np.linalg.norm(features[:, None] - centers[None], axis=-1).min(axis=1)
    after = np.linalg.norm(features[:, None] - features[batch][None], axis=-1).min(axis=1)
    found = diagnostics.distances(space, {"batch": batch})
    assert space.distance == pytest.approx(between, abs=1e-4)
    assert found["distance"]["batch"] == pytest.approx(between[batch].mean(), abs=1e-4)
    assert found["radius"]["batch"] == pytest.approx(np.minimum(between, after).max(), abs=1e-4)
    assert found["radius"]["batch"] <= found["radius"]["before"]


def test_class_balance_and_entropy_by_hand():
    labels = np.array([0, 0, 1, 1, 2, 2])
    found = diagnostics.balance(labels, {"one": np.array([0, 1]), "two": np.array([0, 2, 4, 5])}, 4)
    assert found["classes"] == {"pool": [2, 2, 2, 0], "one": [2, 0, 0, 0], "two": [1, 1, 2, 0]}
    two = -(2 * 0.25 * np.log(0.25) + 0.5 * np.log(0.5))
    assert found["entropy"] == pytest.approx({"pool": np.log(3), "one": 0.0, "two": two})


def test_a_line_without_a_model_and_with_one():
    labels = np.array([0, 1, 0, 1, 0, 1])
    batches = {name: np.array([0, 1]) for name in ("uncertainty", "diversity", "random")}
    none = diagnostics.measure(labels, batches, 2, scores=np.empty(0, np.float32))
    assert none["distance"] is None
    assert none["radius"] is None
    assert none["spearman"] == {"loss": None, "distance": None, "length": None}
    assert set(none["classes"]) == {"pool", "uncertainty", "diversity"}
    space = diagnostics.geometry(FEATURES, CENTERS)
    scores, loss = np.array([1.0, 5, 2, 3, 0, 4]), np.array([2.0, 9, 1, 5, 0, np.inf])
    one = diagnostics.measure(labels, batches, 2, space=space, scores=scores, true_loss=loss)
    assert one["spearman"]["loss"] == pytest.approx(stats.spearmanr(scores, loss).statistic)
    assert one["spearman"]["distance"] == pytest.approx(stats.spearmanr(scores, DISTANCE).statistic)
    lengths = FEATURES[:, 0]  # the second coordinate is 0
    assert one["spearman"]["length"] == pytest.approx(stats.spearmanr(scores, lengths).statistic)
    assert set(one["distance"]) == {"pool", "uncertainty", "diversity", "random"}


def test_the_plane_keeps_distances_that_lie_in_a_plane():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 6))
    plane = diagnostics.plane(flat)
    wanted = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    assert np.linalg.norm(plane[:, None] - plane[None], axis=-1) == pytest.approx(wanted, abs=1e-4)
    assert diagnostics.plane(np.ones((5, 3))).tolist() == [[0, 0]] * 5
    assert diagnostics.plane(np.array([[1.0], [3]])).shape == (2, 2)


def test_a_gallery_holds_each_group_in_the_order_of_choice_and_survives_its_file(tmp_path):
    space = diagnostics.geometry(FEATURES, CENTERS)
    kept = diagnostics.gallery(
        np.array([0, 1, 0, 1, 0, 1]),
        np.array([5, 3, 1]),
        np.array([2, 5, 0]),
        ["<b>", "b"],
        space=space,
        scores=np.arange(6.0),
    )
    assert kept.group.tolist() == [
        diagnostics.DIVERSITY,
        diagnostics.UNCERTAINTY,
        diagnostics.DIVERSITY,
        diagnostics.UNCERTAINTY,
        diagnostics.NEITHER,
        diagnostics.BOTH,
    ]
    assert kept.shown.tolist() == [5, 3, 1, 2, 0]
    kept = kept._replace(images=np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2, 1))
    path = diagnostics.path_of(tmp_path, 0, 2)
    assert path == tmp_path / "gallery" / "trial-00" / "cycle-02.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(diagnostics.packed(kept))
    assert diagnostics.packed(kept) == path.read_bytes()
    again = diagnostics.unpacked(path)
    for name, value in kept._asdict().items():
        np.testing.assert_array_equal(getattr(again, name), value)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="damaged"):
        diagnostics.unpacked(path)
