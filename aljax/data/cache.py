"""A data set kept on a disk in the form in which it is used: its images are mapped from there, not read.

CACHE/NAME-DIGEST/ is one data set as one request asks for it:

    train.npy, test.npy         the images, [N, S, S, C] uint8, or embeddings [N, D]
    train.labels.npy, ...       labels [N] int32; names as bytes in UTF-8 [N]; files and their SHA-256
    about.json                  what follows from all images (see `Facts`), and the state of the source and of
                                the files above; it is written last
    scratch/                    while images are decoded: what there is so far

Whatever does not fit together is made again, and why is logged.

Shapes: N images, S x S pixels, C channels; or D numbers of an embedding.
"""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aljax.data import rows as stored
from aljax.data import scratch
from aljax.data.rows import Names
from aljax.data.sources.base import Dataset, Facts, File, LeftOut, Request, Split
from aljax.data.sources.folder import NO_IMAGE, walk
from aljax.errors import InvalidInputError, RunError

FORMAT = 1  # of what is kept; another one is made again
SPLITS = ("train", "test")
ABOUT = "about.json"


def opened(
    cache: Path,
    request: Request,
    options: Mapping[str, Any],
    make: Callable[[Request], Dataset],
    facts: Callable[[Dataset], Facts],
) -> Dataset:
    """Returns a data set from the cache, into which it is put if it is not there, or is not as it was.

    Args:
      cache: the folder.
      request: what the source is asked for.
      options: what the data set depends on beside it.
      make: makes the data set; a request with `scratch` decodes images there, and goes on from there.
      facts: computes what is kept beside the images.

    Returns:
      The data set, with its facts; images and names are mapped.

    Raises:
      RunError: if it could not be written.
    """
    identity = {
        **options,
        **request._asdict(),
        "format": FORMAT,
        "pillow": importlib.metadata.version("pillow"),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    folder = cache / f"{re.sub(r'[^A-Za-z0-9_-]', '-', request.name)[:40]}-{digest}"
    source = fingerprint(request, cache)
    try:
        with _alone(folder):
            if (folder / ABOUT).exists():
                try:
                    return _kept(folder, source, facts)
                except (OSError, ValueError, KeyError, TypeError) as error:
                    logging.warning("%s: %s; it is made again", folder, error)
            return _made(folder, source, request, make, facts)
    except OSError as error:
        kind: type[Exception] = (
            InvalidInputError if isinstance(error, FileExistsError | NotADirectoryError) else RunError
        )
        raise kind(
            f"config.dataset.cache={str(cache)!r}: {error.filename or folder} could not be written "
            f"({error.strerror or error}); accepted: a folder with room for the images, or '' for none"
        ) from error


def fingerprint(request: Request, cache: Path) -> str:
    """Returns a digest of names, sizes and times of the files that a request names, but for the cache's."""
    total = hashlib.sha256()
    for path in _files(request, cache):
        status = os.stat(path) if os.path.exists(path) else os.lstat(path)
        total.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _files(request: Request, cache: Path) -> Iterator[str]:
    for root in (Path(place).absolute() for place in (request.data_dir, request.images_dir) if place):
        if not root.is_dir():
            continue
        own, inside = f"{cache.absolute()}{os.sep}", cache.absolute().is_relative_to(root)
        for path, reason in walk(str(root)):
            if reason in ("", NO_IMAGE) and not (inside and path.startswith(own)):
                yield path
    table = os.path.splitext(request.data_dir)[0] + ".csv"  # beside a file of embeddings
    yield from filter(os.path.isfile, (request.data_dir, table, request.labels))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; another one waits, and then finds what this one made."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.info("%s: another process makes it; this one waits", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made(
    folder: Path,
    source: str,
    request: Request,
    make: Callable[[Request], Dataset],
    facts: Callable[[Dataset], Facts],
) -> Dataset:
    (folder / ABOUT).unlink(missing_ok=True)
    place = folder / f"scratch-{source[:12]}"
    for old in folder.glob("scratch-*"):  # of a source that has changed since
        if old != place:
            shutil.rmtree(old)
    made = make(request._replace(scratch=str(place)))
    for name, split in zip(SPLITS, (made.train, made.test), strict=True):
        _write(folder / f"{name}.npy", split.images)
        for part, column in _columns(split).items():
            np.save(folder / f"{name}.{part}.npy", column)
    about: dict[str, Any] = {"source": source, "class_names": made.class_names, "left_out": made.left_out}
    dataset = _mapped(folder, about)
    found = facts(dataset)
    about["facts"] = found._replace(mean=found.mean.tolist(), std=found.std.tolist())._asdict()
    _note(folder, about)
    shutil.rmtree(place, ignore_errors=True)
    logging.info("%s: keeps the data set", folder)
    return dataset._replace(facts=found)


