"""One line on standard error and an exit status for whatever a command cannot do."""

import argparse
import atexit
import contextlib
import functools
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import logging

from aljax.cli import signals
from aljax.errors import InvalidInputError, RunError

Main = Callable[..., int]  # main(arguments), those of the process if it has none; returns the exit status


class Parser(argparse.ArgumentParser):
    """Parses a command's arguments; refuses wrong ones in one line, with exit status 2."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses arguments; what is needed at least once is there, where "--" follows "--" too."""
        given = super().parse_args(args, namespace)
        for action in self._actions:
            if action.nargs == "+" and not getattr(given, action.dest, True):
                self.error(f"the following arguments are required: {action.dest}")
        return given

    def _print_message(self, message: str, file: Any = None) -> None:
        """Prints help; an output that cannot be used is not passed over, as it is where this comes from."""
        print(message, end="", file=file or sys.stderr, flush=True)

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong, and exits."""
        sys.exit(say(f"{message}; accepted: see {self.prog} --help", 2))


def guarded(main: Main) -> Main:
    """Returns a command that reports an error in one line, and escapes letters that the terminal lacks."""

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        if arguments is None:  # the process is this command's own: it ends as it is told, to its last moment
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            atexit.register(gc.freeze)  # the end of a process searches no garbage
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            with signals.handled():
                status = main(arguments)
                if sys.stdout is not None:
                    sys.stdout.flush()
                return status
        except InvalidInputError as error:
            return say(str(error), 2)
        except RunError as error:
            return say(str(error), 1)
        except KeyboardInterrupt:  # which a user's own code raised
            return say("stopped", 130)
        except OSError as error:
            return unusable(error)

    return run


def output(path: Path, *inputs: Path, folder: bool = False) -> Path:
    """Returns the path that `--out` names, `~` expanded, unless what is written there replaces what is read.

    Args:
      path: as the user gave it.
      inputs: the files and folders that the command reads.
      folder: whether files are written into it, and not it.

    Raises:
      InvalidInputError: if it is an input, or lies in one or in a run directory, or is no place for what is
        written.
    """
    from aljax.records import reader

    out = expanded(path)
    whole, *read = (
        Path(os.path.realpath(one)) for one in (out, *inputs)
    )  # resolve() raises at circles of links
    for place in (whole, *whole.parents):
        kind = "what is read" if place in read else "a run directory" if reader.is_run(place) else None
        if kind:
            raise InvalidInputError(
                f"--out={str(path)!r}: {'is' if place == whole else 'lies in'} {place}, {kind}; "
                "accepted: a place outside of it"
            )
    above = next((place for place in (out, *out.parents) if os.path.lexists(place)), out)
    if above.exists() and above.is_dir() != (folder or above != out):
        kind = "a folder" if above.is_dir() else "no folder"
        accepted = "a folder" if folder else "a file"
        raise InvalidInputError(f"--out={str(path)!r}: {above} is {kind}; accepted: {accepted}")
    target = whole if out.is_symlink() else out  # a link stays one
    if os.path.lexists(target) and not (target.is_dir() if folder else target.is_file()):
        raise InvalidInputError(f"--out={str(path)!r}: is no regular file; accepted: a file")
    return target


def distinct(paths: Sequence[Path]) -> list[Path]:
    """Returns run directories with `~` expanded; raises InvalidInputError if one is given twice."""
    runs = [expanded(path) for path in paths]
    real = [os.path.realpath(run) for run in runs]
    for at, place in enumerate(real):
        if place in real[:at]:
            raise InvalidInputError(f"{runs[at]}: is given twice; accepted: different run directories")
    return runs


def expanded(path: Path) -> Path:
    """Returns a path with a user's home in place of ~; as it is, where there is no such user."""
    return Path(os.path.expanduser(path))


def unusable(error: OSError) -> int:
    """Says which file, or standard output, cannot be used; returns the exit status."""
    _close_output()
    return say(f"{error.filename or 'standard output'}: cannot be used ({error.strerror or error})", 1)


def say(text: str, status: int) -> int:
    """Prints one line on standard error, if there is one; returns the exit status."""
    if sys.stderr is None:
        return status
    with contextlib.suppress(OSError):
        print("aljax:", " ".join(text.split()), file=sys.stderr)
    return status


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings for a command that prints damage itself; the process keeps its verbosity."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _close_output() -> None:
    """Leaves nothing for the interpreter to flush at its end, where standard output is closed or full."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
