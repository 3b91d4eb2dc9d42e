"""Files of embeddings: what an output and its parts hold already, and new parts.

An image is known by the SHA-256 of its file, a model by a text that names all that its values depend on.

A run keeps those of its images in embeddings.npz.

Shapes: n images, D values of an embedding.
"""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
from absl import logging

from aljax.errors import InvalidInputError
from aljax.records import arrays, files

NAME = "embeddings.npz"  # in a run directory
Known = dict[str, np.ndarray]  # embeddings, [D] float32, by the SHA-256 of the image's file


def parts_of(out: Path) -> Path:
    """Returns the folder of an output's parts."""
    return out.with_name(f"{out.name}.parts")


def known(out: Path, origin: str) -> Known:
    """Loads the embeddings by a model that an output and its parts hold.

    Parts that are damaged, or of another model, are passed over.

    Raises:
      InvalidInputError: if the output holds something else, which writing it would destroy.
    """
    found: Known = {}
    for part in sorted(parts_of(out).glob("*.npz")):
        with contextlib.suppress(ValueError, KeyError):
            held = arrays.unpacked(part)
            if str(held["origin"]) == origin:
                found |= _by_digest(held)
    if not out.exists():
        return found
    accepted = "accepted: a new file, or one that `aljax embed` wrote with this model"
    try:
        held = arrays.unpacked(out)
        of_output, by_model = _by_digest(held), str(held["origin"])
    except (ValueError, KeyError) as error:
        raise InvalidInputError(f"{out}: holds no embeddings of aljax ({error}); {accepted}") from error
    if by_model != origin:
        raise InvalidInputError(f"{out}: holds embeddings of another model, {by_model}; {accepted}")
    return found | of_output


def held(workdir: Path, origin: str) -> Known:
    """Loads the embeddings by a model that a run directory and its parts hold; what is damaged is told."""
    out = workdir / NAME
    try:
        return known(out, origin)
    except InvalidInputError as error:
        logging.warning(
            "%s: damaged, and made again (%s)", out, str(error).partition(" (")[2].partition(")")[0]
        )
    out.unlink()
    return known(out, origin)


def content(known: Known, origin: str) -> bytes:
    """Returns the content of a file of embeddings that `known` and `held` read."""
    stacked = {"sha256": np.array(list(known)), "features": np.stack(list(known.values()))}
    return arrays.packed({**stacked, "origin": np.array(origin)})


def keep(out: Path, part: Known, origin: str) -> None:
    """Writes a part of an output, under a name that its images give it.

    Raises:
      RunError: if it could not be written.
    """
    name = hashlib.sha256("".join(part).encode()).hexdigest()[:16]
    files.write(parts_of(out) / f"{name}.npz", content(part, origin))


def _by_digest(held: dict[str, np.ndarray]) -> Known:
    return dict(zip(held["sha256"].tolist(), held["features"], strict=True))
