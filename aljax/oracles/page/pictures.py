"""Image files as browsers show them."""

import functools
import hashlib
import io
from pathlib import Path
from typing import Any

from aljax.data.images import MAX_PIXELS, UnreadableImageError, eight_bit, formats
from aljax.oracles.base import Question

JPEG = ("JPEG", "MPO")  # the second is the first with more pictures behind
SHOWN = {**dict.fromkeys(JPEG, "image/jpeg"), "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}
ORIENTATION = 0x0112  # the EXIF tag; browsers heed it in JPEG files
TILE, CONVERTED = 384, 2048  # pixels, the longer side: of an image in the grid, of one made for browsers


def picture(question: Question, folder: Path, tile: bool = False) -> tuple[str, bytes]:
    """Returns the image of a question, upright, its first frame, as a media type and content.

    Raises:
      UnreadableImageError: if it vanished, changed, lies outside of the folder, or cannot be decoded.
    """
    content = _content(question, folder)
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content), formats=formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(f"has more than {MAX_PIXELS:,} pixels")
            kind = image.format
            image.draft(None, (TILE, TILE))  # JPEG files need not be decoded at full size to be checked
            image.load()
            as_it_is = kind in JPEG or not (
                image.getexif().get(ORIENTATION, 1) != 1 or getattr(image, "is_animated", False)
            )
            if not tile and as_it_is and kind in SHOWN:
                return SHOWN[kind], content
            ImageOps.exif_transpose(image, in_place=True)
            fit = _displayable(image)
            fit.thumbnail((TILE, TILE) if tile else (CONVERTED, CONVERTED))
            return _encoded(fit, kind)
    except UnreadableImageError:
        raise
    except Exception as error:  # of a damaged file, almost any kind
        raise UnreadableImageError("cannot be decoded") from error


def _content(question: Question, folder: Path) -> bytes:
    """Reads a file below the folder, links followed, that still is what was asked about."""
    try:
        path = question.path.resolve(strict=True)
        if not (path.is_relative_to(_resolved(folder)) and path.is_file()):
            raise UnreadableImageError("does not lie in the folder of images")
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != question.sha256:
        raise UnreadableImageError("changed since it was asked")
    return content


@functools.cache
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _displayable(image: Any) -> Any:
    """Returns an image in 8 bits of grey or colours, opaque or not."""
    import numpy as np
    from PIL import Image

    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(eight_bit(np.asarray(image)))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _encoded(image: Any, kind: str | None) -> tuple[str, bytes]:
    """Returns a JPEG file of what was one, and a PNG file of all else."""
    buffer = io.BytesIO()
    if kind in JPEG:
        image.save(buffer, "JPEG", quality=85)
        return "image/jpeg", buffer.getvalue()
    image.save(buffer, "PNG", compress_level=1)
    return "image/png", buffer.getvalue()
