"""The run directory: the records of a run, written so that none is lost or counted twice.

A (trial, cycle) is complete when its line stands in cycles.jsonl.
"""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from aljax.errors import InvalidInputError, RunError
from aljax.records import lock, manifest, selections, stored_config
from aljax.records.files import PARTIAL, Record, append, encoded, read, read_lines, write
from aljax.records.lines import CHECKSUM
from aljax.records.lock import WRITABLE
from aljax.records.places import Place, place_of, shortened
from aljax.records.stored_config import check_same, identity

__all__ = ["check_same", "completed", "identity", "opened", "plain", "put", "record"]

# Files with lines of each cycle, written before the line of cycles.jsonl that completes it.
SIDE_FILES = ("timings.jsonl", "pairs.jsonl")

DIAGNOSTICS = "diagnostics.jsonl"  # a line of each cycle, written before its selections


@contextlib.contextmanager
def opened(workdir: Path, config: Record, environment: Record, free: Sequence[str] = ()) -> Iterator[None]:
    """Creates the run directory if needed, and locks it for this process.

    Args:
      workdir: the run directory.
      config: every field of the config.
      environment: versions and device, under the names in `stored_config.ENVIRONMENT`.
      free: fields of the config, by dotted names, that may change when the run goes on.

    Raises:
      InvalidInputError: if another process holds the lock, the stored config differs, or the directory
        cannot be written.
      RunError: if input was refused because the directory had been removed or replaced meanwhile.
    """
    try:
        new = not workdir.exists()
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"--workdir={workdir}: {error.strerror}; accepted: {WRITABLE}") from error
    foreign = not any((workdir / name).exists() for name in (lock.NAME, "config.json"))
    with lock.held(workdir):
        try:
            _begin(workdir, config, environment, free)
        except InvalidInputError:
            if foreign:
                (workdir / lock.NAME).unlink(missing_ok=True)
            raise
        except (RunError, OSError) as error:
            raise InvalidInputError(f"--workdir={workdir}: {error}; accepted: {WRITABLE}") from error
        try:
            yield
        except InvalidInputError:
            lock.check_held(workdir)  # else the folder is to blame, not what was looked for in it
            if new:
                _withdraw(workdir)
            raise


def _withdraw(workdir: Path) -> None:
    """Removes a run directory in which nothing was selected: what `_begin` wrote, and the empty folder."""
    if any(workdir.glob("selections/*/*")):
        return
    with contextlib.suppress(OSError):  # then it stays, and the same command goes on in it
        for name in (*manifest.FILES, manifest.NAME, lock.NAME):
            (workdir / name).unlink(missing_ok=True)
        workdir.rmdir()


def _begin(workdir: Path, config: Record, environment: Record, free: Sequence[str]) -> None:
    """Writes the config, or compares it with the stored one; removes the remains of a killed process."""
    path = workdir / "config.json"
    cycles = workdir / "cycles.jsonl"
    recorded = cycles.exists() and cycles.stat().st_size > 0
    begun = any(workdir.glob("selections/*/*")) or recorded
    stored = stored_config.load(path) if os.path.lexists(path) else None
    if stored is None:
        foreign = sorted(
            name for name in os.listdir(workdir) if name != ".lock" and not name.startswith(PARTIAL)
        )
        if foreign:
            raise InvalidInputError(
                f"--workdir={workdir}: holds {foreign[0]} but no config.json; accepted: "
                "an empty folder or a run directory"
            )
    elif begun and manifest.exists(workdir) and not cycles.exists():
        raise InvalidInputError(
            f"{cycles}: missing; accepted: the file that aljax wrote, or an empty one, with which "
            "every cycle is made again"
        )
    elif begun:
        stored_config.check_same_config(path, stored, config, environment, free)
        if free and (now := stored_config.renewed(stored, config)) != stored:
            manifest.leave(workdir, [stored_config.NAME])
            stored_config.save(path, now)
    for folder in ("", "figures/", "selections/**/", "chosen/*/", "gallery/*/"):
        for left_over in workdir.glob(f"{folder}{PARTIAL}*"):
            left_over.unlink()
    if not begun and (stored is None or not stored_config.equal(stored, config, environment)):
        manifest.withdraw(workdir)
        stored_config.save(path, {**config, **environment})
    unused = set() if config.get("compare") else {"pairs.jsonl"}
    for name in ("cycles.jsonl", *SIDE_FILES, DIAGNOSTICS):
        if name not in unused and not (workdir / name).exists():
            if recorded:
                logging.warning("%s: missing; its lines of the cycles so far are lost", workdir / name)
            write(workdir / name, b"")


