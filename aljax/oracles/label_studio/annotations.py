"""Annotations of Label Studio as answers: from its exports JSON, JSON_MIN and CSV.

JSON_MIN and CSV leave out what was skipped; JSON has it.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from aljax import registry
from aljax.errors import InvalidInputError
from aljax.oracles.label_studio.tasks import DOUBT, LABEL, UNSURE
from aljax.records import files
from aljax.records.journal import Answer

DATA = ("file", "sha256", "cycle")  # of a task, that an answer needs


def new(found: Iterable[Answer], before: Iterable[Answer]) -> list[Answer]:
    """Returns the answers that are not in the journal yet, in the order in which they were given."""
    known = {(one.file, one.who, one.time) for one in before}
    fresh = {(one.file, one.who, one.time): one for one in found}
    return sorted((one for key, one in fresh.items() if key not in known), key=lambda one: one.time)


def read(path: Path, class_names: tuple[str, ...]) -> list[Answer]:
    """Reads an export.

    Raises:
      InvalidInputError: if it is none of the three, or an annotation in it has no class of the run.
    """
    content = files.read(path)
    try:
        text = content.decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text))) if path.suffix.lower() == ".csv" else json.loads(text)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("not a list of objects")
        plain = not any("annotations" in row for row in rows)
        return list((from_rows if plain else from_tasks)(rows, class_names))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidInputError(
            f"{path}: {reason}; accepted: an export of Label Studio (JSON, JSON_MIN or CSV) of aljax's tasks"
        ) from error


def from_tasks(
    tasks: Iterable[Mapping[str, Any]], class_names: tuple[str, ...], names: Mapping[int, str] | None = None
) -> Iterator[Answer]:
    """Yields the answers of tasks as the export JSON has them; `names` are those of users by id."""
    for task in tasks:
        for one in task["annotations"]:
            chosen = {
                result["from_name"]: result["value"]["choices"][0]
                for result in one["result"]
                if result.get("value", {}).get("choices")
            }
            by = one.get("completed_by")
            who = by.get("email", "") if isinstance(by, dict) else (names or {}).get(by, _annotator(by))
            kind = "skip" if one.get("was_cancelled") else ""
            yield from _answer(task["data"], chosen, kind, who, one, class_names)


def from_rows(rows: Iterable[Mapping[str, Any]], class_names: tuple[str, ...]) -> Iterator[Answer]:
    """Yields the answers of rows as JSON_MIN and CSV have them: a row is an annotation."""
    for row in rows:
        if row.get("annotation_id") not in (None, ""):
            yield from _answer(row, row, "", _annotator(row.get("annotator")), row, class_names)


def _annotator(number: Any) -> str:
    return f"annotator {number}" if number not in (None, "") else ""


def _answer(
    data: Mapping[str, Any],
    chosen: Mapping[str, Any],
    kind: str,
    who: str,
    annotation: Mapping[str, Any],
    class_names: tuple[str, ...],
) -> Iterator[Answer]:
    """Yields the answer of an annotation; none, with a line in the log, if nothing was chosen."""
    file, sha256, cycle = (data[name] for name in DATA)
    label = ""
    if not kind and chosen.get(LABEL):
        kind, label = "label", chosen[LABEL]
    elif not kind and chosen.get(DOUBT) == UNSURE:
        kind = "unsure"
    if not kind:
        logging.warning("%s: an annotation without a class is no answer", file)
        return
    if label and label not in class_names:
        raise ValueError(
            f"{file}: label {label!r}: {registry.meant(label, class_names)}not a class of the run"
        )
    seconds = round(float(annotation.get("lead_time") or 0.0), 3)
    time = str(annotation.get("updated_at") or annotation["created_at"])
    yield Answer(str(file), str(sha256), kind, label, int(cycle), who, seconds, time)
