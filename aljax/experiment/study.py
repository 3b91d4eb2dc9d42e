"""A study as its config describes it, ready to run: data and networks, devices and keys."""

import hashlib
import importlib.metadata
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh

import aljax
from aljax import models, registry
from aljax.config import check_fits, embedded, labeled_after
from aljax.data import dataset as data
from aljax.errors import InvalidInputError
from aljax.experiment import embed, inputs, roles, size
from aljax.records import chosen, manifest
from aljax.records import directory as records
from aljax.records.files import Record
from aljax.runtime import mesh, processes
from aljax.strategies import registry as strategies
from aljax.training import optimizers, schedules
from aljax.training import recipe as recipes
from aljax.training.feed import Images
from aljax.training.step import Networks

BLOCK = 256  # where people label, the images' number is rounded up to it: few more compile nothing anew


class Study(NamedTuple):
    """Holds all that stays the same over trials and cycles, but for the images that a trial makes."""

    config: Mapping[str, Any]
    workdir: Path
    networks: Networks
    recipe: recipes.Recipe
    mesh: Mesh
    train_set: Images  # on the host, in memory or mapped; room follows, for what is made or added
    test_set: Images
    key: jax.Array
    ids: Sequence[str]  # of the N images of the train split
    class_names: tuple[str, ...]
    identity: str  # of the config and the data, by which checkpoints know their run


def prepare(config: Mapping[str, Any], workdir: Path, devices: Mesh) -> Study:
    """Loads the data set, which stays on the host.

    Raises:
      InvalidInputError: if the data, or a user's own code, cannot be used or is not as it was.
    """
    dataset = processes.each(partial(inputs.load, config, workdir))
    check_fits(config, len(dataset.train.labels))
    digest = data.digest(dataset)
    processes.agree({"data_sha256": digest})
    processes.shared(partial(records.check_same, workdir, "data_sha256", digest))
    return assembled(config, workdir, devices, dataset)


def assembled(config: Mapping[str, Any], workdir: Path, devices: Mesh, dataset: data.Dataset) -> Study:
    """Builds the networks for a data set, which stays on the host.

    Raises:
      InvalidInputError: if a user's own code cannot be used or is not as it was.
    """
    names = {*roles.names_of(config, cycle=1).values(), *roles.names_of(config, cycle=2).values()}
    own = {"strategies_sha256": strategies.digest(names), "training_sha256": training_digest(config)}
    processes.agree(own)
    for name, digest in own.items():
        if digest:
            processes.shared(partial(records.check_same, workdir, name, digest))
    if dataset.left_out:
        left_out = chosen.table(["file", "reason"], dataset.left_out)
        processes.shared(partial(manifest.replace, workdir, {"left_out.csv": left_out}))
    mean, std = data.statistics(dataset)
    images, labels = dataset.train.images, dataset.train.labels
    made = room(config)
    added = made if config["oracle"] == "dataset" else -len(labels) % BLOCK
    image_shape = images.shape[1:]
    dtype = config["model"]["dtype"]
    if dtype == "auto":
        dtype = "float32" if devices.devices.flat[0].platform == "cpu" else "bfloat16"
    model = {**config["model"], "dtype": jnp.dtype(dtype)}
    backbone = models.build(len(dataset.class_names), model, image_shape)
    networks = Networks(backbone, models.LossPredictor(initialization=model["initialization"]))
    recipe = recipes.from_config(config["train"])
    most = labeled_after(config, config["cycles"]) if config["oracle"] == "dataset" else len(labels)
    count = most + min(config["subset_size"], len(labels))
    planned = size.of(config, networks, recipe, devices, count, image_shape, images.dtype.itemsize)
    size.check(planned)
    logging.info("%s", size.described(planned, config))
    train_set = Images(_padded(images, made), _padded(labels, added), mean, std)
    test_set = Images(dataset.test.images, dataset.test.labels, mean, std)
    return Study(
        config=config,
        workdir=workdir,
        networks=networks,
        recipe=recipe,
        mesh=devices,
        train_set=train_set,
        test_set=test_set,
        key=jax.jit(jax.random.key)(np.uint32(config["seed"])),
        ids=dataset.train.ids,
        class_names=dataset.class_names,
        identity=processes.shared(partial(records.identity, workdir)),
    )


