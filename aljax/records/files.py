"""Durable file writes: atomic replacement (temporary file, fsync, rename), and appends with fsync."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from aljax.errors import InvalidInputError, RunError

Record = dict[str, Any]

PARTIAL = ".partial-"  # begins the name of a file that is not complete yet


def read_lines(path: Path) -> tuple[list[Record], int]:
    """Reads the records of a .jsonl file, and counts the bytes that they take up.

    A last line that was not written to its end is left out of both.

    Raises:
      InvalidInputError: if another line is not a JSON object, naming the file and the line.
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
            raise InvalidInputError(f"{path}:{number}: damaged; accepted: a line as aljax wrote it")
        records.append(record)
        length += len(line)
    return records, length


def append(path: Path, *added: Record) -> None:
    """Appends records to a file that exists, a line each; they are on the disk when this returns.

    Raises:
      RunError: if it could not be written; the file then holds what it held before.
    """
    content = b"".join(map(encoded, added))
    try:
        with open(path, "r+b", buffering=0) as file:  # which does not make a file that has vanished
            before = file.seek(0, os.SEEK_END)
            try:
                if file.write(content) != len(content):
                    raise OSError(0, "no room left for whole lines")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror})") from error


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; it is on the disk when this returns.

    Raises:
      RunError: if it could not be written; what stood there before stays.
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
        raise RunError(f"{path}: could not be written ({error.strerror})") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encoded(record: Record) -> bytes:
    """Returns a record as its line."""
    return (json.dumps(record, allow_nan=False) + "\n").encode()
