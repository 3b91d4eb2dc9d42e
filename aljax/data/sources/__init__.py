"""Where data sets come from: a function of a `Request` that returns a `Dataset`, by name."""

from collections.abc import Callable

from aljax.data.sources.base import Dataset, Request
from aljax.data.sources.embedded import load_embedded
from aljax.data.sources.embeddings import load_embeddings
from aljax.data.sources.folder import load_folder
from aljax.data.sources.tfds import load_tfds
from aljax.data.sources.unlabeled import load_unlabeled

SOURCES: dict[str, Callable[[Request], Dataset]] = {
    "embedded": load_embedded,
    "embeddings": load_embeddings,
    "folder": load_folder,
    "tfds": load_tfds,
    "unlabeled": load_unlabeled,
}
