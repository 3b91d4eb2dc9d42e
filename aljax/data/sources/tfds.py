"""Data sets of TensorFlow Datasets; TensorFlow itself is needed only to prepare one that is not there yet."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from aljax.data import images, scratch
from aljax.data.names import natural, printable
from aljax.data.sources.base import Dataset, Request, Split, check_unread
from aljax.errors import InvalidInputError

INSTALL = "pip install 'aljax[tfds]' (in a checkout: pip install -e '.[tfds]')"
CHUNK = 1000  # records that are read at once


def load_tfds(request: Request) -> Dataset:
    """Loads a data set by its name in tensorflow-datasets, downloaded and prepared if need be.

    Its order is that of its records' ids, or, without ids, of the records, which preparing always
    yields alike.

    Raises:
      InvalidInputError: if the package is not installed, or has no such data set or split, or cannot
        prepare it; if it does not pair images with classes; if both splits have records in common.
    """
    check_unread(request, "tfds", "images_dir", "labels", "class_names")
    package = _imported()
    builder = _prepared(package, request)
    names = {field: getattr(request, field) for field in ("train_split", "test_split")}
    sources = [_source(builder, field, name) for field, name in names.items()]
    if _overlap(builder, *names.values()):
        raise InvalidInputError(
            f"config.dataset.test_split={request.test_split!r}: has records of config.dataset.train_split="
            f"{request.train_split!r}; accepted: images that no model trains on"
        )
    keys = builder.info.supervised_keys
    train, test = (
        _split(source, name, keys, request) for source, name in zip(sources, names.values(), strict=True)
    )
    return Dataset(train, test, tuple(builder.info.features[keys[1]].names))


def _imported() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise InvalidInputError(
            f"config.dataset.source='tfds': needs packages that are not installed ({error}); accepted: after "
            f"{INSTALL}"
        ) from error
    return tensorflow_datasets


def _prepared(package: Any, request: Request) -> Any:
    """Returns the builder of the data set, prepared on the disk."""
    name = request.name
    try:
        builder = package.builder(name, data_dir=request.data_dir or None, file_format="array_record")
    except Exception as error:
        if "File format is already set" in str(error):
            raise InvalidInputError(
                f"config.dataset.data_dir={request.data_dir!r}: holds {name} in another file format than "
                "array_record; accepted: another folder, where it is then prepared"
            ) from error
        raise InvalidInputError(
            f"config.dataset.name={name!r}: {_first_line(error)}; accepted: a data set that "
            "tensorflow-datasets lists"
        ) from error
    kinds = (package.features.Image, package.features.ClassLabel)
    features, keys = builder.info.features, builder.info.supervised_keys or ()
    if len(keys) != 2 or not all(
        isinstance(features[key], kind) for key, kind in zip(keys, kinds, strict=True)
    ):
        raise InvalidInputError(
            f"config.dataset.name={name!r}: does not pair images with classes, as is needed here"
        )
    if not builder.is_prepared():
        logging.info("preparing %s under %s", name, builder.data_dir)
        try:
            builder.download_and_prepare()
        except Exception as error:
            needed = f"; accepted: after {INSTALL}" if isinstance(error, ImportError) else ""
            raise InvalidInputError(
                f"config.dataset.name={name!r}: could not be downloaded and prepared "
                f"({_first_line(error)}){needed}"
            ) from error
    return builder


def _source(builder: Any, field: str, name: str) -> Any:
    try:
        return builder.as_data_source(name)
    except Exception as error:
        raise InvalidInputError(
            f"config.dataset.{field}={name!r}: {_first_line(error)}; accepted: of the splits "
            f"{', '.join(builder.info.splits)}"
        ) from error


def _split(source: Any, name: str, keys: tuple[str, str], request: Request) -> Split:
    """Reads the records of a split; `keys` name what they hold: an image and its class."""
    shape = (len(source), request.image_size, request.image_size, request.channels)
    pixels, *_ = scratch.opened(request.scratch, name, shape)
    labels = np.empty(len(source), np.int32)
    ids = [f"{name}-{row:07d}" for row in range(len(source))]
    for row, record in enumerate(_records(source, request.name)):
        try:
            pixels[row] = _fitted(record[keys[0]], request)
        except images.UnreadableImageError as error:
            raise InvalidInputError(f"config.dataset.name={request.name!r}: {ids[row]}: {error}") from error
        labels[row] = record[keys[1]]
        if "id" in record:
            ids[row] = _id(record["id"])
    if len(set(ids)) < len(ids):  # they name groups of records
        ids = [f"{id}-{row:07d}" for row, id in enumerate(ids)]
    order = np.array(sorted(range(len(ids)), key=lambda row: natural(ids[row])), np.intp)
    return Split(images.taken(pixels, order), labels[order], tuple(ids[row] for row in order))


def _fitted(pixels: np.ndarray, request: Request) -> np.ndarray:
    shape = (request.image_size, request.image_size, request.channels)
    if pixels.dtype == np.uint8 and pixels.shape == shape:
        return pixels
    return images.fitted(pixels, request)


def _id(value: Any) -> str:
    """Returns a record's id, of any type, as text."""
    value = value.item() if hasattr(value, "item") else value
    return printable(value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value))


def _overlap(builder: Any, *names: str) -> bool:
    """Tells whether two splits have records in common, by where these lie in the files."""
    a, b = ([_range(part) for part in builder.info.splits[name].file_instructions] for name in names)
    return any(file == other and max(x, u) < min(y, v) for file, x, y in a for other, u, v in b)


def _range(part: Any) -> tuple[str, int, int]:
    return part.filename, part.skip, part.skip + part.take


def _records(source: Any, name: str) -> Iterator[dict[str, Any]]:
    for start in range(0, len(source), CHUNK):
        try:
            records = source.__getitems__(range(start, min(start + CHUNK, len(source))))
        except Exception as error:
            raise InvalidInputError(
                f"config.dataset.name={name!r}: its records cannot be decoded ({_first_line(error)}); "
                "accepted: images that tensorflow-datasets decodes without TensorFlow"
            ) from error
        yield from records


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
