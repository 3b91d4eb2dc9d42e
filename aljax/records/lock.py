"""The lock of a run directory: one process at a time works in it, and notices if it is replaced."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from aljax.errors import InvalidInputError, RunError

NAME = ".lock"
WRITABLE = "a folder that can be written"

_held: dict[Path, tuple[int, int]] = {}  # descriptors of the folder and of its lock, by run directory


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Locks a run directory, which exists, for this process.

    Raises:
      InvalidInputError: if another process holds it, or it cannot be locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = os.open(workdir, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            descriptor = _opened(workdir)
            stack.callback(os.close, descriptor)
        except OSError as error:
            kinds = {errno.ELOOP: "its .lock is a link", errno.EISDIR: "its .lock is a folder"}
            reason = kinds.get(error.errno or 0, error.strerror)
            raise InvalidInputError(f"--workdir={workdir}: {reason}; accepted: {WRITABLE}") from error
        _take(descriptor, workdir)
        _held[workdir] = folder, descriptor
        stack.callback(_held.pop, workdir, None)
        yield


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Lets one process at a time change a file of a run directory: a run, and a report made meanwhile.

    Raises:
      RunError: if the run directory cannot be opened.
    """
    try:
        folder = os.open(workdir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise RunError(f"{workdir}: cannot be used ({error.strerror})") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def check_held(workdir: Path) -> None:
    """Raises RunError if a run directory that this process locked was removed or replaced since."""
    for path, descriptor in zip((workdir, workdir / NAME), _held.get(workdir, ()), strict=False):
        try:
            there = os.path.samestat(
                os.lstat(path) if path.name == NAME else os.stat(path), os.fstat(descriptor)
            )
        except OSError:
            there = False
        if not there:
            raise RunError(f"{path}: was removed or replaced while the run was at work; nothing was written")


def _opened(workdir: Path) -> int:
    """Opens the lock, and neither follows a link nor waits for a pipe."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(workdir / NAME, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "its .lock is not a regular file")
    return descriptor


def _take(descriptor: int, workdir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        raise InvalidInputError(f"--workdir={workdir}: process {holder} is at work in it") from error
    except OSError as error:
        raise InvalidInputError(f"--workdir={workdir}: cannot be locked ({error.strerror})") from error
    with contextlib.suppress(OSError):  # the number only serves to name the process
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
