"""Scoring against PyTorch, ResNet-18 with loss module: python -m benchmarks.scoring [--out FILE].

Images lie on the device as uint8; both give log probabilities and predicted losses, in
evaluation mode. aljax computes in float32 on a CPU and in bfloat16 elsewhere. The runs alternate, and
a ratio says how many times as long as aljax a way takes. The scores of all strategies that
look at one image at a time are then taken from the outputs, and their cost is given as a
share of the forward pass.
"""

import argparse
from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from aljax import scoring
from aljax.training import predict
from benchmarks import common
from benchmarks.train_step import Setting, add_setting, setting, synthetic

SCORES = (scoring.least_confidence, scoring.margin, scoring.entropy)


@jax.jit
def all_scores(outputs: dict[str, jax.Array]) -> list[jax.Array]:
    """Every score of every image, [P] each."""
    return [jax.vmap(score)(outputs["log_probs"]) for score in SCORES] + [outputs["predicted_loss"]]


def ours(given: Setting, chunk: int) -> Callable[[], dict[str, jax.Array]]:
    """The forward pass of aljax over all images."""
    size = len(given.examples.labels)
    indices = jax.device_put(np.arange(size, dtype=np.int32), given.everywhere)
    forward = partial(
        predict.predict,
        networks=given.networks,
        wanted=("log_probs", "predicted_loss"),
        chunk=chunk,
        sharding=given.sharding,
    )
    return partial(jax.jit(forward), given.state, given.examples, indices, np.int32(size))


def peers_of(images: np.ndarray, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """The forward pass of PyTorch in the precisions that the options ask for, by name."""
    if not options.against:
        return {}
    import torch

    from benchmarks import peers
    from benchmarks.train_step import MEAN, RECIPE, STD, WAYS

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    arrays = [torch.tensor(array, device=device) for array in (images, MEAN, STD)]
    ways: dict[str, Callable[[], object]] = {}
    for name in options.against:
        training = peers.Training(RECIPE, 10, options.width, device, **WAYS[name])
        ways[f"PyTorch {name}"] = partial(training.predict, arrays[0], options.chunk, *arrays[1:])
    return ways


def main(arguments: list[str] | None = None) -> None:
    """Runs all of it."""
    parser = common.parser(__doc__)
    add_setting(parser, ("float32", "bfloat16"))
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--chunk", type=int, default=512, help="images in one pass")
    options = parser.parse_args(arguments)
    images, labels = synthetic(options.images)
    forward = ours(setting(images, labels, options, options.chunk), options.chunk)
    outputs = jax.block_until_ready(forward())
    ways = {"aljax": forward, **peers_of(images, options)}
    figures = common.compared(common.alternate(ways, options.repeats), "aljax")
    scores = common.alternate({"all scores": partial(all_scores, outputs)}, 5)["all scores"]
    share = float(np.median(scores)) / figures["aljax"]["seconds"]
    rows = common.rates(figures, len(labels))
    common.show(f"{len(labels):,} images, ResNet-18 of width {options.width}", rows)
    print(f"all scores together: {100 * share:.2f} % of the forward pass")
    common.write(
        options.out,
        {"options": {**vars(options), "out": None}, "scoring": figures, "scores_share": share},
    )


if __name__ == "__main__":
    main()
