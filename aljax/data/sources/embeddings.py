"""Embeddings: a vector for each image, computed by another network beforehand, in one file `data_dir`.

The file holds features [N, D] and, where they are known, labels [N] (whole numbers or names; -1 or "":
unknown), files [N], split [N] and class_names [K]; see `archives` for its formats. Float16 stays float16.
An image without a split is of the train split. Where the file has no split at all, a fifth of the labeled
images of each class is the test split, always the same.

Shapes: N images, D features, K classes.
"""

import os
from pathlib import Path

import numpy as np
from absl import logging

from aljax import registry
from aljax.data import archives
from aljax.data import rows as stored
from aljax.data.archives import Archive
from aljax.data.names import natural, printable
from aljax.data.sources.base import Dataset, File, LeftOut, Request, Split, check_unread
from aljax.data.sources.unlabeled import hashed, listed
from aljax.errors import InvalidInputError

TEST_SHARE = 0.2  # of the labeled images of each class, where the file has no split
ROWS_AT_ONCE = 4096  # whose numbers are checked
UNKNOWN = ("", "-1")


def load_embeddings(request: Request) -> Dataset:
    """Loads a file of embeddings.

    Raises:
      InvalidInputError: if the file cannot be read, its arrays disagree in their rows, a feature is not
        finite, two images have one name, or a label or a split cannot be used.
    """
    if request.train_split == request.test_split:
        raise InvalidInputError(
            f"config.dataset.test_split={request.test_split!r}: is config.dataset.train_split; accepted: "
            "images that no model trains on"
        )
    check_unread(request, "embeddings", "labels")
    path = Path(request.data_dir)
    archive = archives.read(request.data_dir)
    features = _features(archive.features, path)
    for name, rows in archive._asdict().items():
        if name not in ("features", "class_names") and rows is not None and rows.shape != (len(features),):
            raise InvalidInputError(
                f"{path}: {name} have shape {rows.shape}; accepted: ({len(features)},), as features have rows"
            )
    ids = _ids(archive, path)
    _check_finite(features, ids, path)
    if request.class_names:
        archive = archive._replace(class_names=np.array(request.class_names))
    labels, class_names = _labels(archive, ids, path)
    split = _split(archive, labels, request, path)
    if len(nameless := np.flatnonzero((split == request.test_split) & (labels < 0))):
        raise InvalidInputError(
            f"{path}: row {nameless[0]} ({ids[nameless[0]]}) of the {request.test_split} split has no label; "
            "accepted: a label of every test image"
        )
    others = np.flatnonzero((split != request.train_split) & (split != request.test_split))
    left_out = tuple(LeftOut(ids[row], f"of the split {str(split[row])!r}") for row in others)
    files = _files(archive, ids, request.images_dir, path) if request.images_dir else ()
    train, test = (
        _rows(features, labels, ids, files, np.flatnonzero(split == name))
        for name in (request.train_split, request.test_split)
    )
    return Dataset(train, test, class_names, left_out)


def _features(features: np.ndarray, path: Path) -> np.ndarray:
    """Returns features as float16 or float32; other numbers become float32."""
    if features.ndim != 2 or not all(features.shape):
        raise InvalidInputError(f"{path}: features have shape {features.shape}; accepted: [N, D]")
    if features.dtype.kind not in "fiu":
        raise InvalidInputError(f"{path}: features are of type {features.dtype}; accepted: numbers")
    if features.dtype in (np.float16, np.float32):
        return features
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as infinite
        return features.astype(np.float32)


def _ids(archive: Archive, path: Path) -> tuple[str, ...]:
    """Returns the images' names: those of their files, or the numbers of their rows."""
    if archive.files is None:
        count = len(archive.features)
        return tuple(f"row-{row:0{len(str(count - 1))}d}" for row in range(count))
    ids = tuple(_texts(archive.files))
    first: dict[str, int] = {}
    for row, id in enumerate(ids):
        if first.setdefault(id, row) != row:
            raise InvalidInputError(
                f"{path}: rows {first[id]} and {row} are both named {id!r}; accepted: a name for each image"
            )
    return ids


def _texts(values: np.ndarray) -> list[str]:
    """Returns texts, printable; of bytes, those in UTF-8."""
    found = (os.fsdecode(value) if isinstance(value, bytes) else str(value) for value in values.tolist())
    return [printable(text) for text in found]


