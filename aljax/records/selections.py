"""The selections of one cycle, and the file that holds them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from aljax.records import arrays, files, places


class Selections(NamedTuple):
    """The images chosen in one cycle, as indices of the data set's training images.

    Shapes: M images in the sub-pool, B in a batch.
    """

    subset: np.ndarray  # [M] int32, rising
    uncertainty: np.ndarray  # [B] int32, in the order of choice
    diversity: np.ndarray  # [B] int32, in the order of choice
    acquired: np.ndarray  # the batch that was labeled, [B] int32
    scores: np.ndarray  # the uncertainty strategy's, of the subset, [M] float32; or [0]
    compared: dict[str, np.ndarray]  # by the strategies of config.compare: [B] int32 each
    compared_scores: dict[str, np.ndarray]  # by the same: [M] float32; or [0]
    details: dict[str, np.ndarray]  # the scenario's own, by name


GROUPS = ("compared", "compared_scores", "details")  # stored as "compared/NAME"


INDICES, SCORES = ("iu", 1), ("f", 1)
KINDS = {  # of the arrays that are read again, as `arrays.check` takes them
    **dict.fromkeys(("subset", "uncertainty", "diversity", "acquired", "compared"), INDICES),
    **dict.fromkeys(("scores", "compared_scores", "details/thresholds"), SCORES),
    **dict.fromkeys(("details/arrivals", "details/source", "details/other"), INDICES),
    "details/stop_predictions": INDICES,
    "details/images": ("u", 4),
    "details/ties/uncertainty": ("iu", 0),
}


def offered(chosen: Selections) -> int:
    """Counts the images that the strategies chose from: the sub-pool, or the part of it that a stream saw."""
    return len(chosen.details.get("arrivals", chosen.subset))


def ties(chosen: Selections) -> int | None:
    """Returns the images tied at the cut of the uncertainty selection; None where they were not counted."""
    counted = chosen.details.get("ties/uncertainty")
    return None if counted is None else int(counted)


def asked(chosen: Selections) -> dict[str, str]:
    """Returns the files that people were asked about, with the SHA-256 of each, in the order of choice.

    Where people label, the indices are places in `details/files`: first the sub-pool, then the images
    that were drawn at random to judge the models.
    """
    named, hashes = chosen.details["files"].tolist(), chosen.details["file_sha256"].tolist()
    rows = [*chosen.acquired.tolist(), *range(len(chosen.subset), len(named))]
    return {named[row]: hashes[row] for row in rows}


def path_of(workdir: Path, trial: int, cycle: int) -> Path:
    """Returns the path of the selections of one cycle."""
    return places.file_of(workdir / "selections", trial, cycle)


def content(selections: Selections) -> bytes:
    """Returns the content of the file of some selections; equal selections give equal bytes."""
    stored = selections._asdict()
    for group in GROUPS:
        stored |= {f"{group}/{name}": array for name, array in stored.pop(group).items()}
    return arrays.packed(stored)


def save(path: Path, selections: Selections) -> None:
    """Writes the selections of one cycle."""
    files.write(path, content(selections))


def digest(path: Path) -> str:
    """Returns the SHA-256 of a selections file, by which the cycle's line knows it; "" without the file.

    Raises:
      InvalidInputError: if it cannot be read.
    """
    return hashlib.sha256(files.read(path)).hexdigest() if path.exists() else ""


def load(path: Path) -> Selections | None:
    """Loads a cycle's selections; None if the file is missing, or damaged (which is logged)."""
    if not path.exists():
        return None
    try:
        stored = arrays.unpacked(path)
        of_groups = {name: KINDS[name.split("/")[0]] for name in stored if name.startswith("compared")}
        arrays.check(stored, {**KINDS, **of_groups})
        fields: dict[str, Any] = {name: stored[name] for name in Selections._fields if name not in GROUPS}
        fields |= {name: _group(stored, name) for name in GROUPS}
        return Selections(**fields)
    except (ValueError, KeyError) as error:
        logging.warning("%s: damaged, and not used (%s)", path, error)
        return None


def _group(stored: Mapping[str, np.ndarray], group: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{group}/"): stored[name] for name in stored if name.startswith(f"{group}/")}
