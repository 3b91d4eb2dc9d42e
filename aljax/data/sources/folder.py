"""A folder of images: `data_dir`/`split`/CLASS/**, read as torchvision's ImageFolder reads it.

Classes are the folders of a split, in natural order ("class2" before "class10"); a class's images lie
at any depth below, in every format that Pillow decodes. Ids are the files' paths below `data_dir`.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aljax.data import images
from aljax.data.names import natural, printable
from aljax.data.sources.base import Dataset, LeftOut, Request, Split, check_unread
from aljax.errors import InvalidInputError

NAMED = 3  # unreadable files that an error names
NO_IMAGE = "not an image"  # a reason to leave a file out


class Listing(NamedTuple):
    """The files of a split."""

    files: dict[str, dict[str, str]]  # by class and id: paths
    left_out: list[LeftOut]


def load_folder(request: Request) -> Dataset:
    """Loads a folder of images.

    Raises:
      InvalidInputError: if folders are missing, empty or cannot be read, if both splits are the same or
        differ in their classes, or if files cannot be decoded and `skip_unreadable` is False.
    """
    check_unread(request, "folder", "images_dir", "labels", "class_names")
    root = Path(request.data_dir)
    if not request.data_dir or not root.is_dir():
        raise InvalidInputError(
            f"config.dataset.data_dir={request.data_dir!r}: accepted: a folder that exists"
        )
    _check_splits(root, request)
    names = (request.train_split, request.test_split)
    train, test = (listed(root, name) for name in names)
    if odd := train.files.keys() ^ test.files.keys():
        raise InvalidInputError(
            f"{root}: class folders of {names[0]}/ and {names[1]}/ differ in "
            f"{', '.join(sorted(odd, key=natural))}"
        )
    read = [_read(listing, request, name) for listing, name in zip((train, test), names, strict=True)]
    unreadable = [left_out for _, of_split in read for left_out in of_split]
    if unreadable and not request.skip_unreadable:
        raise InvalidInputError(complaint(root, unreadable, sum(len(split.labels) for split, _ in read)))
    left_out = (*train.left_out, *test.left_out, *unreadable)
    return Dataset(read[0][0], read[1][0], tuple(train.files), left_out)


def listed(root: Path, split: str) -> Listing:
    """Finds the images of a split by class and id, both in natural order, without opening them.

    Raises:
      InvalidInputError: if there are no class folders, or one of them holds no images, or two files'
        names differ in their normalization alone.
    """
    top = root / split
    if not top.is_dir():
        raise InvalidInputError(
            f"{top}: no such folder; accepted: one that holds a folder of images per class"
        )
    files: dict[str, dict[str, str]] = {}
    left_out = []
    for entry in _entries(top):
        found: Iterable[tuple[str, str]] = [(entry.path, "in no class folder")]
        of_class: dict[str, str] = {}
        if entry.name.startswith("."):
            found = [(entry.path, "hidden")]
        elif entry.is_dir():
            found = walk(entry.path)
            of_class = files.setdefault(printable(entry.name), of_class)
        for path, reason in found:
            id = printable(f"{Path(split).as_posix()}/{path[len(str(top)) + 1 :]}")
            if reason:
                left_out.append(LeftOut(id, reason))
            elif of_class.setdefault(id, path) != path:
                raise InvalidInputError(
                    f"{root}: two files are named {id!r} once normalized (Unicode NFC); accepted: one of them"
                )
    if not files:
        raise InvalidInputError(f"{top}: holds no class folders; accepted: a folder of images per class")
    for name, of_class in files.items():
        if not of_class:
            raise InvalidInputError(
                f"{top}/{name}: holds no images; accepted: PNG, JPEG or other files that Pillow reads"
            )
    in_order = {
        name: {id: files[name][id] for id in sorted(files[name], key=natural)}
        for name in sorted(files, key=natural)
    }
    return Listing(in_order, sorted(left_out, key=lambda one: natural(one.file)))


def _check_splits(root: Path, request: Request) -> None:
    train, test = ((root / name).resolve() for name in (request.train_split, request.test_split))
    if train == test or train in test.parents or test in train.parents:
        raise InvalidInputError(
            f"config.dataset.test_split={request.test_split!r}: is config.dataset.train_split="
            f"{request.train_split!r}, or lies in it; accepted: images that no model trains on"
        )


def _entries(place: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InvalidInputError(f"{place}: {error.strerror}; accepted: a folder that can be read") from error


def walk(place: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yields every file below a folder, links followed, and the reason to leave it out or ""."""
    above = (*above, os.path.realpath(place))
    for entry in _entries(place):
        if entry.name.startswith("."):
            yield entry.path, "hidden"
        elif entry.is_dir():
            if os.path.realpath(entry.path) in above:
                yield entry.path, "a link to a folder that it lies in"
            elif os.path.exists(os.path.join(entry.path, "cycles.jsonl")):
                yield entry.path, "a run directory"
            else:
                yield from walk(entry.path, above)
        elif os.path.exists(entry.path) and not entry.is_file():  # a pipe would be waited for
            yield entry.path, "neither a file nor a folder"
        elif Path(entry.name).suffix.lower() in images.suffixes():
            yield entry.path, ""
        else:
            yield entry.path, NO_IMAGE


def _read(listing: Listing, request: Request, title: str) -> tuple[Split, list[LeftOut]]:
    """Reads the images of a split; also returns those that could not be read, which it leaves out."""
    paths = {id: path for of_class in listing.files.values() for id, path in of_class.items()}
    labels = np.repeat(np.arange(len(listing.files), dtype=np.int32), list(map(len, listing.files.values())))
    pixels, reasons = images.read_all(list(paths.values()), request, f"reading {title}")
    kept = np.setdiff1d(np.arange(len(paths)), list(reasons))
    ids = tuple(paths)
    split = Split(images.taken(pixels, kept), labels[kept], tuple(ids[row] for row in kept))
    return split, [LeftOut(ids[row], f"unreadable: {reason}") for row, reason in reasons.items()]


def complaint(root: Path, unreadable: list[LeftOut], readable: int) -> str:
    """Returns what to say of images that cannot be read, beside so many `readable` ones."""
    named = ", ".join(
        f"{file} ({reason.removeprefix('unreadable: ')})" for file, reason in unreadable[:NAMED]
    )
    more = f" and {len(unreadable) - NAMED:,} more" if len(unreadable) > NAMED else ""
    count = f"{len(unreadable):,} of {len(unreadable) + readable:,}"
    return (
        f"{root}: {count} images cannot be read: {named}{more}; accepted: images that Pillow reads, or "
        "config.dataset.skip_unreadable=True to leave these out"
    )
