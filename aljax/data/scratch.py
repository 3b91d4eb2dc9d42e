"""Room on a disk for decoded images: an array file that is mapped, and a note of how far it is filled.

A plain .npy file: a row of it is at a place that follows from its number, so that any rows are read without
an index, with no more copies than the one to the device, and by any other program.
"""

import json
import os
from pathlib import Path

import numpy as np


def room(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.memmap:
    """Makes an array file [shape] and maps it; its place on the disk is taken, so that writing cannot fail.

    Raises:
      OSError: if there is no such room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mapped = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with open(path, "r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
    return mapped


def opened(folder: str, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, int, dict[int, str]]:
    """Returns an array of images to be filled: in memory if `folder` is "", else in a file there.

    Args:
      folder: "", or where a call that was interrupted has left what it had.
      name: of the file.
      shape: of the array, [N, S, S, C].

    Returns:
      The array, uint8; how many rows are filled already; what `keep` was told of them.
    """
    if not folder:
        return np.zeros(shape, np.uint8), 0, {}
    path = _path(folder, name)
    try:
        noted = json.loads(path.with_suffix(".json").read_text())
        mapped = np.lib.format.open_memmap(path, "r+")
        if mapped.shape == shape and mapped.dtype == np.uint8:
            return mapped, noted["rows"], {int(row): reason for row, reason in noted["unreadable"].items()}
    except (OSError, ValueError, KeyError):
        pass  # nothing is there yet, or not whole
    path.with_suffix(".json").unlink(missing_ok=True)
    return room(path, shape, np.dtype(np.uint8)), 0, {}


def keep(folder: str, name: str, images: np.ndarray, rows: int, unreadable: dict[int, str]) -> None:
    """Notes that the first `rows` are filled, once they are on the disk."""
    assert isinstance(images, np.memmap)
    images.flush()
    of_rows = {row: reason for row, reason in list(unreadable.items()) if row < rows}
    written = {"rows": rows, "unreadable": of_rows}
    write(_path(folder, name).with_suffix(".json"), json.dumps(written))


def write(path: Path, text: str) -> None:
    """Writes a small file whole or not at all."""
    partial = path.with_name(f".partial-{path.name}")
    with open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _path(folder: str, name: str) -> Path:
    return Path(folder) / f"{name.replace(os.sep, '-').replace(' ', '-')}.npy"
