"""The trained model of a run in one file, model.npz, and what it predicts of image files."""

import json
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from aljax import models
from aljax.config import embedded
from aljax.data import images
from aljax.data.sources import embeddings, unlabeled
from aljax.data.sources.base import LeftOut, Request
from aljax.data.sources.folder import complaint
from aljax.errors import InvalidInputError, first_line
from aljax.experiment import inputs
from aljax.experiment.study import Study
from aljax.records import arrays, chosen, manifest, stored_config
from aljax.records.checkpoints import Progress
from aljax.training import ensemble
from aljax.training.augment import standardize

NAME = manifest.MODEL
BATCH = 64  # images in one pass


class Model(NamedTuple):
    """A trained classifier."""

    class_names: tuple[str, ...]  # K
    network: Any  # called as network.apply(variables, images, train=False) -> (logits [B, K], stages)
    variables: Any
    mean: np.ndarray  # [C], in units of 0..255
    std: np.ndarray  # [C]
    request: Request  # how images are read, or embedded

    def predict(self, paths: Iterable[str | Path]) -> np.ndarray:
        """Returns the probability of each class for image files, [n, K]; see `predict`."""
        return predict(self, [str(path) for path in paths])


def save(study: Study, progress: Progress, identity: str) -> None:
    """Writes the model of a run, of an ensemble the first, with all that predicting takes.

    Args:
      study: the study.
      progress: the model.
      identity: a digest of what it was trained on.
    """
    state = ensemble.first(progress.state)
    variables = {"params": state.params["backbone"], "batch_stats": state.batch_stats}
    flat = traverse_util.flatten_dict(jax.device_get(variables), sep="/")
    config = study.config
    about = {
        "identity": identity,
        "class_names": study.class_names,
        "model": {**config["model"], "dtype": "float32"},
        "dataset": {name: config["dataset"][name] for name in ("image_size", "channels", "background")},
        "embedded": embedded(config["dataset"]),
        "encoder": config["dataset"]["encoder"],
        "encoder_sha256": stored_config.load(study.workdir / stored_config.NAME).get("encoder_sha256", ""),
    }
    content = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "mean": np.asarray(study.train_set.mean),
        "std": np.asarray(study.train_set.std),
        **{f"variables/{name}": np.asarray(array) for name, array in flat.items()},
    }
    manifest.replace(study.workdir, {NAME: arrays.packed(content)})


def identity(workdir: Path) -> str:
    """Returns the digest of what the model of a run was trained on; "" without a model that can be read."""
    try:
        manifest.check(workdir, NAME)
        return str(json.loads(arrays.unpacked(workdir / NAME)["about"].tobytes())["identity"])
    except (InvalidInputError, ValueError, KeyError, TypeError):
        return ""


def load(workdir: str | Path) -> Model:
    """Loads the model of a run directory.

    Raises:
      InvalidInputError: if there is none yet, or it is damaged, or its encoder is not as it was.
    """
    path = Path(os.path.expanduser(workdir)) / NAME
    manifest.check(path.parent, NAME)
    if not path.exists():
        raise InvalidInputError(f"{path}: no such file; accepted: a run that has trained on people's labels")
    try:
        stored = arrays.unpacked(path)
        about = json.loads(stored["about"].tobytes())
        start = "variables/"
        flat = {name.removeprefix(start): x for name, x in stored.items() if name.startswith(start)}
        request = Request("", **about["dataset"])
        class_names = tuple(about["class_names"])
        mean, std = stored["mean"], stored["std"]
        size, encoder = request.image_size, about.get("encoder", "")
        given = about.get("embedded", False)
        dtype = np.float32 if given else np.uint8
        shape = mean.shape if given else (size, size, request.channels)
        settings = {**about["model"], "dtype": jnp.dtype(about["model"]["dtype"])}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path}: damaged ({error}); accepted: the file that aljax wrote") from error
    if encoder:
        request = request._replace(reader=inputs.reader(path, encoder, size, about["encoder_sha256"]))
    elif given:
        request = request._replace(reader=_refused)
    network = models.build(len(class_names), settings, shape)
    variables = traverse_util.unflatten_dict(flat, sep="/")
    try:
        jax.eval_shape(partial(_forward, network), variables, np.zeros((1, *shape), dtype), mean, std)
    except Exception as error:  # of weights that are not the network's, almost any kind
        raise InvalidInputError(
            f"{path}: damaged ({first_line(error)}); accepted: the file that aljax wrote"
        ) from error
    return Model(class_names, network, variables, mean, std, request)


