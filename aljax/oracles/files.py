"""Questions in a file that people fill in, with any spreadsheet or editor: asked/cycle-02.csv.

A row per question: file, rank, score, guess, probability, and an empty label, to be filled in with a class,
`skip` (never to be asked again) or `unsure`. The command ends when the file is written, and goes on once
labels are there; questions without a label stay in the pool. A cell that is changed later is another answer,
in any of the files. What was read of each file is kept beside it, so that a cell counts once.
"""

import contextlib
import json
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from absl import logging

from aljax.data import tables
from aljax.data.tables import Row
from aljax.errors import InvalidInputError
from aljax.oracles.base import Batch, Progress, Question, Session, Setting, Waiting
from aljax.records import chosen, files, inventory, journal, selections
from aljax.records.journal import Answer

FOLDER = "asked"
REVIEW = "review.csv"
READ = "read.json"  # by file of questions and image: the label that was read
HEADER = ("file", "rank", "score", "guess", "probability", "label")
OTHERS = ("skip", "unsure")  # that a cell may hold in place of a class


@contextlib.contextmanager
def oracle(setting: Setting) -> Iterator[Session]:
    """Asks by files; `take_all` reads them, at each start of the command."""

    def ask(batch: Batch) -> None:
        path = path_of(setting.workdir, batch.cycle)
        if not path.exists():
            files.write(path, content(batch))
        asked = [question.sha256 for question in batch.questions]
        given = [one for one in journal.read(setting.workdir) if one.cycle == batch.cycle]
        known = {one.sha256 for one in journal.standing(given).values()}
        answered = [image for image in asked if image in known]
        if asked and not answered:
            raise Waiting(
                f"{path}: fill in the column label of its {len(asked)} rows with "
                f"{', '.join(setting.class_names)}, skip or unsure; then the same command goes on"
            )
        if len(answered) < len(asked):
            logging.info("%s: %d of %d rows have a label", path, len(answered), len(asked))

    def report(progress: Progress) -> None:
        pass

    yield Session(ask, report)


def take_all(workdir: Path, class_names: Sequence[str]) -> None:
    """Appends to the journal what was changed in the files of questions, and in that of a review.

    Raises:
      InvalidInputError: as `take`, once all files were read.
    """
    problems = []
    for path in sorted((workdir / FOLDER).glob("*.csv")):
        if path.name == REVIEW or re.fullmatch(r"cycle-\d+\.csv", path.name):
            try:
                take(workdir, class_names, path)
            except InvalidInputError as error:
                problems.append(error)
    if problems:
        raise problems[0]


def path_of(workdir: Path, cycle: int) -> Path:
    """Returns where the questions of a cycle stand."""
    return workdir / FOLDER / f"cycle-{cycle:02d}.csv"


def content(batch: Batch) -> bytes:
    """Returns the file of a batch, with no label filled in."""
    rows = [(*_shown(question), "") for question in batch.questions]
    return chosen.table(HEADER, rows)


def _shown(question: Question) -> tuple[object, ...]:
    guessed = f"{question.probability:.4f}" if question.guess else ""
    return question.file, question.rank, f"{question.score:.6g}", question.guess, guessed


def take(workdir: Path, class_names: Sequence[str], path: Path) -> None:
    """Appends what has changed in a file of questions to the journal.

    Raises:
      InvalidInputError: if it is no table, or for the first of its lines that are wrong, after the others
        were appended.
    """
    cycle, hashes = questions_of(workdir, path)
    before = read_before(workdir)
    seen = before.get(path.name, {})
    rows = rows_of(path)
    if path.name == REVIEW:  # of an image that is gone nothing is asked, as long as its label stays
        rows = [row for row in rows if row.file in hashes or [row.label] != seen.get(row.file)]
    filled, wrong = filled_in(rows, hashes, class_names)
    now = journal.now()

    def answer(file: str, label: str, who: str) -> Answer:
        kind = label if label in OTHERS else "label" if label else "undo"
        return Answer(file, hashes[file], kind, label if kind == "label" else "", cycle, who, 0.0, now)

    new = []
    for file, rows in filled.items():
        labels = [row.label for row in rows]
        if labels != seen.get(file, []):
            new += [answer(file, row.label, row.who) for row in rows] or [answer(file, "", "")]
            seen[file] = labels
    if new:
        journal.append(workdir, *new)
        _remember(workdir, {**before, path.name: seen})
        logging.info("%s: %d new answers", path, len(new))
    if wrong:
        for line in wrong[1:]:
            logging.error("%s:%s", path, line)
        more = f" (and {len(wrong) - 1} more lines, named above)" if len(wrong) > 1 else ""
        raise InvalidInputError(f"{path}:{wrong[0]}{more}; the other lines were read")


