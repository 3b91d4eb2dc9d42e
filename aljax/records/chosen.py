"""The images that a cycle's strategies chose, by their files: chosen/trial-00/cycle-02.csv.

A row per image: file, rank (its place among those that were acquired, from 1; empty if it was not), score
(the uncertainty strategy's, if it gives one) and a column per strategy with its own rank of the image,
empty if it did not choose it. The acquired images come first, in the order of choice.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aljax.records import manifest, places
from aljax.records.selections import Selections


def path_of(workdir: Path, trial: int, cycle: int) -> Path:
    """Returns where the chosen images of a cycle are listed."""
    return places.file_of(workdir / "chosen", trial, cycle, ".csv")


def content(selected: Selections, names: Mapping[str, str], acquired: str, ids: Sequence[str]) -> bytes:
    """Lists the images that any strategy of a cycle chose.

    Args:
      selected: what was chosen.
      names: the strategies by role: "uncertainty", "diversity", "strategy NAME"; a name that plays
        several roles, as "random" in cycle 1, is followed by the role in the header.
      acquired: the role whose choice was acquired.
      ids: names of the images, by index.

    Returns:
      The file's bytes; equal for equal selections.
    """
    batches = _batches(selected, names, acquired)
    ranks = [{int(image): rank for rank, image in enumerate(batch, start=1)} for batch in batches.values()]
    of_acquired = {int(image): rank for rank, image in enumerate(selected.acquired, start=1)}
    scores = dict(zip(selected.subset.tolist(), map(str, selected.scores), strict=False))
    rows = [
        [ids[image], *(of_image.get(image, "") for of_image in (of_acquired, scores, *ranks))]
        for image in dict.fromkeys([*of_acquired, *(image for of_batch in ranks for image in of_batch)])
    ]
    return table(["file", "rank", "score", *batches], rows)


def ids_of(selected: Selections, ids: Sequence[str], trial: int, cycle: int) -> Sequence[str]:
    """Names the images that a cycle's selections are indices of.

    Args:
      selected: what was chosen.
      ids: of the data set's training images.
      trial, cycle: of the selections.

    Returns:
      The same, or, where images were made, a name per proposal: the PNG of one that was acquired.
    """
    if "images" not in selected.details:
        return ids
    folder = places.file_of(Path("selections"), trial, cycle, "").as_posix()
    made = {int(proposal): f"{folder}/{row:03d}.png" for row, proposal in enumerate(selected.acquired)}
    return [made.get(proposal, f"proposal {proposal}") for proposal in range(len(selected.subset))]


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Returns rows as the bytes of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def save(
    workdir: Path,
    trial: int,
    cycle: int,
    selected: Selections,
    names: Mapping[str, str],
    acquired: str,
    ids: Sequence[str],
) -> None:
    """Writes the list of a cycle; the arguments are those of `content`.

    Raises:
      RunError: as `manifest.put`.
    """
    table = content(selected, names, acquired, ids_of(selected, ids, trial, cycle))
    manifest.put(workdir, path_of(workdir, trial, cycle), table)


def _batches(selected: Selections, names: Mapping[str, str], acquired: str) -> dict[str, np.ndarray]:
    """Returns what each strategy chose, by column."""
    chosen = {"uncertainty": selected.uncertainty, "diversity": selected.diversity, **selected.compared}
    chosen.setdefault(acquired.removeprefix("strategy "), selected.acquired)
    roles = {role.removeprefix("strategy "): name for role, name in names.items()}
    counts = Counter(names.values())
    return {
        name if counts[name] == 1 else f"{name} ({role})": chosen[role]
        for role, name in roles.items()
        if role in chosen
    }
