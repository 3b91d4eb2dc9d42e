"""Image classification data sets: loaded from a source, checked, reduced to a part, described by numbers.

Shapes: N images, S x S pixels (one size for all), C channels (1 grey, 3 colour), D features of embeddings.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aljax import registry
from aljax.data import cache as caches
from aljax.data import rows as stored
from aljax.data.names import printable
from aljax.data.rows import Images
from aljax.data.sources import SOURCES
from aljax.data.sources.base import Dataset, Facts, LeftOut, Request, Split
from aljax.errors import InvalidInputError

__all__ = ["Dataset", "LeftOut", "Split", "channel_statistics", "digest", "load", "statistics"]

PIXELS_AT_ONCE = 2**17  # whose levels are counted
ROWS_AT_ONCE = 2**12  # of embeddings, that are added up


def load(
    source: str,
    name: str,
    *,
    classes: int = 0,
    images: int = 0,
    cache: str = "",
    encoder: str = "",
    unknown: bool = False,
    **fields: Any,
) -> Dataset:
    """Loads a data set.

    Logs which files were left out, and how many test images are training images too.

    Args:
      source: a key of `SOURCES`.
      name: as the source calls the data set; for a folder, any.
      classes: keep the first so many classes; 0 keeps all.
      images: keep so many images of the train split, drawn at random, always the same; 0 keeps all.
      cache: a folder that keeps the data set for the next time; its images are mapped from there. "": none.
      encoder: must be "": images are embedded by `aljax.experiment.inputs.load`, which gives a `reader`.
      unknown: keep images whose label is unknown (-1), and accept a test split without images.
      **fields: the other fields of `Request`; image_size and channels are needed.

    Returns:
      The data set.

    Raises:
      InvalidInputError: if it cannot be loaded, naming the file or field.
      RunError: if the cache could not be written.
    """
    function = registry.find(source, SOURCES, "config.dataset.source")
    if encoder:
        raise InvalidInputError(
            f"config.dataset.encoder={encoder!r}: accepted: ''; aljax.experiment.inputs.load embeds"
        )
    request = Request(name, **fields)
    request = request._replace(
        data_dir=os.path.expanduser(request.data_dir),
        class_names=tuple(map(printable, request.class_names)),
    )

    def made(request: Request) -> Dataset:
        dataset = function(request)
        if not unknown:
            dataset = labeled(dataset)
        _check(dataset, name, unknown)
        if not unknown or classes or images:
            dataset = _part(dataset, classes or len(dataset.class_names), images)
        return dataset

    if cache and request.reader:
        raise InvalidInputError(
            f"config.dataset.cache={cache!r}: accepted without config.dataset.encoder, whose embeddings the "
            "run keeps; or '' for none"
        )
    if cache:
        options = {"source": source, "classes": classes, "images": images, "unknown": unknown}
        dataset = caches.opened(Path(os.path.expanduser(cache)), request, options, made, facts)
    else:
        dataset = made(request)
    _report(dataset)
    return dataset


def labeled(dataset: Dataset) -> Dataset:
    """Returns the data set without the images whose label is unknown; they are left out."""
    rows = np.flatnonzero(dataset.train.labels != -1)
    if len(rows) == len(dataset.train.labels):
        return dataset
    absent = (dataset.train.ids[row] for row in np.flatnonzero(dataset.train.labels == -1).tolist())
    left_out = tuple(LeftOut(id, "without a label") for id in absent)
    return dataset._replace(train=_rows(dataset.train, rows), left_out=(*dataset.left_out, *left_out))


def _check(dataset: Dataset, name: str, unknown: bool = False) -> None:
    if len(dataset.class_names) < 2:
        raise InvalidInputError(f"config.dataset.name={name!r}: has one class alone; accepted: at least 2")
    for split_name, split in (("train", dataset.train), ("test", dataset.test)):
        if not len(split.labels):
            if unknown and split_name == "test":
                continue
            kind = "images" if unknown else "images with a label"
            raise InvalidInputError(
                f"config.dataset.name={name!r}: its {split_name} split holds no {kind}; accepted: some"
            )
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < (-1 if unknown else 0) or high >= len(dataset.class_names):
            raise InvalidInputError(
                f"config.dataset.name={name!r}: labels of its {split_name} split run from {low} to "
                f"{high}; accepted: 0 to {len(dataset.class_names) - 1}"
            )


def _part(dataset: Dataset, classes: int, images: int) -> Dataset:
    """Keeps the first classes alone, and some images of the train split alone."""
    if classes > len(dataset.class_names):
        raise InvalidInputError(
            f"config.dataset.classes={classes}: accepted: 0 or 2 to {len(dataset.class_names)}"
        )
    train, test = (
        _rows(split, np.flatnonzero(split.labels < classes)) for split in (dataset.train, dataset.test)
    )
    for split_name, split in (("train", train), ("test", test)):
        if not len(split.labels):
            raise InvalidInputError(
                f"config.dataset.classes={classes}: leaves no image in the {split_name} split; accepted: 0, "
                "or so many that both splits have images of them"
            )
    if images > len(train.labels):
        raise InvalidInputError(f"config.dataset.images={images}: accepted: 0 to {len(train.labels)}")
    if images:
        train = _rows(train, np.sort(np.random.default_rng(0).permutation(len(train.labels))[:images]))
    return dataset._replace(train=train, test=test, class_names=dataset.class_names[:classes])


def _rows(split: Split, rows: np.ndarray) -> Split:
    if len(rows) == len(split.labels):
        return split
    ids, files = (
        tuple(kept[row] for row in rows.tolist()) if kept else () for kept in (split.ids, split.files)
    )
    return Split(stored.chosen(split.images, rows), split.labels[rows], ids, files)


def _report(dataset: Dataset) -> None:
    if dataset.left_out:
        reasons = Counter(reason.partition(":")[0] for _, reason in dataset.left_out)
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        logging.warning("%d files are left out of the data set: %s", len(dataset.left_out), counts)
    warning = _shared(dataset) if dataset.facts is None else dataset.facts.warning
    if warning:
        logging.warning("%s", warning)


def facts(dataset: Dataset) -> Facts:
    """Computes what a cache keeps beside the images; reads all of them."""
    mean, std = channel_statistics(dataset.train.images)
    return Facts(digest(dataset), mean, std, _shared(dataset))


def _shared(dataset: Dataset) -> str:
    """Returns a warning of test images that are training images too; "" if none is."""
    shared = repeated(dataset.train, dataset.test)
    if not shared:
        return ""
    test, train = next(iter(shared.items()))
    how = "pixel by pixel" if dataset.test.images.ndim == 4 else "number by number"
    return (
        f"{len(shared)} of the {len(dataset.test.ids)} test images are training images too, {how} "
        f"(the first: {test} is {train})"
    )


def repeated(train: Split, test: Split) -> dict[str, str]:
    """Finds the images of the test split whose pixels are those of a training image.

    Returns:
      The training image's id, the last if there are several, by the test image's id.
    """
    tested = dict(zip(test.ids, _digests(test.images), strict=True))
    contents = {*tested.values()}
    trained = {
        content: id
        for content, id in zip(_digests(train.images), train.ids, strict=True)
        if content in contents
    }
    return {id: trained[content] for id, content in tested.items() if content in trained}


def _digests(images: Images) -> Iterator[bytes]:
    for block in stored.blocks(images):
        for image in block:
            yield hashlib.blake2b(np.ascontiguousarray(image).data.cast("B"), digest_size=16).digest()


def digest(dataset: Dataset) -> str:
    """Returns the SHA-256 of all that a data set holds, in hexadecimal digits."""
    if dataset.facts is not None:
        return dataset.facts.sha256
    total = hashlib.sha256(repr(dataset.class_names).encode())
    for split in (dataset.train, dataset.test):
        total.update(repr(tuple(split.ids)).encode())
        for array in (split.labels, split.images):
            for block in stored.blocks(array):
                total.update(np.ascontiguousarray(block).data.cast("B"))
    return total.hexdigest()


def statistics(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the `channel_statistics` of the train split."""
    known = dataset.facts
    return channel_statistics(dataset.train.images) if known is None else (known.mean, known.std)


