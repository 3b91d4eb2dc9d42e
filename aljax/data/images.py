"""Image files as arrays of one size: decoded, reduced to 8 bits, composited, resized; in parallel.

Pixels of more than 8 bits are scaled by a rule that no image's content changes: integers of 0 to
65,535 are divided by 257, numbers of 0 to 1 multiplied by 255, and both rounded; others are refused.

Shapes: N images, S x S pixels, C channels.
"""

import contextlib
import functools
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from aljax.data import scratch, workers
from aljax.data.rows import Images, Rows
from aljax.data.sources.base import Request

MAX_PIXELS = 64_000_000  # of one image file; more is taken for a decompression bomb
CHUNK = 256, 2**22  # files that a process reads at once, and bytes of files and of images, at most
KEEP_SECONDS = 5.0  # between two notes of how far reading has come
# Formats that Pillow only identifies, or has decoded by another program.
NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})


class UnreadableImageError(Exception):
    """Reports an image that cannot be decoded: the reason, without its name."""


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns the formats that are decoded, as Pillow calls them, in the order in which it tries them."""
    from PIL import Image

    Image.preinit()  # the usual ones first
    Image.init()
    return tuple(name for name in Image.ID if name in Image.OPEN and name not in NOT_DECODED)


@functools.cache
def suffixes() -> frozenset[str]:
    """Returns the endings of image files, in lower case: ".png", ".jpg", ..."""
    from PIL import Image

    decoded = formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in decoded)


def read_all(paths: Sequence[str], request: Request, title: str) -> tuple[np.ndarray, dict[int, str]]:
    """Reads image files, in several processes if there are many; shows progress on a terminal.

    Args:
      paths: N files.
      request: gives the images' size, their channels, the background, and a folder in which to keep what is
        read, from which an interrupted call goes on.
      title: of the progress bar.

    Returns:
      The images, [N, S, S, C] uint8, and the reason for each row that could not be read; with a `reader`
      in the request what that returns.
    """
    if request.reader:
        return request.reader(paths, request._replace(reader=None), title)
    shape = (len(paths), request.image_size, request.image_size, request.channels)
    images, begin, unreadable = scratch.opened(request.scratch, title, shape)
    chunk = _chunk(paths, images[:1].nbytes)
    starts = range(begin, len(paths), chunk)
    count = min(workers.cores(), len(starts))

    with workers.started(count) as ask, ThreadPoolExecutor(count or 1) as threads, bar(title) as advance:

        def read_chunk(start: int) -> int:
            names = paths[start : start + chunk]
            images[start : start + chunk], reasons = ask(read_some, names, request)
            unreadable.update({start + row: reason for row, reason in reasons.items()})
            return len(names)

        advance(begin, len(paths))
        kept = time.monotonic()
        for done in threads.map(read_chunk, starts):
            advance(done, len(paths))
            begin += done
            if request.scratch and time.monotonic() > kept + KEEP_SECONDS:
                scratch.keep(request.scratch, title, images, begin, unreadable)
                kept = time.monotonic()
    return images, dict(sorted(unreadable.items()))


def _chunk(paths: Sequence[str], image_bytes: int) -> int:
    """Returns how many files make a chunk, judged by the size of a hundred of them."""
    most_files, most_bytes = CHUNK
    some = paths[:: max(1, len(paths) // 100)]
    file_bytes = sum(os.path.getsize(path) for path in some if os.path.exists(path)) // max(1, len(some))
    return max(1, min(most_files, most_bytes // max(1, file_bytes, image_bytes)))


def read_some(paths: Sequence[str], request: Request) -> tuple[np.ndarray, dict[int, str]]:
    """Reads a few files in this process, as `read_all` returns them."""
    images = np.zeros((len(paths), request.image_size, request.image_size, request.channels), np.uint8)
    unreadable = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what a file says of itself
        for row, path in enumerate(paths):
            try:
                images[row] = read(path, request)
            except UnreadableImageError as error:
                unreadable[row] = str(error)
    return images, unreadable


def read(path: str, request: Request) -> np.ndarray:
    """Reads an image file, of an animation the first frame, turned as its EXIF orientation says.

    Returns:
      The image, [S, S, C] uint8.

    Raises:
      UnreadableImageError: if it cannot be decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(
                    f"{image.width} x {image.height} pixels; accepted: at most {MAX_PIXELS:,}"
                )
            ImageOps.exif_transpose(image, in_place=True)
            return fitted(image, request)
    except UnreadableImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise UnreadableImageError("not of a format that Pillow reads") from error
    except Exception as error:  # of a damaged file, almost any kind
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableImageError((reason.splitlines() or [type(error).__name__])[0]) from error


def fitted(image: Any, request: Request) -> np.ndarray:
    """Returns an image with the size and the channels that the data set has.

    Args:
      image: a Pillow image, or an array [H, W] or [H, W, 1, 3 or 4]; a fourth channel is opacity.
      request: gives size, channels and background.

    Returns:
      The image, [S, S, C] uint8.

    Raises:
      UnreadableImageError: if its numbers lie outside what the module's rule scales.
    """
    from PIL import Image

    size = (request.image_size, request.image_size)
    if isinstance(image, np.ndarray):
        pixels = eight_bit(image)
        image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[2:] == (1,) else pixels)
    elif image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(eight_bit(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*[request.background] * 3, 255))
        image = Image.alpha_composite(behind, image)
    image = image.convert("L" if request.channels == 1 else "RGB")
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(*size, request.channels)


def eight_bit(pixels: np.ndarray) -> np.ndarray:
    """Returns pixels as uint8 of the same shape, scaled by the module's rule.

    Raises:
      UnreadableImageError: if they are of another type, or outside of 0 to 65,535, or of 0 to 1.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind not in "uif":
        raise UnreadableImageError(f"pixels of type {pixels.dtype}; accepted: integers or floats")
    highest = 1 if pixels.dtype.kind == "f" else 65_535
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= highest):  # which a number that is not one fails too
        raise UnreadableImageError(
            f"pixels of type {pixels.dtype} from {low:g} to {high:g}; accepted: 0 to {highest:,}"
        )
    if highest == 1:
        return np.rint(pixels * 255.0).astype(np.uint8)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def taken(images: np.ndarray, rows: np.ndarray) -> Images:
    """Moves rows to the front, in place, and returns a view of them; needs 1/16 of the memory more.

    Those of a mapped file stay where they lie.

    Args:
      images: [N, S, S, C]; its content is then of use through the view alone.
      rows: [n], which to keep and in which order.
    """
    if np.array_equal(rows, np.arange(len(images))):
        return images
    if isinstance(images, np.memmap):
        return Rows(images, rows)
    flat = images.reshape(len(images), -1)
    step = -(-flat.shape[1] // 16)
    for start in range(0, flat.shape[1], step):
        flat[: len(rows), start : start + step] = flat[rows, start : start + step]
    return images[: len(rows)]


@contextlib.contextmanager
def bar(title: str) -> Iterator[Any]:
    """Yields a function that advances a progress bar; it is drawn on a terminal alone."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=None)

        def advance(count: int, total: int) -> None:
            progress.update(task, advance=count, total=total)

        yield advance
