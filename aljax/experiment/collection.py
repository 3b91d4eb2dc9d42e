"""The images that people label: what is known of each, by its file's name and content, never by its place.

Shapes: N images, in the order of this start of the command; the next one may find others.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aljax.data import Dataset, Split
from aljax.records import inventory
from aljax.records.inventory import JUDGE, TEST, TRAIN, Image
from aljax.records.journal import Answer


class Known(NamedTuple):
    """Holds labels and marks of the N images."""

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
    stands = inventory.standing(hashes_of(images), answers)
    for row, file in enumerate(images.ids):
        if (answer := stands.get(file)) is None:
            continue
        labels[row] = numbers.get(answer.label, -1) if answer.answer == "label" else -1
        skipped[row] = answer.answer == "skip"
    return Known(labels, skipped, judges & (images.labels < 0))


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


def hashes_of(*splits: Split) -> dict[str, str]:
    """Returns the SHA-256 of each image by its file's name."""
    named = (pair for split in splits for pair in zip(split.ids, split.files, strict=True))
    return {id: file.sha256 for id, file in named}


def imported(dataset: Dataset, answers: Sequence[Answer], time: str) -> list[Answer]:
    """Returns the answers to append so that a journal holds the labels that the images came with.

    They have cycle 0. A label that is as it was at the last start is not entered again, so that what a
    person has answered since then counts; one that is no longer there is taken back, if it counted.
    """
    stands = inventory.standing(hashes_of(dataset.train, dataset.test), answers)
    last = {(one.file, one.sha256): one for one in answers if one.cycle == 0}
    new = []
    for split in (dataset.train, dataset.test):
        for id, file, label in zip(split.ids, split.files, split.labels, strict=True):
            before = last.get((id, file.sha256))
            name = dataset.class_names[label] if label >= 0 else ""
            if name == (before.label if before else ""):
                continue
            if name or stands.get(id) == before:
                new.append(Answer(id, file.sha256, "label" if name else "undo", name, 0, "", 0.0, time))
    return new


def listed(dataset: Dataset, judges: np.ndarray) -> list[Image]:
    """Returns the images of a data set as the run directory lists them.

    Args:
      dataset: with the files of its images.
      judges: images that judge the models, [N] bool; one that came with a label is none of them.
    """
    splits = np.where(judges & (dataset.train.labels < 0), JUDGE, TRAIN)
    return [
        *map(Image, *zip(*hashes_of(dataset.train).items(), strict=True), splits.tolist()),
        *(Image(id, sha256, TEST) for id, sha256 in hashes_of(dataset.test).items()),
    ]


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
