"""Durable file writes: atomic replacement (temporary file, fsync, rename), and appends with fsync.

Each fsync waits for the disk. Within `together` most writes leave that to `settle`, which waits for all of
them at once: a process that is killed loses nothing of them, a power cut what was not settled.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aljax.errors import InvalidInputError, RunError
from aljax.records import kinds
from aljax.records.lines import CHECKSUM, Record, decoded, encoded

__all__ = [
    *("PARTIAL", "Record", "append", "decoded", "encoded"),
    *("read", "read_lines", "settle", "together", "write"),
]

PARTIAL = ".partial-"  # begins the name of a file that is not complete yet
SYNCED_AT_ONCE = 16  # files whose fsync a file system turns into one write of its journal

_unsettled: set[Path] | None = None  # files and folders, within `together`


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Lets writes wait for `settle`, which is also called at the end."""
    global _unsettled
    _unsettled = set()
    try:
        yield
    finally:
        try:
            settle()
        finally:
            _unsettled = None


def settle() -> None:
    """Brings to the disk what was written since the last call within `together`.

    Raises:
      RunError: if that is not possible.
    """
    if not _unsettled:
        return
    waiting = sorted(_unsettled)
    _unsettled.clear()
    with ThreadPoolExecutor(SYNCED_AT_ONCE) as pool:
        list(pool.map(_synced, waiting))


def _synced(path: Path) -> None:
    try:
        _sync(path)
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror})") from error


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

    But for those that wait for `settle`.

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
                if _unsettled is None:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        if _unsettled is not None:
            _unsettled.add(path)
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror})") from error


def write(path: Path, content: bytes, now: bool = False) -> None:
    """Writes a file whole or not at all; it is on the disk when this returns, or (not `now`) once settled.

    Raises:
      RunError: if it could not be written; what stood there before stays.
    """
    now = now or _unsettled is None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
        try:
            with open(partial, "xb") as file:  # with the rights that the umask leaves
                file.write(content)
                file.flush()
                if now:
                    os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        if now:
            _sync(path.parent)
        elif _unsettled is not None:
            _unsettled.update((path, path.parent))
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror})") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
