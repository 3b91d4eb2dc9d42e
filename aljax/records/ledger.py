"""Enters what the cycles of a run wrote, and brings it to the disk: of quick cycles, many at a time."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from aljax.records import files, manifest

SECONDS = 1.0  # of work that a power cut may cost; a cycle that takes longer is settled by itself


@contextlib.contextmanager
def kept(workdir: Path) -> Iterator["Ledger"]:
    """Keeps the ledger of a run; at the end, or where the run stops, everything is entered.

    Raises:
      InvalidInputError, RunError: as `Ledger.enter`.
    """
    with files.together():
        ledger = Ledger(workdir)
        try:
            yield ledger
        finally:
            ledger.settle()


class Ledger:
    """Holds what the cycles of a run wrote and the manifest does not list yet; made by `kept`."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._names: list[str] = []
        self._settled = -SECONDS

    def enter(self, names: Iterable[str] = ()) -> None:
        """Enters files that were written, once `SECONDS` have passed since that was last done.

        Raises:
          InvalidInputError, RunError: as `manifest.enter` and `files.settle`.
        """
        self._names += names
        if time.monotonic() - self._settled >= SECONDS:
            self.settle()

    def settle(self) -> None:
        """Enters all of them now; raises as `enter`."""
        files.settle()
        if self._names:
            manifest.enter(self._workdir, self._names)
            self._names = []
        self._settled = time.monotonic()