def predict(model: Model, paths: Sequence[str]) -> np.ndarray:
    """Returns the probability of each class for image files, [n, K].

    Raises:
      InvalidInputError: if a file cannot be decoded, naming the first.
    """
    pixels, reasons = images.read_all(paths, model.request, "reading images")
    for row, reason in reasons.items():
        raise InvalidInputError(f"{paths[row]}: cannot be read ({reason}); accepted: an image")
    return probabilities(model, pixels)


def table(model: Model, folder: Path) -> tuple[bytes, int, list[LeftOut]]:
    """Predicts every image at any depth of a folder.

    Returns:
      A CSV file of file, label, probability and a column per class, the number of images in it, and the
      files that are left out.

    Raises:
      InvalidInputError: if there is no such folder, or it holds no images that can be read.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{folder}: no such folder; accepted: a folder of images")
    paths, left_out = unlabeled.listed(folder)
    if not paths:
        raise InvalidInputError(f"{folder}: holds no images; accepted: PNG, JPEG or others that Pillow reads")
    pixels, reasons = images.read_all(list(paths.values()), model.request, "reading images")
    ids = list(paths)
    unreadable = [LeftOut(ids[place], f"unreadable: {reason}") for place, reason in reasons.items()]
    if len(unreadable) == len(ids):
        raise InvalidInputError(complaint(folder, unreadable, 0).partition(", or config.")[0])
    kept = [place for place in range(len(ids)) if place not in reasons]
    content = _table(model, [ids[place] for place in kept], probabilities(model, pixels)[kept])
    return content, len(kept), [*unreadable, *left_out]


def table_of_embeddings(model: Model, path: Path) -> tuple[bytes, int, list[LeftOut]]:
    """Predicts every row of a file of embeddings, on which the model was trained; returns as `table`.

    Raises:
      InvalidInputError: if the file cannot be used, or its embeddings have another size.
    """
    ids, features = embeddings.features_of(path)
    if features.shape[1:] != model.mean.shape:
        raise InvalidInputError(
            f"{path}: its features have {features.shape[1]} values; accepted: {len(model.mean)}, as the model"
        )
    return _table(model, ids, probabilities(model, features)), len(ids), []


def _table(model: Model, ids: Sequence[str], shares: np.ndarray) -> bytes:
    """Returns a CSV file with a row for each image: its name, class and probabilities [n, K]."""
    rows = [
        (file, model.class_names[row.argmax()], f"{row.max():.6f}", *(f"{share:.6f}" for share in row))
        for file, row in zip(ids, shares, strict=True)
    ]
    return chosen.table(["file", "label", "probability", *model.class_names], rows)


def _refused(paths: Sequence[str], request: Request, title: str) -> NoReturn:
    raise InvalidInputError(
        f"{paths[0] if paths else 'images'}: accepted: a file of embeddings, as the model was trained on"
    )


def probabilities(model: Model, pixels: np.ndarray) -> np.ndarray:
    """Returns the probability of each class for images [n, S, S, C] uint8, or embeddings [n, D], [n, K]."""
    found = [np.empty((0, len(model.class_names)), np.float32)]
    for start in range(0, len(pixels), BATCH):
        some = np.asarray(pixels[start : start + BATCH])
        padded = np.pad(some, ((0, BATCH - len(some)), *[(0, 0)] * (some.ndim - 1)))
        found.append(
            np.asarray(_forward(model.network, model.variables, padded, model.mean, model.std))[: len(some)]
        )
    return np.concatenate(found)


@partial(jax.jit, static_argnames="network")
def _forward(network: Any, variables: Any, pixels: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    logits, _ = network.apply(variables, standardize(pixels, mean, std), train=False)
    return jax.nn.softmax(logits)