def questions_of(workdir: Path, path: Path) -> tuple[int, dict[str, str]]:
    """Returns the cycle of a file of questions, and the SHA-256 of each image that it may name.

    A review may be of any image, and counts to the last cycle.
    """
    if path.name == REVIEW:
        asked = sorted((workdir / FOLDER).glob("cycle-*.csv")) or [path_of(workdir, 1)]
        return _cycle(asked[-1]), {image.file: image.sha256 for image in inventory.read(workdir)}
    selected = selections.load(selections.path_of(workdir, 0, _cycle(path)))
    return _cycle(path), selections.asked(selected) if selected else {}


def _cycle(path: Path) -> int:
    return int(path.stem.removeprefix("cycle-"))


def write_review(workdir: Path, doubted: Sequence[Question]) -> Path:
    """Writes answers to be looked at again, each in the cell where it can be corrected; returns the path."""
    path = workdir / FOLDER / REVIEW
    files.write(path, chosen.table(HEADER, [(*_shown(one), one.answer) for one in doubted]))
    _remember(workdir, {**read_before(workdir), REVIEW: {one.file: [one.answer] for one in doubted}})
    return path


def _remember(workdir: Path, read: dict[str, dict[str, list[str]]]) -> None:
    files.write(workdir / FOLDER / READ, json.dumps(read, indent=1, ensure_ascii=False).encode())


def filled_in(
    rows: Iterable[Row], files: Container[str], class_names: Sequence[str]
) -> tuple[dict[str, list[Row]], list[str]]:
    """Returns the rows of each file that have a label (it may have none), and what is wrong with others.

    Args:
      rows: of a table.
      files: those that were asked about.
      class_names: the classes.
    """
    filled: dict[str, list[Row]] = {}
    wrong = []
    for row in rows:
        try:
            if (file := tables.id_of(row.file, files)) is None:
                raise ValueError(f"file {row.file!r}: is not one of the images that were asked")
            if row.label:
                tables.class_of(row.label, class_names, OTHERS)
                for other in filled.get(file, []):
                    if other.who == row.who and other.label != row.label:
                        raise ValueError(
                            f"file {row.file!r}: has the label {row.label!r}, and {other.label!r} in line "
                            f"{other.line}"
                        )
            filled.setdefault(file, []).extend([row] if row.label else [])
        except ValueError as error:
            wrong.append(f"{row.line}: {error}")
    return filled, wrong


def rows_of(path: Path) -> list[Row]:
    """Returns the rows of a file; raises InvalidInputError if it is no table with the columns that it had."""
    try:
        return tables.rows(files.read(path))
    except ValueError as error:
        accepted = "a table with the columns file and label"
        raise InvalidInputError(f"{path}: {error}; accepted: {accepted}") from error


def read_before(workdir: Path) -> dict[str, dict[str, list[str]]]:
    """Returns the labels that were read before, by file of questions and image."""
    path = workdir / FOLDER / READ
    try:
        before = json.loads(files.read(path)) if path.exists() else {}
        if not isinstance(before, dict) or not all(isinstance(seen, dict) for seen in before.values()):
            raise ValueError("holds no labels by file and image")
        return before
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: damaged ({error}); accepted: the file that aljax wrote") from error
