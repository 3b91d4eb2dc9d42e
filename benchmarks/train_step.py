"""Training against PyTorch, ResNet-18 with loss module: python -m benchmarks.train_step [--out FILE].

All of a step counts: shuffling, augmentation, forward, backward, optimizer. aljax computes in
float32 on a CPU and in bfloat16 elsewhere, as its configs have it. `--against` names the ways of
PyTorch: with everything on the device, `float32`, `bfloat16` (by autocast), that `compiled`, and on a GPU
that as one CUDA graph, `graph`; and `loader`, the usual research loop (float32, a DataLoader that crops and
mirrors Pillow images). The runs alternate. A ratio says how many times as long as aljax a way takes.
"""

import argparse
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from aljax.models import LossPredictor, ResNet18
from aljax.runtime import compilation, mesh
from aljax.training import step as train
from aljax.training.recipe import Recipe
from benchmarks import common

RECIPE = Recipe(
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    milestones=(160,),
    decay=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    ranking_weight=1.0,
    margin=1.0,
    detach_epoch=120,
    pad=4,
    flip=True,
)


def synthetic(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random images [N, 32, 32, 3] uint8 and labels [N] of 10 classes."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count).astype(np.int32)


WAYS = {  # to run PyTorch: images from a DataLoader, else they lie on the device
    "float32": {"autocast": False, "compiled": False},
    "bfloat16": {"autocast": True, "compiled": False},
    "compiled": {"autocast": True, "compiled": True},
    "graph": {"autocast": True, "compiled": True, "graph": True},
    "loader": {"autocast": False, "compiled": False},
}
MEAN, STD = np.full(3, 120, np.float32), np.full(3, 64, np.float32)  # about those of CIFAR-10


class Setting(NamedTuple):
    """Networks and images of aljax, on the devices."""

    state: train.TrainState
    examples: train.Examples
    networks: train.Networks
    everywhere: NamedSharding
    sharding: NamedSharding


def setting(images: np.ndarray, labels: np.ndarray, options: argparse.Namespace, batch: int) -> Setting:
    """What the options ask for; `batch` images are computed at a time."""
    if options.device:
        jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[options.device])
    compilation.set_flags()
    devices = mesh.local(0, batch)
    on_cpu = devices.devices.flat[0].platform == "cpu"
    dtype = options.dtype or ("float32" if on_cpu else "bfloat16")
    backbone = ResNet18(10, options.width, jnp.dtype(dtype))
    networks = train.Networks(backbone, LossPredictor())
    state = train.init(jax.random.key(0), networks=networks, recipe=RECIPE, image_shape=images.shape[1:])
    everywhere = mesh.everywhere(devices)
    state = jax.device_put(state, everywhere)
    examples = train.Examples(*jax.device_put((images, labels, MEAN, STD), everywhere))
    return Setting(state, examples, networks, everywhere, mesh.spread(devices))


def ours(given: Setting, recipe: Recipe) -> Callable[[], object]:
    """An epoch of aljax, to be called again and again."""
    size = len(given.examples.labels)
    indices = jax.device_put(np.arange(size, dtype=np.int32), given.everywhere)
    held = {"state": given.state}

    def epoch() -> object:
        held["state"], metrics = train.train_epoch(
            held["state"],
            given.examples,
            indices,
            np.int32(size),
            np.int32(0),
            np.int32(recipe.epochs),
            jax.random.key(1),
            networks=given.networks,
            recipe=recipe,
            sharding=given.sharding,
        )
        return metrics

    return epoch


def peers_of(
    images: np.ndarray, labels: np.ndarray, recipe: Recipe, options: argparse.Namespace
) -> dict[str, Callable[[], object]]:
    """An epoch of PyTorch in each of the ways that the options ask for, by name."""
    if not options.against:
        return {}
    import torch

    from benchmarks import peers

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    arrays = [torch.tensor(a, device=device) for a in (images, labels.astype(np.int64), MEAN, STD)]
    ways: dict[str, Callable[[], object]] = {}
    for name in options.against:
        batches: Callable[[], Any] = partial(peers.on_device, arrays, recipe, len(labels))
        if name == "loader":
            dataset = peers.FromPillow(images, labels, MEAN, STD, recipe)
            loader = peers.loader(dataset, recipe, options.workers, device)
            batches = partial(peers.from_loader, loader, device)
        training = peers.Training(recipe, 10, options.width, device, **WAYS[name])
        ways[f"PyTorch {name}"] = partial(training.epoch, batches)
    return ways


def add_setting(parser: argparse.ArgumentParser, ways: Collection[str]) -> None:
    """The options that the benchmarks of the networks share; PyTorch can be run in these ways."""
    parser.add_argument("--device", choices=("cpu", "gpu"), help="by default a GPU where there is one")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of aljax; by default as its configs"
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--against",
        nargs="*",
        choices=ways,
        default=["float32", "bfloat16"],
        help="ways to run PyTorch; without a name, none",
    )


def main(arguments: list[str] | None = None) -> None:
    """Runs all of it."""
    parser = common.parser(__doc__)
    add_setting(parser, WAYS)
    parser.add_argument("--batch", type=int, default=128, help="images in a step")
    parser.add_argument("--steps", type=int, default=8, help="in an epoch")
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    options = parser.parse_args(arguments)
    recipe = RECIPE._replace(batch_size=options.batch)
    images, labels = synthetic(options.batch * options.steps)
    given = setting(images, labels, options, options.batch)
    if "graph" in options.against and jax.default_backend() != "gpu":
        parser.error("argument --against: graph needs a GPU, and JAX has none here")
    ways = {"aljax": ours(given, recipe), **peers_of(images, labels, recipe, options)}
    figures = common.compared(common.alternate(ways, options.repeats, warm_up="each time"), "aljax")
    rows = common.rates(figures, len(labels))
    common.show(f"ResNet-18, width {options.width}, {options.steps} steps of {options.batch} images", rows)
    common.write(options.out, {"options": {**vars(options), "out": None}, "train_step": figures})


if __name__ == "__main__":
    main()
