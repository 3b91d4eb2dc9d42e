"""The run directory: what a run has found, written so that nothing is lost or counted twice.

A (trial, cycle) is complete when its line stands in cycles.jsonl. Files are written whole
(beside their place, then renamed into it) and lines are appended whole and flushed to disk.
"""

import contextlib
import fcntl
import json
import math
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from absl import logging

from aljax.errors import Refused, RunFailed

Record = dict[str, Any]

# What ran, not what was asked for: a run may be continued where these differ.
ENVIRONMENT = ("versions", "device")

DATA = "data_sha256"  # in config.json, the digest of the data set

PARTIAL = ".partial-"  # begins the name of a file that is not complete yet


class Selections(NamedTuple):
    """What was chosen in one cycle, as indices of the data set's training images."""

    subset: np.ndarray  # [M] int32, rising
    uncertainty: np.ndarray  # [B] int32, in the order of choice
    diversity: np.ndarray  # [B] int32, in the order of choice
    scores: np.ndarray  # the uncertainty strategy's, of the subset, [M] float32; or [0]


@contextlib.contextmanager
def opened(workdir: Path, config: Record, environment: Record) -> Iterator[None]:
    """Holds the run directory for this process alone, made if it is new.

    Args:
      workdir: the run directory.
      config: every field of the config.
      environment: versions and device, by the names in `ENVIRONMENT`.

    Raises:
      Refused: if another process holds it, it was made with another config, or it cannot be
        written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("a+b", buffering=0)
    except OSError as error:
        raise Refused(
            f"--workdir={workdir}: {error.strerror}; accepted: a folder that can be written"
        ) from error
    with lock:
        _take(lock, workdir)
        try:
            _begin(workdir, config, environment)
        except (RunFailed, OSError) as error:
            raise Refused(f"--workdir={workdir}: {error}; accepted: a folder that can be written") from error
        yield


def _take(lock: IO[bytes], workdir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().decode(errors="replace").strip()
        raise Refused(f"--workdir={workdir}: process {holder} is at work in it") from error
    except OSError as error:
        raise Refused(f"--workdir={workdir}: cannot be locked ({error.strerror})") from error
    with contextlib.suppress(OSError):  # the number only serves to name the process
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())


def _begin(workdir: Path, config: Record, environment: Record) -> None:
    """Writes the config, or compares it with the one that is there; removes what a kill left."""
    path = workdir / "config.json"
    cycles = workdir / "cycles.jsonl"
    begun = any(workdir.glob("selections/*/*")) or (cycles.exists() and cycles.stat().st_size > 0)
    stored = _stored_config(path) if path.exists() else None
    if stored is None:
        foreign = sorted(
            name for name in os.listdir(workdir) if name != ".lock" and not name.startswith(PARTIAL)
        )
        if foreign:
            raise Refused(
                f"--workdir={workdir}: holds {foreign[0]} but no config.json; accepted: "
                "an empty folder or a run directory"
            )
    elif begun:
        _check_same_config(path, stored, config, environment)
    for left_over in [*workdir.glob(f"{PARTIAL}*"), *workdir.glob(f"selections/*/{PARTIAL}*")]:
        left_over.unlink()
    if not begun and stored != {**_as_json(config), **_as_json(environment)}:
        write(path, (json.dumps({**config, **environment}, indent=2) + "\n").encode())
    for name in ("cycles.jsonl", "timings.jsonl"):
        if not (workdir / name).exists():
            write(workdir / name, b"")


def _as_json(value: Record) -> Record:
    return json.loads(json.dumps(value))


def _stored_config(path: Path) -> Record:
    try:
        stored = json.loads(path.read_bytes())
        if missing := [name for name in ENVIRONMENT if name not in stored]:
            raise ValueError(f"it lacks {missing[0]!r}")
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"{path}: is not a config that aljax wrote ({error})") from error
    return stored


def _check_same_config(path: Path, stored: Record, config: Record, environment: Record) -> None:
    fields = {name: value for name, value in stored.items() if name not in (*ENVIRONMENT, DATA)}
    old, new = flatten(fields), flatten(_as_json(config))
    differing = [
        f"config.{name} is {_shown(new, name)}, was {_shown(old, name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]
    if differing:
        raise Refused(
            f"{path}: made with another config: {'; '.join(differing)}; accepted: the same config, "
            "or another --workdir"
        )
    before = {name: stored[name] for name in ENVIRONMENT}
    if before != environment:
        logging.warning("%s: this run was started with %s, and goes on with %s", path, before, environment)


def check_same_data(workdir: Path, digest: str) -> None:
    """Notes the digest of the data set in config.json; refuses another one later on.

    Raises:
      Refused: if the run was begun with other data, whose indices would mean other images.
    """
    path = workdir / "config.json"
    stored = _stored_config(path)
    if DATA not in stored:
        write(path, (json.dumps({**stored, DATA: digest}, indent=2) + "\n").encode())
    elif stored[DATA] != digest:
        raise Refused(
            f"{path}: the data set has changed since the run was begun ({DATA} is {digest[:12]}, was "
            f"{str(stored[DATA])[:12]}); accepted: the same images, or another --workdir"
        )


_ABSENT = object()


def _shown(fields: Record, name: str) -> str:
    return repr(fields[name]) if name in fields else "absent"


def flatten(config: Record, prefix: str = "") -> Record:
    """Nested dictionaries as one, with names like "train.epochs"."""
    flat: Record = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def completed(workdir: Path, plan: Sequence[tuple[int, int]]) -> list[Record]:
    """The lines of cycles.jsonl, a half-written last one removed.

    timings.jsonl is cut to the same cycles.

    Args:
      workdir: the run directory.
      plan: every (trial, cycle) in the order in which they are run.

    Returns:
      A record for each complete (trial, cycle), in order.

    Raises:
      Refused: if a line is damaged or out of order, naming the file and the line.
    """
    path = workdir / "cycles.jsonl"
    lines = _repaired(path)
    for number, line in enumerate(lines, start=1):
        expected = plan[number - 1] if number <= len(plan) else None
        if (line.get("trial"), line.get("cycle")) != expected:
            raise Refused(
                f"{path}:{number}: is of trial {line.get('trial')}, cycle {line.get('cycle')}; expected: "
                + (f"trial {expected[0]}, cycle {expected[1]}" if expected else "no more lines")
            )
    done = set(plan[: len(lines)])
    timings = _repaired(workdir / "timings.jsonl")
    kept = [line for line in timings if (line.get("trial"), line.get("cycle")) in done]
    if kept != timings:
        write(workdir / "timings.jsonl", b"".join(map(_encoded, kept)))
    return lines


def _repaired(path: Path) -> list[Record]:
    lines, length = read_lines(path)
    if path.exists() and length < path.stat().st_size:
        logging.warning("%s:%d: half-written, and dropped; its cycle is run again", path, len(lines) + 1)
        try:
            with open(path, "r+b") as file:
                file.truncate(length)
                os.fsync(file.fileno())
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}; accepted: a file that can be written") from error
    return lines


def read_lines(path: Path) -> tuple[list[Record], int]:
    """The records of a .jsonl file, and how many bytes of it they take up.

    A last line that was not written to its end is left out of both.

    Raises:
      Refused: if another line is not a JSON object, naming the file and the line.
    """
    content = path.read_bytes() if path.exists() else b""
    raw = content.splitlines(keepends=True)
    records, length = [], 0
    for number, line in enumerate(raw, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not (isinstance(record, dict) and line.endswith(b"\n")):
            if number == len(raw):
                break
            raise Refused(f"{path}:{number}: damaged; accepted: a line as aljax wrote it")
        records.append(record)
        length += len(line)
    return records, length


def append(path: Path, record: Record) -> None:
    """Appends a record to a file that exists, as one line, on the disk when this returns.

    Raises:
      RunFailed: if it could not be written; the file then holds what it held before.
    """
    line = _encoded(record)
    try:
        with open(path, "r+b", buffering=0) as file:  # which does not make a file that has vanished
            before = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) != len(line):
                    raise OSError(0, "no room left for a whole line")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise RunFailed(f"{path}: could not be written ({error.strerror})") from error


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, on the disk when this returns.

    Raises:
      RunFailed: if it could not be written; what stood there before stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=PARTIAL, delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)
                os.replace(file.name, path)
            except OSError:
                os.unlink(file.name)
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise RunFailed(f"{path}: could not be written ({error.strerror})") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encoded(record: Record) -> bytes:
    return (json.dumps(record, allow_nan=False) + "\n").encode()


def selections_path(workdir: Path, trial: int, cycle: int) -> Path:
    """Where the selections of one cycle lie."""
    return workdir / "selections" / f"trial-{trial:02d}" / f"cycle-{cycle:02d}.npz"


def save_selections(path: Path, selections: Selections) -> None:
    """Writes the selections of one cycle; equal selections give equal bytes."""
    buffer = BytesIO()
    np.savez(buffer, **selections._asdict())
    write(path, buffer.getvalue())


def load_selections(path: Path) -> Selections | None:
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


def plain(record: Record) -> Record:
    """A record with its numbers as JSON has them; one that is not finite fails the run."""
    numbers = {name: value.item() if hasattr(value, "item") else value for name, value in record.items()}
    for name, number in numbers.items():
        if isinstance(number, float) and not math.isfinite(number):
            raise RunFailed(f"trial {record['trial']}, cycle {record['cycle']}: {name} is {number}")
    return numbers


if __name__ == "__main__":
    from aljax import verify

    sys.exit(verify.main(sys.argv[1:]))
