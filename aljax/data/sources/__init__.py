"""Where data sets come from: a function of a `Request` that returns a `Dataset`, by name."""

from collections.abc import Callable

from aljax.data.sources.base import Dataset, Request
from aljax.data.sources.embedded import embedded
from aljax.data.sources.folder import folder
from aljax.data.sources.tfds import tfds

SOURCES: dict[str, Callable[[Request], Dataset]] = {
    "embedded": embedded,
    "folder": folder,
    "tfds": tfds,
}
