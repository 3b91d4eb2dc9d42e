"""The images that people label: what is known of each, by its file's name and content, never by its place.

Shapes: N images, in the order of this start of the command; the next one may find others.
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aljax.data import Dataset, Split
from aljax.records import chosen, files, journal
from aljax.records.journal import Answer

INVENTORY = "images.csv"  # the images of the last start: file,sha256
CHANGES = "changes.jsonl"  # what was found changed at each start: a line per image, class or field


class Known(NamedTuple):
    """What is known of the N images."""

    labels: np.ndarray  # [N] int32; -1: unknown
    skipped: np.ndarray  # images that are not to be asked about again, [N] bool
    judges: np.ndarray  # images that judge the models where they are labeled, [N] bool

    @property
    def labeled(self) -> np.ndarray:
        """Marks the images whose label is known, [N] bool."""
        return self.labels >= 0

    @property
    def trained(self) -> np.ndarray:
        """Returns the rows of the labeled images that models are trained on, [n] int32."""
        return np.flatnonzero(self.labeled & ~self.judges).astype(np.int32)

    @property
    def tested(self) -> np.ndarray:
        """Returns the rows of the labeled images that judge the models, [n] int32."""
        return np.flatnonzero(self.labeled & self.judges).astype(np.int32)


def known(images: Split, class_names: Sequence[str], answers: Iterable[Answer], judges: np.ndarray) -> Known:
    """Returns what the answers in a journal say of the images.

    Args:
      images: the train split, with its files.
      class_names: K names; a label that is none of them is passed over.
      answers: in the order in which they were given.
      judges: as `judging` returns them; an image that came with a label is none of them.
    """
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = np.full(len(images.ids), -1, np.int32)
    skipped = np.zeros(len(images.ids), bool)
    for row, answer in standing(images, answers).items():
        labels[row] = numbers.get(answer.label, -1) if answer.answer == "label" else -1
        skipped[row] = answer.answer == "skip"
    return Known(labels, skipped, judges & (images.labels < 0))


def standing(images: Split, answers: Iterable[Answer]) -> dict[int, Answer]:
    """Returns the answer that counts for each image, by its row.

    An answer belongs to the image of its file name and content; where no file has that name any more, to
    the images of that content: they were renamed.
    """
    rows = {
        (id, file.sha256): row for row, (id, file) in enumerate(zip(images.ids, images.files, strict=True))
    }
    there = set(images.ids)
    by_name, by_content = [], []
    for answer in answers:
        if (answer.file, answer.sha256) in rows:
            by_name.append(answer)
        elif answer.file not in there:
            by_content.append(answer._replace(file=answer.sha256))
    of_content = journal.standing(by_content)
    found = {row: of_content[sha256] for (_, sha256), row in rows.items() if sha256 in of_content}
    of_name = journal.standing(by_name)
    return found | {row: of_name[id] for (id, _), row in rows.items() if id in of_name}


def judging(images: Split, seed: int, fraction: float) -> np.ndarray:
    """Draws the images that judge the models: a share of the contents, each by itself and for good.

    An image is drawn by a digest of its content, so that the choice does not depend on what else lies in
    the folder, on names, or on what a strategy asks for; copies of an image are drawn together.

    Args:
      images: with their files.
      seed: the run's.
      fraction: in [0, 1).

    Returns:
      A mark for each image, [N] bool.
    """
    digests = (hashlib.sha256(f"{seed} {file.sha256}".encode()).digest() for file in images.files)
    return np.array([int.from_bytes(digest[:8], "big") < fraction * 2**64 for digest in digests], bool)


def imported(dataset: Dataset, answers: Sequence[Answer], time: str) -> list[Answer]:
    """Returns the answers to append so that a journal holds the labels that the images came with.

    They have cycle 0. A label that is as it was at the last start is not entered again, so that what a
    person has answered since then counts; one that is no longer there is taken back, if it counted.
    """
    stands = standing(dataset.train, answers)
    last = {(one.file, one.sha256): one for one in answers if one.cycle == 0}
    new = []
    images = zip(dataset.train.ids, dataset.train.files, dataset.train.labels, strict=True)
    for row, (id, file, label) in enumerate(images):
        before = last.get((id, file.sha256))
        name = dataset.class_names[label] if label >= 0 else ""
        if name == (before.label if before else ""):
            continue
        if name or stands.get(row) == before:
            new.append(Answer(id, file.sha256, "label" if name else "undo", name, 0, "", 0.0, time))
    return new


def identity(run: str, images: Split, class_names: Sequence[str], known: Known) -> str:
    """Returns a digest of a training: of the run, the classes, and the images with their labels."""
    total = hashlib.sha256(repr((run, tuple(class_names))).encode())
    for row in known.trained:
        total.update(f"{images.files[row].sha256} {known.labels[row]}\n".encode())
    return total.hexdigest()


def of_fields(
    before: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]
) -> list[dict[str, str]]:
    """Returns the fields of a config, by dotted names, that have other values than before."""
    return [
        {"what": "config", "name": f"{name}={now[name]}", "before": str(before[name])}
        for name in names
        if name in before and before[name] != now[name]
    ]


def update_inventory(workdir: Path, images: Split) -> list[dict[str, str]]:
    """Writes the names and contents of the images; returns what has changed since the last start."""
    path = workdir / INVENTORY
    now = {id: file.sha256 for id, file in zip(images.ids, images.files, strict=True)}
    before: dict[str, str] = {}
    if path.exists():
        table = csv.DictReader(io.StringIO(files.read(path).decode(), newline=""))
        before = {row["file"]: row["sha256"] for row in table}
    found = changes(before, now) if before else []
    if now != before:
        files.write(path, chosen.table(["file", "sha256"], list(now.items())))
    return found


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[dict[str, str]]:
    """Returns the images that were added, removed, renamed or replaced, each with its `name`.

    Args:
      before, now: the SHA-256 of each image by its file's name.
    """
    gone = {before[name]: name for name in before.keys() - now.keys()}
    found = []
    for name, sha256 in now.items():
        if name not in before and sha256 in gone:
            found.append({"what": "renamed", "name": name, "before": gone.pop(sha256)})
        elif name not in before:
            found.append({"what": "added", "name": name, "before": ""})
        elif before[name] != sha256:
            found.append({"what": "replaced", "name": name, "before": before[name]})
    return found + [{"what": "removed", "name": "", "before": name} for name in sorted(gone.values())]


def summary(found: Iterable[Mapping[str, str]]) -> str:
    """Returns changes in words, as "3 added, 1 renamed"."""
    return ", ".join(f"{count:,} {what}" for what, count in Counter(one["what"] for one in found).items())
