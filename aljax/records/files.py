"""Durable file writes: atomic replacement (temporary file, fsync, rename), and appends with fsync."""

import os
import secrets
from pathlib import Path

from aljax.errors import InvalidInputError, RunError
from aljax.records import kinds
from aljax.records.lines import CHECKSUM, Record, decoded, encoded

__all__ = ["PARTIAL", "Record", "append", "decoded", "encoded", "read", "read_lines", "write"]

PARTIAL = ".partial-"  # begins the name of a file that is not complete yet


def read_lines(path: Path, checksum: str = CHECKSUM) -> tuple[list[Record], int]:
    """Reads the records of a .jsonl file, and counts the bytes that they take up.

    The lines end with a field `checksum`. A last line that was not written to its end is left out of
    both; a file that is missing has no lines.

    Raises:
      InvalidInputError: if the file cannot be read, or a line is not as it was written, naming both.
    """
    *whole, _ = (read(path) if os.path.lexists(path) else b"").split(b"\n")
    records, length = [], 0
    for number, line in enumerate(whole, start=1):
        try:
            records.append(decoded(line + b"\n", checksum))
            if problem := next(kinds.problems(path.name, records[-1]), None):
                raise ValueError(problem)
        except ValueError as error:
            reason = f"damaged ({error}); accepted: a line as aljax wrote it"
            raise InvalidInputError(f"{path}:{number}: {reason}") from error
        length += len(line) + 1
    return records, length


def read(path: Path) -> bytes:
    """Returns the content of a file; raises InvalidInputError if it is none, or cannot be read."""
    try:
        if not path.is_file() and path.exists():  # a pipe would be waited for
            raise InvalidInputError(f"{path}: is not a regular file; accepted: a file that can be read")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{path}: cannot be read ({error.strerror}); accepted: a file that can be read"
        ) from error


def append(path: Path, *added: Record, checksum: str = CHECKSUM) -> None:
    """Appends records to a file that exists, a line each; they are on the disk when this returns.

    Raises:
      RunError: if it could not be written; the file then holds what it held before.
    """
    content = b"".join(encoded(record, checksum) for record in added)
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
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror})") from error


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; it is on the disk when this returns.

    Raises:
      RunError: if it could not be written; what stood there before stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
        try:
            with open(partial, "xb") as file:  # with the rights that the umask leaves
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
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
