"""Images that stay where they lie, in memory or in a mapped file, and are read by rows.

Shapes: N images, n of them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

BLOCK = 2**22  # bytes that are read at once


class Rows:
    """Holds some rows of an array, which are read when they are asked for."""

    def __init__(self, array: np.ndarray, rows: np.ndarray):
        self.array, self.rows = array, rows
        self.shape = (len(rows), *array.shape[1:])
        self.dtype, self.ndim = array.dtype, array.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> np.ndarray:
        return self.array[self.rows[place]]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


Images = np.ndarray | Rows  # [N, ...]


class Names(Sequence[str]):
    """Holds names as bytes [N] in UTF-8, such as a mapped file has them; each is decoded when asked for."""

    def __init__(self, encoded: np.ndarray):
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, place: Any) -> Any:
        found = self.encoded[place]
        return tuple(map(bytes.decode, found.tolist())) if isinstance(place, slice) else found.decode()


def chosen(images: Images, rows: np.ndarray) -> Images:
    """Returns some rows, of a mapped file without reading them."""
    if len(rows) == len(images):
        return images
    if isinstance(images, Rows):
        return Rows(images.array, images.rows[rows])
    if not isinstance(images, np.memmap):
        return images[rows]
    together = len(rows) and rows[-1] - rows[0] + 1 == len(rows)
    return images[rows[0] : rows[-1] + 1] if together else Rows(images, rows)


def blocks(images: Images) -> Iterator[np.ndarray]:
    """Yields all rows in order, `BLOCK` bytes at a time."""
    step = max(1, BLOCK // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        yield images[start : start + step]
