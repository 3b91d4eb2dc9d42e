"""A whole study beside the same in PyTorch: python -m benchmarks.study [--out FILE] [--config.FIELD=VALUE].

Learning Loss and Core-set, ResNet-18 with loss module: cycles of selecting, labeling, training from new
weights and evaluating. The peer is written as research code mostly is: a DataLoader over Pillow images, SGD
with MultiStepLR, distances by scikit-learn. Both take images, sizes and recipe from one config
(configs/digits.py, but one trial of 3 cycles where no field says otherwise), and take turns, with a seed of
their own in each round. Seconds are those of a process, its imports included. aljax runs as a user runs
it, through launch.py; its first run compiles, and is not counted.

Shapes: N images labeled, M in the sub-pool, D features, B the budget.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import pairwise_distances

from aljax.data import dataset as data
from aljax.data.sources.base import Request
from aljax.records import files, stored_config
from aljax.training import recipe as recipes
from benchmarks import common, peers
from benchmarks.cycle import ROOT, start

REDUCED = {"trials": 1, "cycles": 3}
CHUNK = 256  # images that the peer scores at once
PARTS = ("train", "score", "select", "evaluate")
PHASE = {"train": "train", "score": "score", "evaluate": "evaluate"}  # of aljax; all others select or record


class Peer:
    """The study in PyTorch, as a loop over cycles."""

    def __init__(self, config: Mapping[str, Any], workers: int):
        names = {"source", "name", "classes", "images", *Request._fields}
        self.dataset = data.load(
            **{name: value for name, value in config["dataset"].items() if name in names}
        )
        self.config = config
        self.recipe = recipes.from_config(config["train"])
        self.workers = workers
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the time of a block to a part's."""
        begin = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begin

    def run(self, seed: int) -> float:
        """Runs all cycles; returns the accuracy in the last."""
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        config, pool = self.config, self.dataset.train
        everything, budget = np.arange(len(pool.labels)), config["budget"]
        labeled = rng.choice(everything, budget, replace=False)
        training, accuracy = None, 0.0
        for _ in range(config["cycles"]):
            if training is not None:
                subset = rng.choice(np.setdiff1d(everything, labeled), config["subset_size"], replace=False)
                uncertain = self.selected(training, subset, labeled, budget)
                labeled = np.concatenate([labeled, uncertain])
            with self.part("train"):
                training = self.trained(labeled)
            with self.part("evaluate"):
                logits, _, _ = self.outputs(training, self.dataset.test.images)
                accuracy = float((logits.argmax(1) == self.dataset.test.labels).mean())
        return accuracy

    def trained(self, labeled: np.ndarray) -> peers.Training:
        """Trains new weights on the labeled images, [N]."""
        recipe, pool = self.recipe, self.dataset.train
        statistics = data.channel_statistics(pool.images)
        images = peers.FromPillow(pool.images[labeled], pool.labels[labeled], *statistics, recipe)
        loader = torch.utils.data.DataLoader(
            images,
            recipe.batch_size,
            shuffle=True,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )
        channels, classes = pool.images.shape[-1], len(self.dataset.class_names)
        width = self.config["model"]["width"]
        training = peers.Training(
            recipe, classes, width, "cpu", autocast=False, compiled=False, channels=channels
        )
        epochs = recipes.epochs_of(recipe, len(labeled))
        milestones = [round(epochs * recipes.share_of(place, recipe)) for place in recipe.milestones]
        schedule = torch.optim.lr_scheduler.MultiStepLR(training.optimizer, milestones, recipe.decay)
        for epoch in range(epochs):
            training.detach = epoch >= epochs * recipes.share_of(recipe.detach_epoch, recipe)
            training.epoch(lambda: peers.from_loader(loader, "cpu"))
            schedule.step()
        return training

    @torch.inference_mode()
    def outputs(self, training: peers.Training, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns logits [M, K], predicted losses [M] and features [M, D] of images."""
        training.networks.eval()
        statistics = [torch.tensor(values) for values in data.channel_statistics(self.dataset.train.images)]
        found = []
        for begin in range(0, len(images), CHUNK):
            x = peers.standardized(torch.tensor(images[begin : begin + CHUNK]), *statistics)
            found.append((*training.networks(x), training.networks.stages_of(x)[-1]))
        return tuple(torch.cat(values).numpy() for values in zip(*found, strict=True))

    def selected(
        self, training: peers.Training, subset: np.ndarray, labeled: np.ndarray, budget: int
    ) -> np.ndarray:
        """Selects by both strategies; returns the batch of Learning Loss, [B]."""
        images = self.dataset.train.images
        with self.part("score"):
            _, predicted, features = self.outputs(training, images[subset])
            _, _, of_labeled = self.outputs(training, images[labeled])
        with self.part("select"):
            uncertain = subset[np.argsort(-predicted)[:budget]]
            diverse = subset[farthest(features, of_labeled, budget)]
            assert len(np.intersect1d(uncertain, diverse)) <= budget
        return uncertain


def farthest(features: np.ndarray, centers: np.ndarray, budget: int) -> list[int]:
    """Takes, B times, the row of features [M, D] that is farthest from the nearest center."""
    nearest = pairwise_distances(features, centers).min(axis=1)
    chosen = []
    for _ in range(budget):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, pairwise_distances(features, features[chosen[-1:]])[:, 0])
    return chosen


def ours(workdir: Path, cache: Path, settings: list[str]) -> tuple[float, float, dict[str, float]]:
    """Runs aljax; returns its seconds, the last accuracy, and the seconds of the parts."""
    seconds = start(workdir, cache, settings)
    parts: dict[str, float] = defaultdict(float)
    for line in files.read_lines(workdir / "timings.jsonl")[0]:
        for name, value in line.items():
            if name not in ("trial", "cycle"):
                parts[PHASE.get(name, "select")] += value
    cycles, _ = files.read_lines(workdir / "cycles.jsonl")
    return seconds, cycles[-1]["accuracy"], parts


def theirs(config: Path, workers: int, seed: int) -> tuple[float, float, dict[str, float]]:
    """Runs the peer in a process of its own; returns the same."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.study", f"--workers={workers}"]
    done = subprocess.run(
        [*command, "--peer", str(config), str(seed)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return time.perf_counter() - begin, *json.loads(done.stdout)


def main(arguments: list[str] | None = None) -> None:
    """Runs all of it."""
    parser = common.parser(__doc__)
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--config", default=str(ROOT / "configs" / "digits.py"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--workers", type=int, default=0, help="of the peer's DataLoader; small images need none"
    )
    options, overrides = parser.parse_known_args(arguments)
    if options.peer:
        peer = Peer(stored_config.fields(stored_config.load(Path(options.peer[0]))), options.workers)
        print(json.dumps([peer.run(int(options.peer[1])), peer.seconds]))
        return
    given = {override.split("=", 1)[0] for override in overrides}  # a tuple given twice grows
    reduced = {f"--config.{name}": value for name, value in REDUCED.items()}
    settings = [f"{flag}={value}" for flag, value in reduced.items() if flag not in given] + overrides
    settings = [f"--config={options.config}", *settings]
    seconds: dict[str, list[float]] = {"aljax": [], "PyTorch": []}
    accuracy: dict[str, list[float]] = {"aljax": [], "PyTorch": []}
    parts: dict[str, list[Mapping[str, float]]] = {"aljax": [], "PyTorch": []}
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        start(Path(scratch) / "first", cache, settings)
        config = stored_config.fields(stored_config.load(Path(scratch) / "first" / "config.json"))
        for seed in range(options.rounds):
            rows = {
                "aljax": ours(Path(scratch) / f"run-{seed}", cache, [*settings, f"--config.seed={seed}"]),
                "PyTorch": theirs(Path(scratch) / "first" / "config.json", options.workers, seed),
            }
            for name, (taken, best, spent) in rows.items():
                seconds[name].append(taken)
                accuracy[name].append(best)
                parts[name].append(spent)
    figures = common.compared(seconds, "aljax")
    table = [
        {
            "": name,
            "s": figures[name]["seconds"],
            "times as long": figures[name]["ratio"],
            "from": figures[name]["ratio_low"],
            "to": figures[name]["ratio_high"],
            **{part: float(np.median([round_[part] for round_ in parts[name]])) for part in PARTS},
            "accuracy": float(np.mean(accuracy[name])),
            "±": float(np.std(accuracy[name])),
        }
        for name in seconds
    ]
    common.show(
        f"{config['cycles']} cycles of {config['budget']}, {options.rounds} rounds; parts in seconds", table
    )
    common.write(options.out, {"config": Path(options.config).stem, "settings": settings[1:], "study": table})


if __name__ == "__main__":
    main()