def completed(workdir: Path, plan: Sequence[Place]) -> list[Record]:
    """Reads the lines of cycles.jsonl, and removes a half-written last one.

    The side files are cut to the same cycles, the diagnostics to those whose selections are stored.

    Args:
      workdir: the run directory.
      plan: every place in the order in which a run comes to them; a trial ends before its last
        cycle if a line says why it `stopped`.

    Returns:
      A record for each complete place, in order.

    Raises:
      InvalidInputError: if a line is damaged or out of order, naming the file and the line.
    """
    path = workdir / "cycles.jsonl"
    lines = repaired(path)
    plan = shortened(plan, lines)
    for number, line in enumerate(lines, start=1):
        expected = plan[number - 1] if number <= len(plan) else None
        if place_of(line) != expected:
            raise InvalidInputError(
                f"{path}:{number}: is of trial {line.get('trial')}, cycle {line.get('cycle')}; expected: "
                + (f"trial {expected[0]}, cycle {expected[1]}" if expected else "no more lines")
            )
    done = set(plan[: len(lines)])
    for name in SIDE_FILES:
        _cut(workdir / name, done)
    selected = {place for place in plan if selections.path_of(workdir, *place).exists()}
    _cut(workdir / DIAGNOSTICS, done | selected)
    return lines


def _cut(path: Path, kept_places: set[Place]) -> None:
    """Removes all lines but those of some places."""
    lines = repaired(path)
    kept = [line for line in lines if place_of(line) in kept_places]
    if kept != lines:
        write(path, b"".join(map(encoded, kept)))


def record(workdir: Path, name: str, *lines: Record) -> None:
    """Appends lines to a file of the run directory that this process holds.

    Raises:
      RunError: if they could not be written, or the directory is no longer the one that was locked.
    """
    lock.check_held(workdir)
    append(workdir / name, *lines)


def put(path: Path, new: Record) -> None:
    """Appends the line of a trial and cycle, or replaces the one that they have.

    Raises:
      RunError: as `record`; the file then holds what it held before.
    """
    lock.check_held(path.parent)
    if _beginning(new) not in read(path):  # of thousands of lines, which it would take long to parse
        append(path, new)
        return
    lines, _ = read_lines(path)
    known = [place_of(line) for line in lines]
    lines[known.index(place_of(new))] = new
    write(path, b"".join(map(encoded, lines)))


def _beginning(line: Record) -> bytes:
    """Returns the bytes with which the line of a trial and cycle begins, in whatever file."""
    trial, cycle = place_of(line)
    return encoded({"trial": trial, "cycle": cycle}).partition(b'"sha256"')[0]


def repaired(path: Path, checksum: str = CHECKSUM) -> list[Record]:
    """Returns the lines of a file, and removes a half-written last one.

    Raises:
      InvalidInputError: if a line is damaged, or the file cannot be written.
    """
    lines, length = read_lines(path, checksum)
    if path.exists() and length < path.stat().st_size:
        logging.warning(
            "%s:%d: half-written, and dropped; what it was of is done again", path, len(lines) + 1
        )
        try:
            with open(path, "r+b") as file:
                file.truncate(length)
                os.fsync(file.fileno())
        except OSError as error:
            raise InvalidInputError(
                f"{path}: {error.strerror}; accepted: a file that can be written"
            ) from error
    return lines


def plain(record: Record) -> Record:
    """Returns a record with its numbers as JSON has them.

    Raises:
      RunError: if a number is not finite.
    """
    numbers = {name: value.item() if hasattr(value, "item") else value for name, value in record.items()}
    for name, number in numbers.items():
        if isinstance(number, float) and not math.isfinite(number):
            raise RunError(f"trial {record['trial']}, cycle {record['cycle']}: {name} is {number}")
    return numbers