def channel_statistics(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean and the standard deviation of each channel, in units of 0..255.

    Embeddings have a mean for each feature and one deviation for all, see `_feature_statistics`.

    Args:
      images: [N, S, S, C] uint8, or [N, D] floats.

    Returns:
      Two arrays [C] or [D] float32. A channel that never varies has deviation 1.
    """
    if images.ndim == 2:
        return _feature_statistics(images)
    levels = np.arange(256)
    counts = np.zeros((images.shape[-1], 256), np.int64)
    step = max(1, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
    for start in range(0, len(images), step):
        for channel in range(images.shape[-1]):
            some = images[start : start + step][..., channel].ravel()
            counts[channel] += np.bincount(some, minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt(((levels - mean[:, None]) ** 2 * shares).sum(axis=1))
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _feature_statistics(features: Images) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean of each feature [N, D], and one deviation for all: the root of their mean variance.

    So distances between embeddings keep their proportions, and a feature that hardly ever varies is not
    blown up. Sums are taken in float64, a few rows at a time.
    """

    def mean_of(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        total = np.zeros(features.shape[1])
        for start in range(0, len(features), ROWS_AT_ONCE):
            total += function(features[start : start + ROWS_AT_ONCE].astype(np.float64)).sum(axis=0)
        return total / len(features)

    mean = mean_of(lambda rows: rows)
    std = np.sqrt(mean_of(lambda rows: (rows - mean) ** 2).mean()).astype(np.float32)
    return mean.astype(np.float32), np.full_like(mean, std if std > 0 else 1, np.float32)