def _check_finite(features: np.ndarray, ids: tuple[str, ...], path: Path) -> None:
    for start in range(0, len(features), ROWS_AT_ONCE):
        finite = np.isfinite(features[start : start + ROWS_AT_ONCE]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            value = features[row][~np.isfinite(features[row])][0]
            raise InvalidInputError(
                f"{path}: row {row} ({ids[row]}) holds the feature {value}; accepted: finite numbers"
            )


def _labels(archive: Archive, ids: tuple[str, ...], path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns each image's class, -1 where it is unknown, [N] int32, and the names of the classes."""
    labels = np.full(len(ids), -1) if archive.labels is None else archive.labels
    named = np.empty(0, "U1") if archive.class_names is None else np.atleast_1d(archive.class_names)
    given = tuple(_texts(named))
    if named.ndim > 1 or named.dtype.kind not in "iuUS" or {*given} & {*UNKNOWN}:
        raise InvalidInputError(
            f"{path}: class_names are {named.dtype} {named.shape}: {_listed(list(given))}; accepted: names "
            "[K], none of them empty or -1, which mean unknown"
        )
    if labels.dtype.kind not in "iuUS":
        raise InvalidInputError(
            f"{path}: labels are of type {labels.dtype}; accepted: whole numbers or names"
        )
    numbers, names = labels.dtype.kind in "iu", _texts(labels)
    known = sorted((one for one in {*names} - {*UNKNOWN} if not (numbers and one[0] == "-")), key=natural)
    class_names = given or tuple(known)
    if len(class_names) < 2 or len(set(class_names)) < len(class_names):
        raise InvalidInputError(
            f"{path}: its classes are {', '.join(class_names) or 'unknown'}; accepted: two or more, no "
            "two alike, of labels [N] or class_names [K]"
        )
    accepted = [str(number) for number in range(len(given))] if given and numbers else list(class_names)
    number_of = {name: number for number, name in enumerate(accepted)} | dict.fromkeys(UNKNOWN, -1)
    for row, name in enumerate(names):
        if name not in number_of:
            raise InvalidInputError(
                f"{path}: row {row} ({ids[row]}) has the label {name!r}; {registry.meant(name, accepted)}"
                f"accepted: {_listed(accepted)}, or {'-1' if numbers else 'an empty one'} where it is unknown"
            )
    return np.array([number_of[name] for name in names], np.int32), class_names


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 20 else f"{names[0]} to {names[-1]}"


def _split(archive: Archive, labels: np.ndarray, request: Request, path: Path) -> np.ndarray:
    """Returns the name of each image's split, [N]."""
    if archive.split is not None:
        split = np.array([name or request.train_split for name in _texts(archive.split)])
        wanted = {request.train_split, request.test_split}
        if (missing := wanted - {*split}) and {*split} - wanted:
            raise InvalidInputError(
                f"{path}: no image is of the split {min(missing)!r}; accepted as config.dataset.train_split "
                f"and test_split: {', '.join(sorted({*split}))}"
            )
        return split
    split = np.full(len(labels), request.train_split, dtype=object)
    rng = np.random.default_rng(0)
    for number in range(labels.max() + 1):
        rows = rng.permutation(np.flatnonzero(labels == number))
        split[rows[: round(TEST_SHARE * len(rows))]] = request.test_split
    share = f"{TEST_SHARE:.0%}"
    logging.info("%s: has no split; %s of the labeled images of each class are the test split", path, share)
    return split.astype(str)


def _files(archive: Archive, ids: tuple[str, ...], folder: str, path: Path) -> tuple[File, ...]:
    """Returns the files of the images, below a folder.

    Raises:
      InvalidInputError: if the archive names no files, or one is not there.
    """
    if archive.files is None:
        raise InvalidInputError(
            f"{path}: holds no files; accepted with config.dataset.images_dir: files [N], names below it"
        )
    root = Path(os.path.expanduser(folder))
    paths, _ = listed(root) if root.is_dir() else ({}, [])
    for id in ids:
        if id not in paths:
            raise InvalidInputError(
                f"config.dataset.images_dir={folder!r}: holds no image {id}, which {path} names; "
                "accepted: the folder whose images were embedded"
            )
    return tuple(hashed([paths[id] for id in ids]))


def features_of(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the images' names, N, and embeddings, [N, D] float, of a file; raises as `load_embeddings`."""
    archive = archives.read(path)
    features = _features(archive.features, path)
    ids = _ids(archive, path)
    _check_finite(features, ids, path)
    return ids, features


def _rows(
    features: np.ndarray, labels: np.ndarray, ids: tuple[str, ...], files: tuple[File, ...], rows: np.ndarray
) -> Split:
    """Returns some rows as a split; of a mapped file, features stay where they lie."""
    kept = (tuple(of[row] for row in rows) if of else () for of in (ids, files))
    return Split(stored.chosen(features, rows), labels[rows], *kept)
