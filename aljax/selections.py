"""What was selected in one cycle, and the file that holds it."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from aljax import files


class Selections(NamedTuple):
    """What was chosen in one cycle, as indices of the data set's training images."""

    subset: np.ndarray  # [M] int32, rising
    uncertainty: np.ndarray  # [B] int32, in the order of choice
    diversity: np.ndarray  # [B] int32, in the order of choice
    scores: np.ndarray  # the uncertainty strategy's, of the subset, [M] float32; or [0]


def path_of(workdir: Path, trial: int, cycle: int) -> Path:
    """Where the selections of one cycle lie."""
    return workdir / "selections" / f"trial-{trial:02d}" / f"cycle-{cycle:02d}.npz"


def save(path: Path, selections: Selections) -> None:
    """Writes the selections of one cycle; equal selections give equal bytes."""
    buffer = BytesIO()
    np.savez(buffer, **selections._asdict())
    files.write(path, buffer.getvalue())


def load(path: Path) -> Selections | None:
    """Reads them back; None where there are none, or (said in a warning) they are damaged.

    The file's own checksums tell damage; pickled content is not read.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                raise ValueError(f"checksum of {name} differs")
        with np.load(path, allow_pickle=False) as arrays:
            return Selections(*(arrays[name] for name in Selections._fields))
    except Exception as error:  # of a damaged archive, almost any kind
        logging.warning("%s: damaged, and not used (%s)", path, error)
        return None