def _kept(folder: Path, source: str, facts: Callable[[Dataset], Facts]) -> Dataset:
    """Maps what is kept.

    Raises:
      ValueError, KeyError, TypeError, OSError: if it is not what it was, or that cannot be told.
    """
    about = json.loads((folder / ABOUT).read_text())
    if about["source"] != source:
        raise ValueError("the files that it was made from have changed")
    now, before = _state(folder), about["files"]
    if {name: size for name, (size, _) in now.items()} != {name: size for name, (size, _) in before.items()}:
        raise ValueError("files are missing, or of another size")
    known = about["facts"]
    mean, std = (np.array(known[name], np.float32) for name in ("mean", "std"))
    dataset = _mapped(folder, about)
    if now != before:  # copied, or written to: only their content tells
        if facts(dataset).sha256 != known["sha256"]:
            raise ValueError("damaged: the images are not those that were kept")
        _note(folder, about)
    return dataset._replace(facts=Facts(**{**known, "mean": mean, "std": std}))


def _write(path: Path, images: stored.Images) -> None:
    place = 0
    mapped = scratch.room(path, images.shape, images.dtype)
    for block in stored.blocks(images):
        mapped[place : place + len(block)] = block
        place += len(block)
    mapped.flush()


def _columns(split: Split) -> dict[str, np.ndarray]:
    """Returns what a split holds beside its images, as arrays [N]."""
    columns = {"labels": split.labels, "ids": _encoded(split.ids)}
    if split.files:
        columns |= {"files": _encoded([file.path for file in split.files])}
        columns |= {"sha256": _encoded([file.sha256 for file in split.files])}
    return columns


def _encoded(names: Sequence[str]) -> np.ndarray:
    return np.array([name.encode(errors="surrogateescape") for name in names], np.bytes_)


def _mapped(folder: Path, about: Mapping[str, Any]) -> Dataset:
    train, test = (_split(folder, name) for name in SPLITS)
    left_out = tuple(LeftOut(*one) for one in about["left_out"])
    return Dataset(train, test, tuple(about["class_names"]), left_out)


def _split(folder: Path, name: str) -> Split:
    def column(part: str) -> np.ndarray:
        return np.load(folder / f"{name}.{part}.npy", mmap_mode="r")

    files: tuple[File, ...] = ()
    if (folder / f"{name}.files.npy").exists():
        paths, digests = (column(part).tolist() for part in ("files", "sha256"))
        files = tuple(map(File, map(os.fsdecode, paths), map(bytes.decode, digests)))
    images = np.load(folder / f"{name}.npy", mmap_mode="r")
    return Split(images, np.array(column("labels")), Names(column("ids")), files)


def _state(folder: Path) -> dict[str, list[int]]:
    """Returns size and time of the files that are kept."""
    found = {path.name: path.stat() for path in folder.glob("*.npy")}
    return {name: [status.st_size, status.st_mtime_ns] for name, status in found.items()}


def _note(folder: Path, about: Mapping[str, Any]) -> None:
    scratch.write(folder / ABOUT, json.dumps({**about, "files": _state(folder)}))
