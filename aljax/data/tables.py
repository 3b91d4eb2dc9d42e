"""Tables of files and labels as people hand them in: CSV that any spreadsheet wrote, or JSON lines.

A CSV file may be in UTF-8, UTF-16 (with its mark) or Windows-1252, its cells divided by commas, semicolons or
tabs, its lines by any ending; columns are known by their headings, in any order, and others are passed over.
"""

import csv
import io
import json
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from aljax import registry
from aljax.data.names import printable

DIVIDERS = ",;\t"
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Row(NamedTuple):
    """A row of a table; what it lacks is ""."""

    line: int  # of the file, from 1
    file: str  # as it was written; see `id_of`
    label: str
    split: str
    who: str


def read(path: Path) -> list[Row]:
    """Returns the rows of a file; raises ValueError, with the reason, if it cannot be read, or as `rows`."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ValueError("is not a regular file")
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror) from error
    return rows(content)


def rows(content: bytes) -> list[Row]:
    """Returns the rows of a table; blank ones are passed over.

    Raises:
      ValueError: if it is no table with the columns file and label, or a row has a label and no file, or
        more cells than there are headings, with the reason.
    """
    text = _decoded(content)
    found = list(_of_json(text) if text.lstrip().startswith("{") else _of_csv(text))
    for row in found:
        if row.label and not row.file.strip():
            raise ValueError(f"line {row.line}: names no file for its label {row.label!r}")
    return [row for row in found if row.file.strip()]


def id_of(file: str, ids: Container[str]) -> str | None:
    """Returns the image that a row's file names, however the path is written; None if there is none."""
    plain = printable(file.strip().replace("\\", "/")).removeprefix("./")
    return next((one for one in (file, plain) if one in ids), None)


def class_of(name: str, class_names: Sequence[str], others: Sequence[str] = ()) -> str:
    """Returns a label if it is one of the classes, or of the `others` that are accepted.

    Raises:
      ValueError: if it is not, with what may be meant.
    """
    accepted = (*class_names, *others)
    if name in accepted:
        return name
    folded = [one for one in accepted if one.casefold() == name.casefold()]
    meant = f"did you mean {folded[0]!r}?; " if folded else registry.meant(name, accepted)
    raise ValueError(f"label {name!r}: {meant}accepted: {', '.join(accepted)}")


def _decoded(content: bytes) -> str:
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _of_csv(text: str) -> Iterator[Row]:
    lines = io.StringIO(text, newline="")
    skipped = 0
    first = lines.readline()
    if first.lower().startswith("sep="):  # a hint that some spreadsheets write
        first, skipped = lines.readline(), 1
    divider = max(DIVIDERS, key=first.count)
    lines.seek(0)
    reader = csv.reader(lines, delimiter=divider, strict=True)  # a quote that is never closed is an error
    try:
        table = [(reader.line_num, cells) for cells in reader][skipped:]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    headings = [cell.strip().casefold() for cell in table[0][1]] if table else []
    if missing := [name for name in ("file", "label") if name not in headings]:
        raise ValueError(f"has no column {missing[0]!r}")
    if twice := [name for name in Row._fields if headings.count(name) > 1]:
        raise ValueError(f"has {headings.count(twice[0])} columns {twice[0]!r}")
    for line, cells in table[1:]:
        if any(cell.strip() for cell in cells[len(headings) :]):
            raise ValueError(f"line {line}: has {len(cells)} cells, and the headings are {len(headings)}")
        yield _row(line, dict(zip(reversed(headings), reversed(_filled(cells, len(headings))), strict=True)))


def _filled(cells: list[str], count: int) -> list[str]:
    return [*cells, *[""] * count][:count]


def _of_json(text: str) -> Iterator[Row]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
            if not isinstance(record, dict) or not {"file", "label"} <= record.keys():
                raise ValueError("is no object with file and label")
            for name in Row._fields[1:]:
                if type(value := record.get(name)) not in (str, int, type(None)):
                    raise ValueError(f"{name} is {value!r}, neither a text nor a whole number")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {line}: {error}") from error
        yield _row(line, record)


def _row(line: int, values: dict[str, object]) -> Row:
    """Returns a row of the table; a value that is missing or null is ""."""
    known = (values.get(name) for name in Row._fields[1:])
    file, *others = ("" if value is None else str(value) for value in known)
    return Row(line, file, *(printable(other.strip()) for other in others))
