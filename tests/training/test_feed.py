import chex
import jax
import numpy as np
import pytest

from aljax.runtime import mesh
from aljax.training import ensemble, feed, predict


@pytest.fixture
def stored(examples):
    return feed.Images(*map(np.asarray, examples))


def test_what_is_gathered_and_the_room_behind_it(stored, devices):
    rows = np.array([7, 3, 40])
    found = feed.gathered(stored, rows, 5, mesh.everywhere(devices))
    assert np.array_equal(found.images[:3], stored.images[rows])
    assert np.array_equal(found.labels, [*stored.labels[rows], 0, 0])
    assert not np.asarray(found.images[3:]).any()
    assert found.images.dtype == np.uint8


@pytest.mark.parametrize(
    ("rows", "size", "expected"), [(10, 10, [8, 2]), (3, 20, [3]), (0, 6, [0]), (16, 16, [8, 8])]
)
def test_portions_are_of_one_size_and_hold_every_row_once(monkeypatch, stored, devices, rows, size, expected):
    monkeypatch.setattr(feed, "PORTION", 2 * 4 * 8 * 8 * 3)  # two chunks of four images
    wanted = np.arange(rows)[::-1] * 2
    found = list(feed.portions(stored, wanted, size, 4, mesh.everywhere(devices)))
    assert [int(count) for *_, count in found] == expected
    assert {len(images.labels) for images, *_ in found} == {min(8, size)}
    assert np.array_equal(np.concatenate([numbers[:count] for _, numbers, count in found]), wanted)


def test_a_prediction_does_not_depend_on_the_portions(monkeypatch, networks, recipe, stored, devices):
    """To the bit: an image goes through the same program, and its dropout has the key of its number."""
    keys = jax.random.split(jax.random.key(0), 2)
    state = ensemble.fresh(keys, networks=networks, recipe=recipe, image_shape=(8, 8, 3))
    subset, labeled = np.array([40, 3, 17, 8, 9, 30, 31, 0, 1, 2]), np.array([5, 1, 6, 0, 0])
    options = {"networks": networks, "chunk": 4, "sharding": mesh.spread(devices), "key": jax.random.key(3)}
    names = ("log_probs", "features", "labeled_features", "member_log_probs", "dropout_classes")
    whole, parts = (
        predict.outputs_of(state, stored, subset, labeled, 3, wanted=frozenset(names), **options)
        for portion in (2**26, 2 * 4 * 8 * 8 * 3)
        if monkeypatch.setattr(feed, "PORTION", portion) is None
    )
    for name in names:
        valid = 3 if name == "labeled_features" else None
        assert parts[name].shape == whole[name].shape
        chex.assert_trees_all_equal(parts[name][:valid], whole[name][:valid])
    of_few = predict.log_probs_of(
        state, stored, subset[:2], 10, networks=networks, chunk=4, sharding=options["sharding"]
    )
    chex.assert_trees_all_equal(of_few, np.asarray(whole["log_probs"][:2]))
