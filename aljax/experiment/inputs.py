"""The inputs of a study: its images, or embeddings of them by a pretrained network."""

import contextlib
import hashlib
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aljax.data import dataset as data
from aljax.data.sources.base import Reader
from aljax.errors import InvalidInputError
from aljax.experiment import embed
from aljax.models import encoders
from aljax.records import directory as records
from aljax.records import embeddings, manifest

FIELD = "config.dataset.encoder"


def load(config: Mapping[str, Any], workdir: Path, unknown: bool = False) -> data.Dataset:
    """Loads the data set of a study; with `dataset.encoder`, embeddings [N, D] stand for its images.

    The run directory keeps them by the digests of the image files: an image is embedded once.

    Args:
      config: of the study.
      workdir: the run directory.
      unknown: as in `data.load`.

    Raises:
      InvalidInputError: if the data or the encoder cannot be used, or the encoder is not as it was.
      RunError: if embeddings could not be written.
    """
    fields = dict(config["dataset"])
    if not (name := fields.pop("encoder", "")):
        return data.load(**fields, unknown=unknown)
    encoder = encoders.find(name, fields["image_size"], FIELD)
    origin = embed.origin_of(encoder)
    records.check_same(workdir, "encoder_sha256", digest(origin))
    out = workdir / embeddings.NAME
    known = embeddings.held(workdir, origin)
    keep = partial(embeddings.keep, out, origin=origin)
    dataset = data.load(**fields, unknown=unknown, reader=embed.reader(encoder, embed.spread(), known, keep))
    if (parts := embeddings.parts_of(out)).exists():
        manifest.replace(workdir, {out.name: embeddings.content(known, origin)})
        shutil.rmtree(parts)
    return dataset


def reader(model: Path, name: str, pixels: int, sha256: str) -> Reader:
    """Returns a function that reads image files as the embeddings that a model was trained on.

    Those that its run holds are not computed again; others are, and are not kept.

    Args:
      model: the file of the model, in the run directory.
      name: of the encoder.
      pixels: each way, of the images that it takes.
      sha256: of the encoder's origin, as the run's config.json has it.

    Raises:
      InvalidInputError: if the encoder cannot be used, or is not that of the run.
    """
    devices = embed.spread()
    encoder = encoders.find(name, pixels, FIELD)
    origin = embed.origin_of(encoder)
    if digest(origin) != sha256:
        raise InvalidInputError(
            f"{model}: was trained on embeddings of another {FIELD}={name!r} or of other weights; accepted: "
            "the encoder as it was"
        )
    known: embeddings.Known = {}
    with contextlib.suppress(InvalidInputError):  # of a damaged file, as if there were none
        known = embeddings.known(model.with_name(embeddings.NAME), origin)
    return embed.reader(encoder, devices, known, lambda part: None)


def digest(origin: str) -> str:
    """Returns the SHA-256 of an encoder's origin, in hexadecimal digits."""
    return hashlib.sha256(origin.encode()).hexdigest()
