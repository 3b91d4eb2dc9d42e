import numpy as np
import pytest
from sklearn.datasets import load_digits

from aljax import data
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
