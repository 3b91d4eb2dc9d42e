"""Checks what is recorded of a run that people label; each check yields one line for each problem."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aljax import agreement
from aljax.errors import InvalidInputError
from aljax.records import files, inventory, journal, selections
from aljax.records.files import Record
from aljax.records.journal import Answer


def problems(workdir: Path, lines: Sequence[Record]) -> Iterator[str]:
    """Checks the journal, the list of images and that of changes.

    Args:
      workdir: the run directory.
      lines: of cycles.jsonl.
    """
    try:
        inventory.read(workdir)
        files.read_lines(workdir / inventory.CHANGES)
        given = journal.read(workdir)
    except InvalidInputError as error:
        yield str(error)
        return
    yield from lost(workdir, given, lines)


def lost(workdir: Path, given: Sequence[Answer], lines: Sequence[Record]) -> Iterator[str]:
    """Yields a line for each cycle of which the journal has fewer answers than were counted."""
    for line in lines:
        count = len({(one.file, one.sha256) for one in given if one.cycle == line["cycle"]})
        counted = sum(line.get("answers", {}).values())
        if count < counted:
            where = f"{workdir / journal.NAME}: {count} answers of cycle {line['cycle']}"
            yield f"{where}, and cycles.jsonl counts {counted}"


def read(workdir: Path) -> list[Answer]:
    """Returns the answers of a run; raises InvalidInputError if some that were counted are lost."""
    given, lines = journal.read(workdir), files.read_lines(workdir / "cycles.jsonl")[0]
    for problem in lost(workdir, given, lines):
        raise InvalidInputError(f"{problem}; accepted: the file that aljax wrote")
    return given


def cycle(workdir: Path, number: int, line: Record, config: Mapping[str, Any]) -> Iterator[str]:
    """Checks a line of cycles.jsonl against its selections.

    Args:
      workdir: the run directory.
      number: of the line, from 1.
      line: its record.
      config: the run's.
    """
    path = selections.path_of(workdir, line["trial"], line["cycle"])
    chosen = selections.load(path)
    if chosen is None:
        yield f"{path}: {'damaged' if path.exists() else 'missing'}"
        return
    named, hashes = (chosen.details.get(name, np.empty(0)) for name in ("files", "file_sha256"))
    size = len(chosen.subset)
    if size > config["subset_size"] or not np.array_equal(chosen.subset, np.arange(size)):
        yield f"{path}: the sub-pool is not the first of at most {config['subset_size']} files"
        return
    if not len(named) == len(hashes) == len(set(named.tolist())) or len(named) < size:
        yield f"{path}: its images are not different files with a SHA-256 each"
        return
    batches = [chosen.uncertainty, chosen.diversity, chosen.acquired, *chosen.compared.values()]
    count = len(chosen.acquired)
    if any(len(set(batch.tolist())) != count or set(batch.tolist()) - set(range(size)) for batch in batches):
        yield f"{path}: a selection is not {count} different images of the sub-pool"
        return
    expected = {
        **agreement.measured(chosen.uncertainty, chosen.diversity, size)._asdict(),
        "subset_size": size,
        "asked": len(selections.asked(chosen)),
        "ties": selections.ties(chosen),
        "selections_sha256": selections.digest(path),
    }
    for name, value in expected.items():
        if line.get(name) != value:
            where = f"{workdir / 'cycles.jsonl'}:{number}"
            yield f"{where}: {name} is {line.get(name)}, and the selections give {value}"
