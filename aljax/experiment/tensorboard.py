"""TensorBoard files, written without TensorFlow.

tensorboardX's own SummaryWriter writes from a thread that dies, and leaves its caller waiting,
when the disk is full; here its parts are used without that thread. It is imported when the first
file is begun, as it imports PyTorch where that is installed.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aljax.errors import RunError

SECONDS = 10  # between two flushes while a training goes on


class Curves:
    """The curves of one trial, in a file of their own for each time that the run is started."""

    def __init__(self, folder: Path, step: int):
        """Begins at `step`; TensorBoard does not show what an earlier file holds from there on."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder = folder
        with self._reported():
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(folder / "events"))
            self._flushed = time.monotonic()
            self._write(step=step, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each of some curves; raises RunError where it cannot be written."""
        from tensorboardX.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        with self._reported():
            self._write(step=step, summary=Summary(value=points))
        if time.monotonic() - self._flushed > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes out what was added; raises RunError where that is not possible."""
        with self._reported():
            self._writer.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Writes out what can be written."""
        with contextlib.suppress(OSError):
            self._writer.close()

    def _write(self, **event: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), **event))

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"{self._folder}: could not be written ({error.strerror})") from error
