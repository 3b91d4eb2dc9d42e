"""Shows a run while it goes on: progress bar or log lines, TensorBoard, a tracker; notes signals to stop."""

import contextlib
import functools
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import logging
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from aljax.errors import NonFiniteError
from aljax.experiment import trackers
from aljax.experiment.tensorboard import Curves
from aljax.experiment.trackers import Tracker
from aljax.records.files import Record
from aljax.records.places import shortened
from aljax.runtime import processes
from aljax.training.step import EpochMetrics

TRAIN_CURVES = ("cross_entropy", "ranking_loss", "accuracy")  # a point per epoch
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that ask a run to stop
CYCLE_CURVES = ("C", "overlap", "accuracy", "test_loss")  # a point per cycle


class Monitor:
    """Follows a run; made by `monitoring`."""

    def __init__(
        self,
        steps_of: Callable[[int], int],
        plan: Sequence[tuple[int, int]],
        workdir: Path,
        bar: Progress,
        track: Callable[[int], Tracker],
    ):
        self.stop_requested = 0  # the number of the signal that asked for it
        self.listener: Callable[[float], None] = lambda share: None  # hears the share of a training
        self._steps_of = functools.cache(steps_of)
        self._plan = plan
        self._workdir = workdir
        self._bar = bar
        self._cycles = bar.add_task("all cycles", total=self._total())
        self._epochs_bar = bar.add_task("compiling", total=None)
        self._done = 0
        self._started: tuple[float, int] | None = None
        self._curves: dict[int, Curves] = {}
        self._track = track
        self._trackers: dict[int, Tracker] = {}
        self._epochs: dict[int, dict[int, int]] = {}  # of each trial, of its complete cycles

    def skip(self, lines: Sequence[Record]) -> None:
        """Counts cycles as done that were recorded before."""
        for line in lines:
            self._count(line)

    def epoch_done(
        self, trial: int, cycle: int, epoch: int, epochs: int, metrics: EpochMetrics, part: str = ""
    ) -> None:
        """Shows an epoch (from 1) of `epochs`; raises NonFiniteError if its loss or weights are not finite.

        A `part` is a training beside the cycle's main one, and has no curves.
        """
        if bad_step := int(metrics.bad_step):
            raise NonFiniteError(
                f"trial {trial}{part}, cycle {cycle}, epoch {epoch}, step {bad_step}: "
                "the loss or a weight is not finite (as where config.train.learning_rate is too large)"
            )
        self.listener(epoch / epochs)
        self._bar.update(
            self._epochs_bar, completed=epoch, total=epochs, description=f"epoch {epoch} of {epochs}"
        )
        self._bar.update(
            self._cycles,
            completed=self._done + self._steps_of(cycle) * epoch / epochs,
            description=f"trial {trial}, cycle {cycle}; all cycles",
        )
        if part or not processes.is_first():
            return
        step = self._epochs_before(trial, cycle) + epoch
        values = {f"train/{name}": float(getattr(metrics, name)) for name in TRAIN_CURVES}
        self._curves_of(trial, step).add(step, values)

    def cycle_done(self, line: Record) -> None:
        """Shows a complete cycle by its record."""
        self._count(line)
        if not processes.is_first():
            return
        step = self._epochs_before(line["trial"], line["cycle"] + 1)
        curves = self._curves_of(line["trial"], step)
        curves.add(step, {f"cycle/{name}": line[name] for name in CYCLE_CURVES if line[name] is not None})
        curves.flush()
        self._tracker_of(line["trial"]).add(line["cycle"], trackers.numbers(line))
        accuracy = "unknown" if line["accuracy"] is None else f"{100 * line['accuracy']:.1f} %"
        text = (
            f"trial {line['trial']}, cycle {line['cycle']}: {line['labeled']} labeled, "
            f"accuracy {accuracy}, overlap {line['overlap']} "
            f"(by chance {line['chance']:g}), C "
            + ("undefined" if line["C"] is None else f"{line['C']:+.3f}")
            + (f"; stopped ({line['stopped']})" if line.get("stopped") else "")
        )
        if self._bar.disable:
            logging.info("%s%s", text, self._time_left())
        else:
            self._bar.console.print(text, highlight=False)

    def _count(self, line: Record) -> None:
        self._done += self._steps_of(line["cycle"])
        self._epochs.setdefault(line["trial"], {})[line["cycle"]] = line.get("epochs") or 0
        if line.get("stopped"):
            self._plan = shortened(self._plan, [line])
        self._bar.update(self._cycles, completed=self._done, total=self._total())

    def close(self) -> None:
        """Writes out what TensorBoard files still lack, and ends what a tracker follows."""
        for curves in self._curves.values():
            curves.close()
        for tracker in self._trackers.values():
            tracker.close()

    def _total(self) -> int:
        return sum(self._steps_of(cycle) for _, cycle in self._plan)

    def _epochs_before(self, trial: int, cycle: int) -> int:
        """Counts a trial's epochs in the cycles before `cycle`: the place of its points in the curves."""
        return sum(epochs for number, epochs in self._epochs.get(trial, {}).items() if number < cycle)

    def _curves_of(self, trial: int, step: int) -> Curves:
        if trial not in self._curves:
            self._curves[trial] = Curves(self._workdir / "tensorboard" / f"trial-{trial:02d}", step)
        return self._curves[trial]

    def _tracker_of(self, trial: int) -> Tracker:
        if trial not in self._trackers:
            for before in self._trackers.values():
                before.close()
            self._trackers = {trial: self._track(trial)}
        return self._trackers[trial]

    def _time_left(self) -> str:
        now = time.monotonic()
        if self._started is None:  # the first cycle also compiled
            self._started = now, self._done
            return ""
        since, done = self._started
        left = (now - since) / (self._done - done) * (self._total() - self._done)
        return f"; about {left / 60:.0f} min left" if left >= 90 else f"; about {left:.0f} s left"


@contextlib.contextmanager
def monitoring(
    steps_of: Callable[[int], int],
    plan: Sequence[tuple[int, int]],
    lines: Sequence[Record],
    workdir: Path,
    track: Callable[[int], Tracker] = trackers.untracked,
) -> Iterator[Monitor]:
    """Follows the run of a plan, some lines of which are recorded already.

    Args:
      steps_of: counts the steps of a cycle's training, a measure of its time, by the cycle's number.
      plan: every (trial, cycle).
      lines: the records so far.
      workdir: the run directory, for TensorBoard files.
      track: begins to track a trial, when its first cycle is complete.
    """
    console = Console(stderr=True)
    hidden = not (console.is_terminal and processes.is_first())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
        monitor = Monitor(steps_of, plan, workdir, bar, track)
        monitor.skip(lines)
        with _signals_noted(monitor):
            try:
                yield monitor
            finally:
                monitor.close()


@contextlib.contextmanager
def _signals_noted(monitor: Monitor) -> Iterator[None]:
    """Notes the first of `SIGNALS` for the run to act on; a second one acts as it would without the run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}

    def note(number, frame):
        monitor.stop_requested = number
        if number == signal.SIGHUP:
            _leave_terminal()
        restore()

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()


def _leave_terminal() -> None:
    """Writes nothing more to a terminal that was closed, where each write would fail."""
    sink = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(sink, stream)
    os.close(sink)
