"""A folder of images of which only some are labeled, or none: `data_dir`/**.

The images in `train_split`/CLASS/ and `test_split`/CLASS/ are labeled, and those that a file of labels
names; every other image, at any depth, belongs to the train split with the label -1. Ids are the files'
paths below `data_dir`.
"""

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from absl import logging

from aljax import registry
from aljax.data import images, tables
from aljax.data import rows as stored
from aljax.data.names import natural, printable
from aljax.data.sources.base import Dataset, File, LeftOut, Request, Split, check_unread
from aljax.data.sources.folder import complaint, walk
from aljax.errors import InvalidInputError

NAMED = 3  # files that a message names
TAKEN = (
    "skip",
    "unsure",
    "file",
    "label",
    "probability",
)  # other answers, and columns of a table of predictions


class Labels(NamedTuple):
    """Holds names of classes and of splits by image id, where they are known."""

    classes: dict[str, str]
    splits: dict[str, str]  # "train" or "test"


def load_unlabeled(request: Request) -> Dataset:
    """Loads a folder of images at any depth, with the SHA-256 of each file.

    Raises:
      InvalidInputError: if the folder is missing or holds no images, if the file of labels cannot be
        used, if less than two classes are known, or if files cannot be decoded and `skip_unreadable` is
        False, or none of them can.
    """
    check_unread(request, "unlabeled", "images_dir")
    root = Path(request.data_dir)
    if not request.data_dir or not root.is_dir():
        raise InvalidInputError(
            f"config.dataset.data_dir={request.data_dir!r}: accepted: a folder of images that exists"
        )
    paths, left_out = listed(root)
    if not paths:
        raise InvalidInputError(f"{root}: holds no images; accepted: PNG, JPEG or others that Pillow reads")
    of_folders = by_folder(paths, request)
    of_file = (
        by_file(Path(os.path.expanduser(request.labels)), paths, request)
        if request.labels
        else Labels({}, {})
    )
    classes, splits = of_folders.classes | of_file.classes, of_folders.splits | of_file.splits
    names = request.class_names or tuple(sorted({*classes.values()} - {""}, key=natural))
    if len(names) < 2:
        raise InvalidInputError(
            f"config.dataset.class_names={names!r}: accepted: at least two names, as in ('cat', 'dog') or "
            f"aljax label --classes cat,dog, where {root}/{request.train_split}/CLASS/ and "
            "config.dataset.labels name no more"
        )
    check_names(names)
    pixels, reasons = images.read_all(list(paths.values()), request, "reading images")
    ids = tuple(paths)
    unreadable = [LeftOut(ids[row], f"unreadable: {reason}") for row, reason in reasons.items()]
    if unreadable and (not request.skip_unreadable or len(unreadable) == len(ids)):
        raise InvalidInputError(complaint(root, unreadable, len(ids) - len(unreadable)))
    kept = [row for row in range(len(ids)) if row not in reasons]
    files = hashed([paths[ids[row]] for row in kept])
    tested = np.array([splits.get(ids[row]) == "test" and bool(classes.get(ids[row])) for row in kept])
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers.get(classes.get(ids[row], ""), -1) for row in kept], np.int32)

    def split(wanted: np.ndarray) -> Split:
        rows = np.flatnonzero(wanted)
        return Split(
            stored.chosen(pixels, np.array(kept)[rows]),
            labels[rows],
            tuple(ids[kept[row]] for row in rows),
            tuple(files[row] for row in rows),
        )

    return Dataset(split(~tested), split(tested), tuple(names), (*left_out, *unreadable))


def check_names(names: Sequence[str], field: str = "config.dataset.class_names") -> None:
    """Raises InvalidInputError if a name is another's but for capitals, one of `TAKEN` or no folder's."""
    if len({name.casefold() for name in names}) < len(names):
        raise InvalidInputError(
            f"{field}={tuple(names)!r}: accepted: names that differ in more than capital letters"
        )
    for name in names:
        folder = name.isprintable() and name == name.strip() and name[:1] not in ("", ".")
        if not folder or {*name} & {*"/\\"} or name in TAKEN:
            raise InvalidInputError(
                f"{field}: {name!r}; accepted: names that a folder can have, none of them {', '.join(TAKEN)}"
            )


