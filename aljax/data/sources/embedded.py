"""The data set that comes with scikit-learn: handwritten digits."""

import difflib

import numpy as np

from aljax.data import images
from aljax.data.sources.base import Dataset, Request, Split
from aljax.errors import InvalidInputError


def load_embedded(request: Request) -> Dataset:
    """Loads the 1,797 digits of 8x8 pixels: 1,300 to train with, 497 to test.

    Raises:
      InvalidInputError: if another data set than "digits" is asked for.
    """
    if request.name != "digits":
        raise InvalidInputError(
            f"config.dataset.name={request.name!r}: accepted with config.dataset.source='embedded': 'digits' "
            f"(did you mean {_meant(request)}?)"
        )
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    pixels = np.stack([images.fitted(image, request) for image in grey])
    labels = digits.target.astype(np.int32)
    train, test = train_test_split(np.arange(len(labels)), test_size=497, random_state=0, stratify=labels)

    def split(rows: np.ndarray) -> Split:
        rows = np.sort(rows)
        return Split(pixels[rows], labels[rows], tuple(f"digits-{row:04d}" for row in rows))

    return Dataset(split(train), split(test), tuple(str(digit) for digit in range(10)))


def _meant(request: Request) -> str:
    if difflib.get_close_matches(request.name, ["digits"]):
        return "'digits'"
    return f"config.dataset.source={'folder' if request.data_dir else 'tfds'!r}"
