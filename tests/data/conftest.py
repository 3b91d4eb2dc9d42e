"""A small folder of images, and what makes others."""

import numpy as np
import pytest
from PIL import Image


def _noise(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def _save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture(scope="session")
def noise():
    """Makes random pixels of a shape, always the same."""
    return _noise


@pytest.fixture(scope="session")
def save():
    """Writes pixels as an image file, in folders that it makes."""
    return _save


@pytest.fixture
def folder(tmp_path):
    """Three images to train with, two to test, of two classes, and a file that is no image."""
    root = tmp_path / "pets"
    _save(root / "train" / "cat" / "b.png", _noise(8, 8, 3))
    _save(root / "train" / "cat" / "a.PNG", _noise(8, 8))
    _save(root / "train" / "dog" / "0.jpg", _noise(20, 12, 3))
    _save(root / "test" / "cat" / "0.png", _noise(9, 9))
    _save(root / "test" / "dog" / "0.jpeg", _noise(6, 6))
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    return root
