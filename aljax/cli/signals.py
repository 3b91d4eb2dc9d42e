"""Signals that end a command: in one line, at any moment, and without a traceback."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 1.0  # seconds: a signal that follows sooner is the same, as a closing terminal sends two
TEXT = "stopped; nothing is lost, and the same command can be given again"
CURSOR = b"\x1b[?25h"  # shows it, where a progress bar hid it


@contextlib.contextmanager
def handled(clean: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Ends the process at a signal, with a line on standard error and status 128 + its number.

    What it does may take the first signal itself, as a run does that saves a checkpoint; a second one ends
    it whatever it is at, a call that does not return to Python included. Files are written so that a process
    may end at any moment; signals that are ignored stay so.

    Args:
      clean: called before the process ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None = None) -> None:
        clean()
        with contextlib.suppress(OSError):  # not through sys.stderr, which may be in use at this moment
            stream = _standard_error()
            os.write(stream, (CURSOR if os.isatty(stream) else b"") + f"aljax: {TEXT}\n".encode())
        os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in NUMBERS}
    taken = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    threading.Thread(target=_watch, args=(readable, end), daemon=True).start()
    woken = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(writable)


def _standard_error() -> int:
    """Returns the descriptor of standard error, which a process that follows another one has moved."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return 2


def _watch(readable: int, end: Callable[[int], None]) -> None:
    """Ends the process at the second of the signals whose numbers come from a pipe."""
    first = None
    with os.fdopen(readable, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            now = time.monotonic()
            if number[0] not in NUMBERS:
                continue
            if first is not None and now - first > PATIENCE:
                end(number[0])
            first = first or now