def listed(root: Path) -> tuple[dict[str, str], list[LeftOut]]:
    """Finds the images below a folder, by id in natural order, and what else lies there.

    Raises:
      InvalidInputError: if two files' names differ in their normalization alone.
    """
    paths: dict[str, str] = {}
    left_out = []
    for path, reason in walk(str(root)):
        id = printable(path[len(str(root)) + 1 :])
        if reason:
            left_out.append(LeftOut(id, reason))
        elif paths.setdefault(id, path) != path:
            raise InvalidInputError(
                f"{root}: two files are named {id!r} once normalized (Unicode NFC); accepted: one of them"
            )
    in_order = {id: paths[id] for id in sorted(paths, key=natural)}
    return in_order, sorted(left_out, key=lambda one: natural(one.file))


def by_folder(ids: Iterable[str], request: Request) -> Labels:
    """Returns what the folders of classes say; folders of no class are named in a warning."""
    known = Labels({}, {})
    strange: dict[str, int] = {}
    for id in ids:
        for split, folder in (("train", request.train_split), ("test", request.test_split)):
            above = PurePosixPath(folder).parts
            parts = PurePosixPath(id).parts
            if parts[: len(above)] != above or len(parts) < len(above) + 2:
                continue
            name = parts[len(above)]
            if request.class_names and name not in request.class_names:
                place = f"{folder}/{name}"
                strange[place] = strange.get(place, 0) + 1
                continue
            known.classes[id], known.splits[id] = name, split
    for place, count in strange.items():
        meant = registry.meant(PurePosixPath(place).name, request.class_names)
        logging.warning("%s: no class; %sits images count as unlabeled (%d)", place, meant, count)
    return known


def by_file(path: Path, ids: Mapping[str, str], request: Request) -> Labels:
    """Returns what a file of labels says; an empty label: unknown. Files that are not there are logged.

    Raises:
      InvalidInputError: if the file cannot be read, or a line of it is wrong, naming the first.
    """
    try:
        rows = tables.read(path)
    except ValueError as error:
        raise InvalidInputError(
            f"config.dataset.labels={request.labels!r}: {error}; accepted: a CSV or JSONL file of file,label"
        ) from error
    known = Labels({}, {})
    seen: dict[str, tuple[int, tuple[str, str]]] = {}  # the line and the entry of an image
    absent, wrong = [], []
    for row in rows:
        id = tables.id_of(row.file, ids)
        try:
            label = tables.class_of(row.label, request.class_names) if request.class_names else row.label
        except ValueError as error:
            label, problem = "", str(error) if row.label else ""
        else:
            problem = ""
        entry = label, row.split or "train"
        if row.split not in ("", "train", "test"):
            problem = f"split {row.split!r}; accepted: train, test, or none"
        elif id is not None and not problem and seen.setdefault(id, (row.line, entry))[1] != entry:
            problem = f"file {id!r} has another label or split in line {seen[id][0]}; accepted: one of each"
        if problem:
            wrong.append(f"{path}:{row.line}: {problem}")
        elif id is None:
            absent.append(row.file)
        else:
            known.classes[id], known.splits[id] = entry
    if wrong:
        more = f", and {len(wrong) - 1} more lines are wrong" if len(wrong) > 1 else ""
        raise InvalidInputError(f"{wrong[0]}{more}")
    if absent:
        shown = ", ".join(absent[:NAMED])
        logging.warning("%s: %d of its %d files are not there: %s", path, len(absent), len(rows), shown)
    return known


def hashed(paths: list[str]) -> list[File]:
    """Returns the files with the SHA-256 of their bytes, read by several threads."""

    def of(path: str) -> File:
        try:
            status = os.stat(path)
            return File(path, _sha256(path, status.st_size, status.st_mtime_ns))
        except OSError as error:
            raise InvalidInputError(f"{path}: {error.strerror}; accepted: a file that can be read") from error

    with ThreadPoolExecutor() as threads:
        return list(threads.map(of, paths))


@functools.lru_cache(maxsize=2**20)
def _sha256(path: str, size: int, modified: int) -> str:
    """Returns the SHA-256 of a file's bytes; one that is asked for again, unchanged, is not read again."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
