"""The images of a run that people label: images.csv, as of the last start, and what has changed since.

An answer belongs to an image by its file's name and content.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from aljax.errors import InvalidInputError
from aljax.records import chosen, files, journal, manifest
from aljax.records.journal import Answer

NAME = manifest.IMAGES
CHANGES = "changes.jsonl"  # what each start found changed: a line per image or field of the config
TRAIN, JUDGE, TEST = "train", "judge", "test"


class Image(NamedTuple):
    """An image of the folder."""

    file: str  # its id: the path below the folder
    sha256: str  # of its bytes
    split: str  # TRAIN; JUDGE: drawn to judge the models, and not trained on; TEST: of the test set


def read(workdir: Path) -> list[Image]:
    """Returns the images of the last start; none before the first.

    Raises:
      InvalidInputError: if the file is damaged, or not as the manifest lists it.
    """
    path = workdir / NAME
    manifest.check(workdir, NAME)
    if not path.exists():
        return []
    try:
        rows = csv.DictReader(io.StringIO(files.read(path).decode(), newline=""), strict=True)
        return [Image(**row) for row in rows]
    except (ValueError, TypeError, csv.Error) as error:
        raise InvalidInputError(f"{path}: damaged ({error}); accepted: the file that aljax wrote") from error


def update(workdir: Path, images: Sequence[Image]) -> list[dict[str, str]]:
    """Writes the images of this start; returns how they differ from those of the last one."""
    try:
        before = read(workdir)
    except InvalidInputError as error:
        logging.warning("%s; it is made again, and what has changed since the last start is unknown", error)
        before = []
    if list(images) != before:
        manifest.replace(workdir, {NAME: chosen.table(Image._fields, images)})
    old, new = ({image.file: image.sha256 for image in some} for some in (before, images))
    return changes(old, new) if before else []


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[dict[str, str]]:
    """Returns the images that were added, removed, renamed or replaced.

    Args:
      before, now: the SHA-256 of each image by its file's name.

    Returns:
      For each: `what` has happened, its `name` now, and what it was `before`.
    """
    gone = {before[name]: name for name in sorted(before.keys() - now.keys())}
    found = []
    for name, sha256 in now.items():
        if name not in before and sha256 in gone:
            found.append({"what": "renamed", "name": name, "before": gone.pop(sha256)})
        elif name not in before:
            found.append({"what": "added", "name": name, "before": ""})
        elif before[name] != sha256:
            found.append({"what": "replaced", "name": name, "before": before[name]})
    return found + [{"what": "removed", "name": "", "before": name} for name in sorted(gone.values())]


def in_words(found: Iterable[Mapping[str, str]]) -> str:
    """Returns changes in words, as "3 added, 1 renamed"."""
    return ", ".join(f"{count:,} {what}" for what, count in Counter(one["what"] for one in found).items())


def standing(hashes: Mapping[str, str], answers: Iterable[Answer]) -> dict[str, Answer]:
    """Returns the answer that counts for each image, by its file.

    An answer belongs to the image of its file's name and content; where no file has that name any more, to
    the images of that content: they were renamed.

    Args:
      hashes: the SHA-256 of each image by its file's name.
      answers: in the order in which they were given.
    """
    by_name, by_content = [], []
    for answer in answers:
        if hashes.get(answer.file) == answer.sha256:
            by_name.append(answer)
        elif answer.file not in hashes:
            by_content.append(answer._replace(file=answer.sha256))
    renamed = journal.standing(by_content)
    found = {file: renamed[sha256] for file, sha256 in hashes.items() if sha256 in renamed}
    return found | journal.standing(by_name)


def contradictions(hashes: Mapping[str, str], answers: Sequence[Answer]) -> dict[str, dict[str, str]]:
    """Returns the images that people labeled differently: by file, each person's label, the last counts.

    The arguments are those of `standing`; labels that images came with are nobody's.
    """
    counting = standing(hashes, answers)
    given: dict[str, dict[str, str]] = {}
    for who in dict.fromkeys(one.who for one in answers):
        of_one = standing(hashes, (one for one in answers if one.who == who and one.cycle))
        for file, answer in of_one.items():
            if answer.answer == "label":
                given.setdefault(file, {})[who] = answer.label
    differing = {file: labels for file, labels in given.items() if len(set(labels.values())) > 1}
    return {
        file: dict(sorted(labels.items(), key=lambda one: one[0] == counting[file].who))
        for file, labels in differing.items()
    }
