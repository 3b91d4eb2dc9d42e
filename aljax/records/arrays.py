"""Arrays as the contents of files: archives of named arrays (.npz), and images (.png)."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from aljax.errors import first_line
from aljax.records import files


def packed(arrays: Mapping[str, np.ndarray], compressed: bool = False) -> bytes:
    """Returns arrays as the content of an archive; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    save: Callable[..., None] = np.savez_compressed if compressed else np.savez
    save(buffer, **arrays)
    return buffer.getvalue()


def unpacked(path: Path) -> dict[str, np.ndarray]:
    """Loads the arrays of an archive, whose own checksums are compared; pickled content is refused.

    Raises:
      ValueError: if the file cannot be read, or is not what was written.
    """
    try:
        content = files.read(path)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"checksum of {damaged} differs")
            # The end of an archive counts its members; a damaged list of them may be shorter.
            if len(archive.namelist()) != int.from_bytes(content[-12:-10], "little"):
                raise ValueError("not all of its arrays are found")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # of a damaged archive, almost any kind
        raise ValueError(first_line(error)) from error


def check(stored: Mapping[str, np.ndarray], expected: Mapping[str, tuple[str, int]]) -> None:
    """Checks the kinds and dimensions of arrays; those that are not there, and unexpected ones, pass.

    Args:
      stored: arrays, by name.
      expected: the kinds of dtype ("i", "u", "f", "U") and the number of dimensions, by name; an array
        without any entry is of every kind.

    Raises:
      ValueError: naming the array that differs.
    """
    for name, (kinds, dimensions) in expected.items():
        array = stored.get(name)
        if array is not None and (array.ndim != dimensions or (array.size and array.dtype.kind not in kinds)):
            raise ValueError(f"{name} is an array of {array.dtype} with shape {array.shape}")


def png(image: np.ndarray) -> bytes:
    """Returns an image [H, W, C] uint8, C 1 or 3, as the content of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def shows(path: Path, image: np.ndarray) -> bool:
    """Tells whether a PNG file holds this image [H, W, C] uint8."""
    from PIL import Image

    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with Image.open(path) as stored:
            return np.array_equal(np.asarray(stored), image.squeeze(-1) if image.shape[-1] == 1 else image)
    except OSError:
        return False
