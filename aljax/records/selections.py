"""What was selected in one cycle, and the file that holds it."""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from aljax.records import files


class Selections(NamedTuple):
    """What was chosen in one cycle, as indices of the data set's training images.

    Shapes: M images in the sub-pool, B in a batch.
    """

    subset: np.ndarray  # [M] int32, rising
    uncertainty: np.ndarray  # [B] int32, in the order of choice
    diversity: np.ndarray  # [B] int32, in the order of choice
    acquired: np.ndarray  # what was labeled, [B] int32
    scores: np.ndarray  # the uncertainty strategy's, of the subset, [M] float32; or [0]
    compared: dict[str, np.ndarray]  # by the strategies of config.compare: [B] int32 each
    compared_scores: dict[str, np.ndarray]  # by the same: [M] float32; or [0]
    details: dict[str, np.ndarray]  # what the scenario adds, by name


GROUPS = ("compared", "compared_scores", "details")  # stored as "compared/NAME"


def path_of(workdir: Path, trial: int, cycle: int) -> Path:
    """Where the selections of one cycle lie."""
    return workdir / "selections" / f"trial-{trial:02d}" / f"cycle-{cycle:02d}.npz"


def save(path: Path, selections: Selections) -> None:
    """Writes the selections of one cycle; equal selections give equal bytes."""
    arrays = selections._asdict()
    for group in GROUPS:
        arrays |= {f"{group}/{name}": array for name, array in arrays.pop(group).items()}
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    files.write(path, buffer.getvalue())


def load(path: Path) -> Selections | None:
    """Reads them back; None where there are none, or (said in a warning) they are damaged.

    The file's own checksums tell damage; pickled content is not read.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"checksum of {damaged} differs")
            # The end of an archive counts its members; a damaged list of them may be shorter.
            if len(archive.namelist()) != int.from_bytes(path.read_bytes()[-12:-10], "little"):
                raise ValueError("not all of its arrays are found")
        with np.load(path, allow_pickle=False) as arrays:
            alone = [arrays[name] for name in Selections._fields if name not in GROUPS]
            return Selections(*alone, *(_group(arrays, name) for name in GROUPS))
    except Exception as error:  # of a damaged archive, almost any kind
        logging.warning("%s: damaged, and not used (%s)", path, error)
        return None


def _group(arrays: Mapping[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{group}/"): arrays[name] for name in arrays if name.startswith(f"{group}/")}
