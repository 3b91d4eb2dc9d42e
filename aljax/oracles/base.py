"""The interface of an oracle: who answers the questions of a cycle.

An oracle is a function of a `Setting` that returns a context manager; what that yields is a `Session`,
alive for as long as the run works, training included. Whoever answers, the answers are in the journal
(records/journal.py) before they count.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple


class Question(NamedTuple):
    """An image whose class is asked for."""

    file: str  # its id: the path below the folder of images
    path: Path  # where the image lies
    sha256: str  # of the file's bytes
    rank: int  # from 1, in the order in which the strategy chose
    score: float  # the strategy's, higher is asked first; 0 without scores
    guess: str  # the class that the model thinks likeliest; "" without a model
    probability: float  # that the model gives its guess; 0 without a model
    reason: str  # the strategy that chose it; "random" of the share drawn to judge the model
    answer: str = ""  # the class that it has, where it is asked about again


class Batch(NamedTuple):
    """The questions of a cycle."""

    cycle: int  # from 1
    questions: tuple[Question, ...]  # in the order in which they are to be asked


class Setting(NamedTuple):
    """Describes a run to its oracle."""

    workdir: Path
    images: Path  # the folder of images; nothing outside of it is shown
    class_names: tuple[str, ...]
    port: int  # of the page; 0: any that is free
    strategy: str  # that asks


class Progress(NamedTuple):
    """Describes a run's progress, for those who wait."""

    phase: str  # "asking", "training" or "finished"
    cycle: int
    labeled: int  # images with a label that counts
    accuracy: float | None  # of the last model on the images drawn at random; None without any
    interval: tuple[float, float] | None  # of 95 %
    share: float = 0.0  # of the training that is done


class Session(NamedTuple):
    """A conversation with an oracle."""

    ask: Callable[[Batch], None]  # returns once the answers that are to come are there, or raises Waiting
    report: Callable[[Progress], None]  # returns at once


Oracle = Callable[[Setting], AbstractContextManager[Session]]


class Waiting(Exception):
    """Reports that answers come later: one line that says what to do; the command ends with status 0."""