def check_training(config: Mapping[str, Any]) -> None:
    """Raises InvalidInputError if the network, optimizer or schedule does not exist or cannot run."""
    recipe = recipes.from_config(config["train"])
    models.find(config["model"]["name"])
    optimizers.check(recipe)
    schedules.check(recipe)


def training_digest(config: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of the files of a user's own network, optimizer and schedule; "" without any."""
    train = config["train"]
    named = {config["model"]["name"]: models.find}
    named |= {train["optimizer"]: optimizers.find, train["schedule"]: schedules.find}
    own = [name.encode() + registry.source(find(name)) for name, find in named.items() if ":" in name]
    return hashlib.sha256(b"".join(own)).hexdigest() if own else ""


def room(config: Mapping[str, Any]) -> int:
    """Counts the images that a trial may make: those that are labeled, and the proposals of a cycle."""
    if config["scenario"] != "synthesis":
        return 0
    return (config["cycles"] - 1) * config["budget"] + config["subset_size"]


def _padded(rows: Any, count: int) -> Any:
    return np.pad(rows, ((0, count), *[(0, 0)] * (rows.ndim - 1))) if count else rows


def key_of(study: Study, trial: int, cycle: int, name: str) -> jax.Array:
    """Returns the key of one use of randomness: each trial, cycle and name has its own."""
    return _folded(study.key, *_numbers(trial, cycle, name))


def keys_of(study: Study, trial: int, cycle: int, names: Sequence[str]) -> jax.Array:
    """Returns the keys of several uses of randomness, [n], as `key_of` does one."""
    return _each_folded(study.key, *_numbers(trial, cycle, *names))


def _numbers(trial: int, cycle: int, *names: str) -> tuple[np.ndarray, np.int32, np.int32]:
    """Returns what is folded into the study's key: numbers of the names [n], of the trial and the cycle."""
    return (
        np.array([zlib.crc32(name.encode()) for name in names], np.uint32),
        np.int32(trial),
        np.int32(cycle),
    )


@jax.jit
def _folded(key: jax.Array, numbers: jax.Array, trial: jax.Array, cycle: jax.Array) -> jax.Array:
    for number in (numbers[0], trial, cycle):
        key = jax.random.fold_in(key, number)
    return key


@jax.jit
def _each_folded(key: jax.Array, numbers: jax.Array, trial: jax.Array, cycle: jax.Array) -> jax.Array:
    return jax.vmap(lambda number: _folded(key, number[None], trial, cycle))(numbers)


def capacity(study: Study) -> int:
    """Returns the most images that are ever labeled; people may label all of them."""
    if study.config["oracle"] != "dataset":
        return len(study.train_set.labels)
    return labeled_after(study.config, study.config["cycles"])


def places(study: Study, labeled: int) -> int:
    """Counts the images that a training has room for on a device, if so many are labeled.

    It is all that will ever be labeled, so that a training is compiled once; where people label, the next
    power of two.
    """
    if study.config["oracle"] == "dataset":
        return capacity(study)
    return min(capacity(study), max(BLOCK, 1 << (labeled - 1).bit_length()))


def steps_of(study: Study, cycle: int) -> int:
    """Counts the steps of a cycle's training, if none of its labeled images is held out."""
    return recipes.steps_of(study.recipe, labeled_after(study.config, cycle))


def chunk(study: Study) -> int:
    """Counts the images scored in one pass; a multiple of the number of devices, as the batch is."""
    return 4 * study.recipe.batch_size


def local_mesh(config: Mapping[str, Any]) -> Mesh:
    """Returns the devices of this host that the config asks for."""
    if config["dataset"]["encoder"]:
        embed.spread()  # starts JAX with all cores, of which training may use fewer
    try:
        return mesh.local(config["devices"], config["train"]["batch_size"], batch_pixels(config))
    except ValueError as error:
        raise InvalidInputError(
            f"config.devices={config['devices']}: {error}; accepted: 0 for all, or fewer"
        ) from error


def batch_pixels(config: Mapping[str, Any]) -> int:
    """Counts the pixels in a batch; an embedding counts as one."""
    data_set = config["dataset"]
    pixels = 1 if embedded(data_set) else data_set["image_size"] ** 2
    return config["train"]["batch_size"] * pixels


def environment(devices: Mesh) -> Record:
    """Returns the versions and the devices, on which a run's numbers depend beside its config."""
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")}
    kind = devices.devices.flat[0].device_kind
    return {"versions": {**versions, "aljax": aljax.__version__}, "device": f"{devices.size} x {kind}"}
