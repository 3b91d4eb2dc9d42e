"""The journal of a run that people label: labels.jsonl, a line for each answer, never changed.

The last line of a file counts; "undo" takes back the answer that stands. A line is on the disk when
`append` returns.
"""

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from aljax.errors import InvalidInputError
from aljax.records import files

NAME = "labels.jsonl"
CHECKSUM = "line_sha256"  # "sha256" is the image's
ANSWERS = ("label", "skip", "unsure", "undo")


class Answer(NamedTuple):
    """A person's answer to the question of what an image shows."""

    file: str  # the image's id
    sha256: str  # of the image file's bytes, in hexadecimal digits
    answer: str  # one of ANSWERS
    label: str  # the class's name; "" unless the answer is "label"
    cycle: int  # in which it was asked, from 1; 0: it was not asked, as of labels that were there before
    who: str  # a name that the person chose; may be ""
    seconds: float  # from seeing the image to the answer
    time: str  # ISO 8601, in UTC


def now() -> str:
    """Returns the time of an answer that is given now."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def append(workdir: Path, *answers: Answer) -> None:
    """Appends answers to the journal, which is made if it is new; all are on the disk when this returns.

    Raises:
      RunError: if they could not be written; the journal then holds what it held before.
    """
    path = workdir / NAME
    if not path.exists():
        files.write(path, b"")
    files.append(path, *(answer._asdict() for answer in answers), checksum=CHECKSUM)


def read(workdir: Path) -> list[Answer]:
    """Returns all answers in the order in which they were given; none if there is no journal.

    Raises:
      InvalidInputError: if the journal cannot be read, or a line is not as it was written.
    """
    path = workdir / NAME
    records, _ = files.read_lines(path, CHECKSUM)
    try:
        return [Answer(**record) for record in records]
    except TypeError as error:
        raise InvalidInputError(
            f"{path}: damaged ({error}); accepted: lines of {', '.join(Answer._fields)}"
        ) from error


def standing(answers: Iterable[Answer]) -> dict[str, Answer]:
    """Returns the answer that counts for each file: its last one, unless that was taken back.

    An "undo" takes back the file's last answer that stands, so that the one before it counts again.
    """
    given: dict[str, list[Answer]] = {}
    for one in answers:
        of_file = given.setdefault(one.file, [])
        if one.answer != "undo":
            of_file.append(one)
        elif of_file:
            of_file.pop()
    return {file: of_file[-1] for file, of_file in given.items() if of_file}
