import subprocess
import sys

import numpy as np
import pytest
from absl import logging
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aljax import data
from aljax.config import FIELDS
from aljax.data import dataset as dataset_module
from aljax.data.dataset import SOURCES, repeated
from aljax.data.sources.base import Request
from aljax.errors import InvalidInputError


def load(dataset, monkeypatch, **fields):
    """Loads a data set that a source of its own returns."""
    monkeypatch.setitem(SOURCES, "made", lambda request: dataset)
    return data.load("made", "pets", image_size=8, channels=1, **fields)


def split(images, labels, name="image"):
    return data.Split(
        images, np.array(labels, np.int32), tuple(f"{name}-{row}" for row in range(len(labels)))
    )


def test_a_part_of_a_data_set():
    whole = data.load("embedded", "digits", image_size=8, channels=1)
    part = data.load("embedded", "digits", image_size=8, channels=1, classes=4, images=100)
    assert part.class_names == tuple("0123")
    assert len(part.train.labels) == 100
    assert set(part.train.labels) == set(part.test.labels) == {0, 1, 2, 3}
    assert len(part.test.labels) == np.sum(whole.test.labels < 4)
    place = {name: row for row, name in enumerate(whole.train.ids)}
    rows = [place[name] for name in part.train.ids]
    assert rows == sorted(rows)
    assert np.array_equal(part.train.images, whole.train.images[rows])
    assert np.array_equal(part.train.labels, whole.train.labels[rows])
    more = data.load("embedded", "digits", image_size=8, channels=1, classes=4, images=200)
    assert set(part.train.ids) < set(more.train.ids)
    for field, number, accepted in (("classes", 11, "0 or 2 to 10"), ("images", 1301, "0 to 1300")):
        with pytest.raises(
            InvalidInputError, match=rf"config\.dataset\.{field}={number}: accepted: {accepted}"
        ):
            data.load("embedded", "digits", image_size=8, channels=1, **{field: number})


@pytest.mark.parametrize(("labels", "seen"), [([0, 1, 2], "0 to 2"), ([-2, 0, 1], "-2 to 1")])
def test_labels_out_of_range_are_refused(monkeypatch, noise, labels, seen):
    broken = split(noise(3, 8, 8, 1), labels)
    with pytest.raises(
        InvalidInputError, match=f"labels of its train split run from {seen}; accepted: 0 to 1"
    ):
        load(data.Dataset(broken, broken, ("cat", "dog")), monkeypatch)


@pytest.mark.parametrize(("empty", "other"), [("train", "test"), ("test", "train")])
def test_a_split_left_empty_by_its_classes_is_refused(monkeypatch, noise, empty, other):
    splits = {empty: split(noise(2, 8, 8, 1), [2, 2]), other: split(noise(3, 8, 8, 1), [0, 1, 2])}
    dataset = data.Dataset(**splits, class_names=("ant", "bee", "cat"))
    assert load(dataset, monkeypatch) == dataset
    with pytest.raises(
        InvalidInputError,
        match=rf"config\.dataset\.classes=2: leaves no image in the {empty} split; accepted: ",
    ):
        load(dataset, monkeypatch, classes=2)


def test_a_source_that_does_not_exist():
    with pytest.raises(
        InvalidInputError, match=r"config\.dataset\.source='folders': did you mean 'folder'\?"
    ):
        data.load("folders", "pets", image_size=8, channels=3)


def test_sources_are_asked_for_the_fields_of_the_config():
    fields = {name.removeprefix("dataset.") for name in FIELDS if name.startswith("dataset.")}
    of_load = {"source", "classes", "images", "cache", "encoder"}
    assert fields == {*Request._fields} - {"reader", "scratch"} | of_load


def test_images_are_not_embedded_without_a_word():
    with pytest.raises(InvalidInputError, match=r"config\.dataset\.encoder='lite0': accepted: ''"):
        data.load("embedded", "digits", image_size=8, channels=1, encoder="lite0")


def test_images_in_both_splits_are_counted_once(monkeypatch, noise):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: lines.append(text % values))
    images = noise(9, 8, 8, 1)
    train, test = (
        split(images[:6], [0, 1] * 3, "train"),
        split(images[[8, 4, 4, 7, 0]], [0, 1, 0, 1, 0], "test"),
    )
    dataset = load(data.Dataset(train, test, ("cat", "dog")), monkeypatch)
    assert lines == [
        "3 of the 5 test images are training images too, pixel by pixel (the first: test-1 is train-4)"
    ]
    assert repeated(dataset.train, dataset.test) == {
        "test-1": "train-4",
        "test-2": "train-4",
        "test-4": "train-0",
    }
    lines.clear()
    load(data.Dataset(train, split(images[6:], [0, 1, 0], "test"), ("cat", "dog")), monkeypatch)
    assert lines == []


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(3), st.just(2), st.integers(1, 3))),
    st.sampled_from([1, 10, 2**20]),
)
def test_channel_statistics(images, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_module, "PIXELS_AT_ONCE", at_once)
        mean, std = data.channel_statistics(images)
    expected = images.astype(float).std((0, 1, 2))
    assert mean == pytest.approx(images.astype(float).mean((0, 1, 2)), rel=1e-5)
    assert std == pytest.approx(np.where(expected > 0, expected, 1), rel=1e-5)


def test_the_digest_covers_all_that_is_loaded(noise):
    train, test = split(noise(3, 8, 8, 1), [0, 1, 0]), split(noise(2, 8, 8, 1), [0, 1])
    dataset = data.Dataset(train, test, ("cat", "dog"))
    others = [
        dataset._replace(class_names=("cat", "cow")),
        dataset._replace(train=train._replace(ids=("a", "b", "c"))),
        dataset._replace(train=train._replace(labels=train.labels[::-1] ^ 1)),
        dataset._replace(test=test._replace(images=test.images[::-1])),
    ]
    assert len({data.digest(one) for one in (dataset, *others)}) == 5
    assert data.digest(dataset._replace(left_out=(data.LeftOut("a", "hidden"),))) == data.digest(dataset)


def test_importing_data_imports_nothing_that_a_source_needs():
    unwanted = {"PIL", "sklearn", "tensorflow", "tensorflow_datasets", "jax", "rich"}
    code = f"import aljax.data, sys; print({unwanted} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
