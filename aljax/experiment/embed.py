"""Embeds the images of a folder: one .npz file, made in parts so that it can be stopped and goes on.

Embeddings that the output or its parts hold already, by the same model and of images with the same bytes,
are not computed again: a command that was killed goes on, and one whose folder has grown embeds what is
new. On a CPU each image is computed alone, so that its values do not depend on those beside it.

Shapes: N images, S x S pixels, D values of an embedding, K classes.
"""

import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from aljax.data import images, workers
from aljax.data.names import natural
from aljax.data.sources import unlabeled
from aljax.data.sources.base import LeftOut, Reader, Request
from aljax.errors import InvalidInputError
from aljax.models.encoders import Encoder
from aljax.records import arrays, embeddings, files
from aljax.records.embeddings import Known
from aljax.runtime import mesh

PART = 128  # images that are decoded, computed and kept together
NAMED = 3  # unreadable files that an error names
EACH = 4  # images that a core of a CPU computes between two exchanges

# (paths by digest, request, a function that is called with each part) -> (embeddings, why a file could not be
# decoded; both by digest)
Engine = Callable[[dict[str, str], Request, Callable[[Known], object]], tuple[Known, dict[str, str]]]


class Embedded(NamedTuple):
    """Holds the embeddings of a folder, and the files without one."""

    files: tuple[str, ...]  # N paths below the folder
    features: np.ndarray  # [N, D] float32
    labels: np.ndarray  # [N] int32; -1 unknown
    split: tuple[str, ...]  # N of "train" or "test"
    class_names: tuple[str, ...]  # K
    left_out: tuple[LeftOut, ...]  # what else lies in the folder
    computed: int  # images, by this call


def spread() -> Mesh:
    """Returns the devices to embed on: of a CPU all cores, if JAX has not been started before."""
    return mesh.local(0, EACH * mesh.cores())


def embed(root: Path, out: Path, encoder: Encoder, engine: Engine, skip_unreadable: bool = False) -> Embedded:
    """Writes the embeddings of a folder's images, or of those that are new.

    Images in `root`/train/CLASS/ and `root`/test/CLASS/ are labeled; all others, at any depth, have the
    label -1 and belong to the train split. All are resized to S x S, as everywhere in aljax.

    Args:
      root: the folder.
      out: the .npz to write. It holds features, labels, files, split and class_names as in `Embedded`;
        sha256 [N], of the files; model and origin, the encoder's name and what its values depend on (JSON);
        and left_out, a line for each file that is not embedded.
      encoder: the model.
      engine: computes its embeddings, see `local`.
      skip_unreadable: leaves out files that cannot be decoded.

    Raises:
      InvalidInputError: if there is no image, if `out` holds something else, or if files cannot be decoded
        and `skip_unreadable` is False (what is embedded is kept).
      RunError: if a file could not be written.
    """
    paths, left_out = _listed(root)
    origin = origin_of(encoder)
    known = embeddings.known(out, origin)
    digests = {
        id: file.sha256 for id, file in zip(paths, unlabeled.hashed(list(paths.values())), strict=True)
    }
    todo = {digest: paths[id] for id, digest in digests.items() if digest not in known}
    request = Request(root.name, encoder.pixels, 3, str(root))
    keep = partial(embeddings.keep, out, origin=origin)
    new, reasons = engine(todo, request, keep)
    known |= new
    broken = [LeftOut(id, f"unreadable: {reasons[one]}") for id, one in digests.items() if one in reasons]
    if (broken and not skip_unreadable) or len(broken) == len(paths):
        raise InvalidInputError(_complaint(root, broken, len(paths)))
    kept = {id: digest for id, digest in digests.items() if digest in known}
    classes, splits = unlabeled.by_folder(kept, request)
    names = tuple(sorted({*classes.values()}, key=natural))
    numbers = {name: number for number, name in enumerate(names)}
    embedded = Embedded(
        files=tuple(kept),
        features=np.stack([known[digest] for digest in kept.values()]),
        labels=np.array([numbers[classes[id]] if id in classes else -1 for id in kept], np.int32),
        split=tuple(splits.get(id, "train") for id in kept),
        class_names=names,
        left_out=(*left_out, *broken),
        computed=len(new),
    )
    files.write(out, _packed(embedded, tuple(kept.values()), encoder.name, origin))
    shutil.rmtree(embeddings.parts_of(out), ignore_errors=True)
    return embedded


def origin_of(encoder: Encoder) -> str:
    """Returns all that the values of an encoder depend on beside the images, as JSON."""
    return json.dumps({"model": encoder.name, "pixels": encoder.pixels, **encoder.origin}, sort_keys=True)


def reader(encoder: Encoder, devices: Mesh, known: Known, keep: Callable[[Known], object]) -> Reader:
    """Returns a function that reads image files as their embeddings, [N, D] float32.

    Args:
      encoder: the model.
      devices: those that share the work.
      known: embeddings that need not be computed; those that are computed are added.
      keep: is called with each part that is computed.
    """
    compute = local(encoder, devices)

    def read(paths: Sequence[str], request: Request, title: str) -> tuple[np.ndarray, dict[int, str]]:
        readable = [path for path in paths if os.access(path, os.R_OK)]
        hashed = {file.path: file.sha256 for file in unlabeled.hashed(readable)}
        digests = [hashed.get(path, path) for path in paths]  # of others, reading says why not
        todo = {digest: path for digest, path in zip(digests, paths, strict=True) if digest not in known}
        new, reasons = compute(todo, request, keep)
        known.update(new)
        size = jax.eval_shape(
            encoder.apply, encoder.variables, np.zeros((1, *[encoder.pixels] * 2, 3), np.uint8)
        ).shape[1]
        features = np.zeros((len(paths), size), np.float32)
        for row, digest in enumerate(digests):
            if digest in known:
                features[row] = known[digest]
        return features, {row: reasons[one] for row, one in enumerate(digests) if one in reasons}

    return read


