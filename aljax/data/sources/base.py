"""The interface of a source: what it is asked for, and what it returns.

Shapes: N images, S x S pixels (one size for all), C channels (1 grey, 3 colour); or D numbers, where a
vector, an embedding, stands for each image.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from aljax.data.rows import Images
from aljax.errors import InvalidInputError

# (paths of N files, request, title of a progress bar) -> (a row for each, by row why a file is unreadable)
Reader = Callable[[Sequence[str], "Request", str], tuple[np.ndarray, dict[int, str]]]


class Request(NamedTuple):
    """The fields of config.dataset that sources read; each reads those that concern it."""

    name: str  # as the source calls the data set; for a folder, any
    image_size: int  # S, pixels; images of another size are resized
    channels: int  # C
    data_dir: str = ""  # where the data set lies; "": the source's default, if it has one
    images_dir: str = ""  # the folder of the images that embeddings stand for; "": it is not needed
    train_split: str = "train"  # a folder, or a split of tfds
    test_split: str = "test"
    skip_unreadable: bool = False  # leaves out files that cannot be decoded, in place of refusing them
    background: int = 0  # grey level behind transparent pixels, 0 to 255
    labels: str = ""  # a file that labels images; "": none
    class_names: tuple[str, ...] = ()  # (): those of the labels that there are
    scratch: str = ""  # a folder for decoded images, mapped from there; "": they are kept in memory
    reader: Reader | None = None  # reads image files in place of `data.images.read_all`


def check_unread(request: Request, source: str, *names: str) -> None:
    """Raises InvalidInputError if one of the fields `names`, which a source does not read, has a value."""
    for name in names:
        if value := getattr(request, name):
            raise InvalidInputError(
                f"config.dataset.{name}={value!r}: accepted: nothing with config.dataset.source={source!r}, "
                "which does not read it"
            )


class File(NamedTuple):
    """The file that holds an image."""

    path: str
    sha256: str  # of its bytes, in hexadecimal digits


class Split(NamedTuple):
    """Images in an order that never changes."""

    images: Images  # [N, S, S, C] uint8, or [N, D] float16 or float32
    labels: np.ndarray  # [N] int32; -1: unknown
    ids: Sequence[str]  # N names that stay the same wherever the data set is loaded
    files: tuple[File, ...] = ()  # N, or none where a source keeps no account of them


class LeftOut(NamedTuple):
    """A file that lies among the images and is not part of the data set."""

    file: str  # as an id
    reason: str  # one of few; a colon may separate details from it


class Facts(NamedTuple):
    """Holds what follows from all images of a data set; a cache keeps it, so that they need not be read."""

    sha256: str  # see `dataset.digest`
    mean: np.ndarray  # of the train split, see `dataset.channel_statistics`
    std: np.ndarray
    warning: str  # of test images that are training images too; "": none is


class Dataset(NamedTuple):
    """The pool that active learning draws from, and the test set that judges the models."""

    train: Split
    test: Split
    class_names: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    facts: Facts | None = None  # None: they are computed where they are asked for
