"""Where the run and the pages meet: the run puts questions down and waits, pages take them up and answer."""

import math
import threading
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from absl import logging

from aljax.errors import RunError
from aljax.oracles.base import Batch, Progress, Question, Setting
from aljax.oracles.page import state as states
from aljax.oracles.page.state import State, Wish
from aljax.records import journal
from aljax.records.journal import Answer

HELD = 60.0  # seconds that a question is kept for a person whose page has gone quiet
PARTING = 3.0  # seconds that a page has to see that the run is finished
LONGEST_NAME = 100
LONGEST = 86_400.0  # seconds that an answer may take


class RefusedError(Exception):
    """Reports an answer that was not taken, in one line."""


class Hold(NamedTuple):
    """A question that is before a person."""

    file: str
    since: float  # when it came, on the clock of time.monotonic
    seen: float  # when the page was last heard of


class Desk:
    """The shared state, behind one lock; every answer is in the journal before it counts."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self._changed = threading.Condition()
        start = Progress("training", 0, 0, None, None)
        self._state = State(Batch(0, ()), (), start, 0)
        self._holds: dict[str, Hold] = {}  # by person
        self._seen = (-math.inf, -1)  # when a page last looked, and at which version

    def ask(self, batch: Batch) -> None:
        """Puts a batch before the pages; returns once every question has an answer that stands."""
        files = {question.file for question in batch.questions}
        given = tuple(one for one in journal.read(self.setting.workdir) if one.file in files)
        with self._changed:
            progress = self._state.progress._replace(phase="asking", cycle=batch.cycle)
            self._change(batch=batch, answers=given, progress=progress)
            while states.unanswered(self._state):
                self._changed.wait()

    def report(self, progress: Progress) -> None:
        """Shows on the pages how far the run is."""
        with self._changed:
            self._change(progress=progress)

    def part(self) -> None:
        """Leaves an open page the time to see that the run is finished, if it is."""
        with self._changed:
            looked, _ = self._seen
            if states.phase(self._state) == "finished" and time.monotonic() - looked < PARTING:
                self._changed.wait_for(lambda: self._seen[1] == self._state.version, PARTING)

    def look(self, wish: Wish) -> dict[str, Any]:
        """Returns what a page shows now."""
        with self._changed:
            self._seen = (time.monotonic(), self._state.version)
            self._changed.notify_all()
            return {**self._view(wish), "classes": self.setting.class_names}

    def question(self, file: str) -> Question | None:
        """Returns the question about a file of the batch; None if it is of no such."""
        return next((one for one in self._state.batch.questions if one.file == file), None)

    def answer(self, entries: list[Any]) -> None:
        """Takes answers, all or none; they are on the disk when this returns.

        Args:
          entries: as the contract has them: {"file", "answer", "label"}, optional "who" and "seconds".

        Raises:
          RefusedError: if one of them is no answer to a question of this batch.
          RunError: if they cannot be written.
        """
        with self._changed:
            now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            given = [self._parsed(entry, now) for entry in entries]
            try:
                journal.append(self.setting.workdir, *given)
            except RunError as error:
                logging.error("%s; the answer is not taken", error)
                raise
            for one in given:
                if one.answer == "undo":  # what comes back is shown first
                    self._holds.pop(one.who, None)
            self._change(answers=(*self._state.answers, *given))

    def _parsed(self, entry: Any, now: str) -> Answer:
        if not isinstance(entry, dict):
            raise RefusedError(f"{entry!r}: accepted: an object with file, answer and label")
        file, kind, label = entry.get("file"), entry.get("answer"), entry.get("label") or ""
        question = self.question(file) if isinstance(file, str) else None
        if question is None:
            raise RefusedError(f"file={file!r}: accepted: a file of cycle {self._state.batch.cycle}'s batch")
        if kind not in journal.ANSWERS:
            raise RefusedError(f"answer={kind!r}: accepted: {', '.join(journal.ANSWERS)}")
        accepted = self.setting.class_names if kind == "label" else ("",)
        if label not in accepted:
            raise RefusedError(f"label={label!r}: accepted: {', '.join(accepted) or 'none'}")
        if kind == "undo" and file not in states.answered(self._state):
            raise RefusedError(f"{file}: there is no answer to take back")
        who = entry.get("who") or ""
        if not (isinstance(who, str) and len(who) <= LONGEST_NAME and who.isprintable()):
            raise RefusedError(f"who={who!r}: accepted: a name of at most {LONGEST_NAME} letters")
        seconds = entry.get("seconds")
        if seconds is None:
            hold = self._holds.get(who)
            seconds = time.monotonic() - hold.since if hold and hold.file == file else 0.0
        if type(seconds) not in (int, float) or not 0 <= seconds <= LONGEST:
            raise RefusedError(f"seconds={seconds!r}: accepted: 0 to {LONGEST:.0f}")
        cycle = self._state.batch.cycle
        return Answer(question.file, question.sha256, kind, label, cycle, who, round(seconds, 3), now)

    def _view(self, wish: Wish) -> dict[str, Any]:
        """Holds the current question for this person, so that people with names label different images."""
        now = time.monotonic()
        mine = self._holds.pop(wish.who, None)
        self._holds = {who: hold for who, hold in self._holds.items() if now - hold.seen < HELD}
        held = {hold.file for who, hold in self._holds.items() if who}
        waiting = [question.file for question in states.unanswered(self._state)]
        free = [file for file in waiting if file not in held] or waiting
        if not free:
            return states.view(self._state, wish, None, ())
        kept = mine is not None and mine.file in waiting
        current = mine.file if mine and kept else free[0]
        self._holds[wish.who] = Hold(current, mine.since if mine and kept else now, now)
        following = [file for file in free if file != current]
        return states.view(self._state, wish, current, tuple(following[: states.AHEAD]))

    def _change(self, **changes: Any) -> None:
        self._state = self._state._replace(**changes, version=self._state.version + 1)
        self._changed.notify_all()