def _packed(embedded: Embedded, digests: tuple[str, ...], model: str, origin: str) -> bytes:
    named = {
        "files": embedded.files,
        "split": embedded.split,
        "class_names": embedded.class_names,
        "left_out": [f"{file}: {reason}" for file, reason in embedded.left_out],
        "sha256": digests,
        "model": model,
        "origin": origin,
    }
    texts = {name: np.array(text, np.str_) for name, text in named.items()}
    return arrays.packed({"features": embedded.features, "labels": embedded.labels, **texts})


def _listed(root: Path) -> tuple[dict[str, str], list[LeftOut]]:
    if not root.is_dir():
        raise InvalidInputError(f"{root}: no such folder; accepted: a folder of images")
    paths, left_out = unlabeled.listed(root)
    if not paths:
        raise InvalidInputError(f"{root}: holds no images; accepted: PNG, JPEG or others that Pillow reads")
    return paths, left_out


def local(encoder: Encoder, devices: Mesh) -> Engine:
    """Returns the engine that embeds on the devices of this process; worker processes decode meanwhile."""
    return partial(_computed, computing(encoder, devices), encoder.name)


def _computed(
    compute: Callable[[np.ndarray], np.ndarray],
    name: str,
    todo: dict[str, str],
    request: Request,
    keep: Callable[[Known], object],
) -> tuple[Known, dict[str, str]]:
    """Embeds image files, part after part; worker processes decode the next parts meanwhile.

    Raises:
      InvalidInputError: if an embedding is not finite.
    """
    known: Known = {}
    unreadable: dict[str, str] = {}
    parts = [list(todo)[start : start + PART] for start in range(0, len(todo), PART)]
    count = min(workers.cores(), len(parts))
    with workers.started(count) as ask, images.bar("embedding") as advance:

        def read(part: list[str]) -> tuple[np.ndarray, dict[int, str]]:
            return ask(images.read_some, [todo[digest] for digest in part], request)

        for part, (pixels, reasons) in zip(parts, _ahead(read, parts, count), strict=True):
            rows = [row for row in range(len(part)) if row not in reasons]
            if rows:
                values = finite(compute(pixels[rows]), name)
                new = {part[row]: one for row, one in zip(rows, values, strict=True)}
                keep(new)
                known |= new
            unreadable |= {part[row]: reason for row, reason in reasons.items()}
            advance(len(part), len(todo))
    return known, unreadable


def _ahead(function: Callable[[list[str]], Any], items: Sequence[list[str]], threads: int) -> Iterator[Any]:
    """Yields what a function returns for each item, in order; threads are at work on those that come next."""
    pool = ThreadPoolExecutor(max(threads, 1))
    try:
        running = deque(pool.submit(function, item) for item in items[:threads])
        for place in range(len(items)):
            result = running.popleft().result()
            running.extend(pool.submit(function, item) for item in items[place + threads :][:1])
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def finite(values: np.ndarray, name: str) -> np.ndarray:
    """Returns embeddings; raises InvalidInputError if one is not finite, naming the model."""
    if not np.isfinite(values).all():
        raise InvalidInputError(f"{name}: its values are not finite; accepted: a model whose values are")
    return values


def computing(encoder: Encoder, devices: Mesh) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the model as a function of images [n, S, S, 3] uint8 that returns embeddings [n, D] float32.

    On a CPU each core takes its images one by one: what a layer leaves then lies in the cache for the next.
    """
    on_cpu = devices.devices.flat[0].platform == "cpu"
    size = devices.size * (EACH if on_cpu else -(-PART // devices.size))

    def each(variables: Any, pixels: jax.Array) -> jax.Array:
        return lax.map(lambda image: encoder.apply(variables, image[None])[0], pixels)

    whole, examples = PartitionSpec(), PartitionSpec(mesh.AXIS)
    function = jax.jit(
        jax.shard_map(
            each if on_cpu else encoder.apply, mesh=devices, in_specs=(whole, examples), out_specs=examples
        )
    )
    variables = jax.device_put(encoder.variables, mesh.everywhere(devices))

    def compute(pixels: np.ndarray) -> np.ndarray:
        filled = np.pad(pixels, ((0, -len(pixels) % size), (0, 0), (0, 0), (0, 0)))
        batches = [function(variables, filled[start : start + size]) for start in range(0, len(filled), size)]
        return np.concatenate([np.asarray(batch, np.float32) for batch in batches])[: len(pixels)]

    return compute


def _complaint(root: Path, unreadable: Sequence[LeftOut], count: int) -> str:
    reasons = Counter(reason.removeprefix("unreadable: ") for _, reason in unreadable)
    counts = ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common())
    named = ", ".join(file for file, _ in unreadable[:NAMED])
    more = f" and {len(unreadable) - NAMED:,} more" if len(unreadable) > NAMED else ""
    skip = "" if len(unreadable) == count else ", or --skip-unreadable to leave these out"
    return (
        f"{root}: {len(unreadable):,} of {count:,} images cannot be read ({counts}): {named}{more}; "
        f"accepted: images that Pillow reads{skip}"
    )
