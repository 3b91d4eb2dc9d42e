"""Image classification data sets as plain arrays.

Three sources: the handwritten digits that come with scikit-learn, any data set of
TensorFlow Datasets, and a folder of images. TensorFlow is imported only to prepare a
data set that is not on the disk yet.

Shapes: N images, S x S pixels (one size for all), C channels (1 grey, 3 colour).
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aljax.errors import InvalidInputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 64_000_000  # of one image file; more is taken for a decompression bomb
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


class Split(NamedTuple):
    """Labeled images in an order that never changes."""

    images: np.ndarray  # [N, S, S, C] uint8
    labels: np.ndarray  # [N] int32
    ids: tuple[str, ...]  # N names that stay the same wherever the data set is loaded


class Dataset(NamedTuple):
    """What active learning draws from, and what it is judged on."""

    train: Split
    test: Split
    class_names: tuple[str, ...]


def load(
    source: str,
    name: str,
    *,
    data_dir: str = "",
    train_split: str = "train",
    test_split: str = "test",
    image_size: int,
    channels: int,
    classes: int = 0,
    images: int = 0,
) -> Dataset:
    """Loads a data set.

    Args:
      source: a key of `SOURCES`.
      name: the data set's name; for "embedded" it is "digits", for "tfds" a name that
        TensorFlow Datasets knows, for "folder" whatever you call it.
      data_dir: for "folder" the folder that holds train/ and test/, for "tfds" where prepared
        data sets lie (empty: its own default).
      train_split, test_split: the names of the two splits (folders, or splits of tfds).
      image_size: S, pixels; images of another size are resized.
      channels: C.
      classes: keep the first so many classes; 0 keeps all.
      images: keep so many images of the train split, drawn at random, always the same; 0 keeps all.

    Returns:
      The data set.

    Raises:
      InvalidInputError: if it cannot be loaded, naming the file or field.
    """
    dataset = SOURCES[source](name, data_dir, train_split, test_split, image_size, channels)
    if len(dataset.class_names) < 2:
        raise InvalidInputError(f"config.dataset.name={name!r}: has one class alone; accepted: at least 2")
    for split_name, split in (("train", dataset.train), ("test", dataset.test)):
        if not len(split.labels):
            raise InvalidInputError(f"config.dataset.name={name!r}: its {split_name} split holds no images")
        low, high = int(split.labels.min()), int(split.labels.max())
        if low < 0 or high >= len(dataset.class_names):
            raise InvalidInputError(
                f"config.dataset.name={name!r}: labels of its {split_name} split run from {low} to "
                f"{high}; accepted: 0 to {len(dataset.class_names) - 1}"
            )
    return _part(dataset, classes or len(dataset.class_names), images)


def _part(dataset: Dataset, classes: int, images: int) -> Dataset:
    """The first classes alone, and some images of the train split alone."""
    if classes > len(dataset.class_names):
        raise InvalidInputError(
            f"config.dataset.classes={classes}: accepted: 0 or 2 to {len(dataset.class_names)}"
        )
    train, test = (
        _rows(split, np.flatnonzero(split.labels < classes)) for split in (dataset.train, dataset.test)
    )
    if images > len(train.labels):
        raise InvalidInputError(f"config.dataset.images={images}: accepted: 0 to {len(train.labels)}")
    if images:
        train = _rows(train, np.sort(np.random.default_rng(0).permutation(len(train.labels))[:images]))
    return Dataset(train, test, dataset.class_names[:classes])


def _rows(split: Split, rows: np.ndarray) -> Split:
    if len(rows) == len(split.labels):
        return split
    return Split(split.images[rows], split.labels[rows], tuple(split.ids[row] for row in rows))


def digest(dataset: Dataset) -> str:
    """The SHA-256 of all that a data set holds, in hexadecimal digits."""
    total = hashlib.sha256(repr(dataset.class_names).encode())
    for split in (dataset.train, dataset.test):
        total.update(repr(split.ids).encode())
        total.update(split.labels.tobytes())
        total.update(split.images.tobytes())
    return total.hexdigest()


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, in units of 0..255, two arrays [C] float32.

    A channel that never varies has deviation 1.
    """
    shares = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
    shares = shares / shares.sum(axis=1, keepdims=True)
    levels = np.arange(256)
    mean = shares @ levels
    std = np.sqrt(((levels - mean[:, None]) ** 2 * shares).sum(axis=1))
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _digits(
    name: str, data_dir: str, train_split: str, test_split: str, image_size: int, channels: int
) -> Dataset:
    """The 1,797 digits of 8x8 pixels of scikit-learn: 1,300 to train with, 497 to test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if name != "digits":
        raise InvalidInputError(f"config.dataset.name={name!r}: the embedded data set is 'digits'")
    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.stack([_fitted(_image_of(image), image_size, channels) for image in grey])
    labels = digits.target.astype(np.int32)
    train, test = train_test_split(np.arange(len(labels)), test_size=497, random_state=0, stratify=labels)

    def split(rows):
        rows = np.sort(rows)
        return Split(images[rows], labels[rows], tuple(f"digits-{row:04d}" for row in rows))

    return Dataset(split(train), split(test), tuple(str(digit) for digit in range(10)))


def _folder(
    name: str, data_dir: str, train_split: str, test_split: str, image_size: int, channels: int
) -> Dataset:
    """Images in `data_dir`/`split`/`class`/*, ordered by class and file name."""
    root = Path(data_dir)
    if not data_dir or not root.is_dir():
        raise InvalidInputError(f"config.dataset.data_dir={data_dir!r}: accepted: a folder that exists")
    classes = {split: _class_folders(root / split) for split in (train_split, test_split)}
    if classes[train_split] != classes[test_split]:
        odd = sorted(set(classes[train_split]) ^ set(classes[test_split]))
        raise InvalidInputError(
            f"{root}: class folders of {train_split}/ and {test_split}/ differ in {', '.join(odd)}"
        )
    class_names = classes[train_split]

    def split(split_name):
        files = [
            (path, label)
            for label, class_name in enumerate(class_names)
            for path in _image_files(root / split_name / class_name)
        ]
        images = np.stack([_read_image(path, image_size, channels) for path, _ in files])
        ids = tuple(path.relative_to(root).as_posix() for path, _ in files)
        return Split(images, np.array([label for _, label in files], np.int32), ids)

    return Dataset(split(train_split), split(test_split), class_names)


def _class_folders(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise InvalidInputError(
            f"{folder}: no such folder; accepted: one that holds a folder of images per class"
        )
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."))
    if not names:
        raise InvalidInputError(f"{folder}: holds no class folders; accepted: a folder of images per class")
    return names


def _image_files(folder: Path) -> list[Path]:
    paths = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."
    )
    if not paths:
        raise InvalidInputError(f"{folder}: holds no images; accepted: {', '.join(IMAGE_SUFFIXES)} files")
    return paths


def _read_image(path: Path, image_size: int, channels: int) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InvalidInputError(
                        f"{path}: {image.width} x {image.height} pixels; accepted: at most {MAX_PIXELS:,}"
                    )
                if image.mode not in EIGHT_BIT_MODES:
                    raise InvalidInputError(
                        f"{path}: pixels of mode {image.mode}; accepted: 8 bits per channel "
                        f"({', '.join(EIGHT_BIT_MODES)})"
                    )
                return _fitted(ImageOps.exif_transpose(image), image_size, channels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInputError(f"{path}: not a readable image ({reason}); accepted: PNG and JPEG") from error


def _image_of(pixels: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1:] == (1,) else pixels)


def _fitted(image: Any, image_size: int, channels: int) -> np.ndarray:
    """A PIL image as an array of the size and number of channels that the data set has."""
    from PIL import Image

    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image_size, image_size, channels)


def _tfds(
    name: str, data_dir: str, train_split: str, test_split: str, image_size: int, channels: int
) -> Dataset:
    """A data set of TensorFlow Datasets, ordered by its records' ids where they have one.

    Without ids the order is that of the prepared records, which preparing always yields alike.
    """
    import tensorflow_datasets as tfds
    from absl import logging

    try:
        builder = tfds.builder(name, data_dir=data_dir or None, file_format="array_record")
    except Exception as error:
        if "File format is already set" in str(error):
            raise InvalidInputError(
                f"config.dataset.data_dir={data_dir!r}: holds {name} in another file format than "
                "array_record; accepted: another folder, where it is then prepared"
            ) from error
        raise InvalidInputError(
            f"config.dataset.name={name!r}: {_first_line(error)}; accepted: a data set that "
            "tensorflow-datasets lists"
        ) from error
    keys = builder.info.supervised_keys
    features = builder.info.features or {}
    if (
        keys is None
        or not isinstance(features[keys[0]], tfds.features.Image)
        or not isinstance(features[keys[1]], tfds.features.ClassLabel)
    ):
        raise InvalidInputError(
            f"config.dataset.name={name!r}: does not pair images with classes, as is needed here"
        )
    if not builder.is_prepared():
        logging.info("preparing %s under %s", name, builder.data_dir)
        try:
            builder.download_and_prepare()
        except Exception as error:
            raise InvalidInputError(
                f"config.dataset.name={name!r}: could not be downloaded and prepared ({_first_line(error)})"
            ) from error

    def split(field, split_name):
        try:
            records = builder.as_data_source(split_name)
        except Exception as error:
            raise InvalidInputError(
                f"config.dataset.{field}={split_name!r}: {_first_line(error)}; accepted: of the splits "
                f"{', '.join(builder.info.splits)}"
            ) from error
        images = np.empty((len(records), image_size, image_size, channels), np.uint8)
        labels = np.empty(len(records), np.int32)
        ids = []
        for i, record in enumerate(_records(records)):
            pixels = record[keys[0]]
            if pixels.shape == images.shape[1:]:
                images[i] = pixels
            else:
                images[i] = _fitted(_image_of(pixels), image_size, channels)
            labels[i] = record[keys[1]]
            ids.append(record["id"].decode() if "id" in record else f"{split_name}-{i:07d}")
        order = np.argsort(ids, kind="stable")
        return Split(images[order], labels[order], tuple(ids[i] for i in order))

    train, test = split("train_split", train_split), split("test_split", test_split)
    return Dataset(train, test, tuple(features[keys[1]].names))


def _records(source: Any, chunk: int = 1000) -> Iterator[dict[str, Any]]:
    for start in range(0, len(source), chunk):
        yield from source.__getitems__(range(start, min(start + chunk, len(source))))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


SOURCES: dict[str, Callable[[str, str, str, str, int, int], Dataset]] = {
    "embedded": _digits,
    "folder": _folder,
    "tfds": _tfds,
}
