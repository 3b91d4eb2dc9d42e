"""The plan of a config: how many images each cycle labels, and whether they are embedded."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def budget_of(config: Mapping[str, Any], cycle: int) -> int:
    """Returns how many images a cycle (from 1) labels; configs of older runs have no `initial`."""
    first = config.get("initial", {}).get("budget", 0) if cycle == 1 else 0
    return first or config["budget"]


def labeled_after(config: Mapping[str, Any], cycle: int) -> int:
    """Returns how many images are labeled after a cycle, in a pool."""
    return budget_of(config, 1) + (cycle - 1) * config["budget"] if cycle else 0


def images_in(dataset: Mapping[str, Any]) -> Path:
    """Returns the folder of the images that people are shown, of a config's table `dataset`."""
    shown = dataset.get("images_dir") if dataset["source"] == "embeddings" else dataset["data_dir"]
    return Path(os.path.expanduser(shown or ""))


def embedded(dataset: Mapping[str, Any]) -> bool:
    """Tells whether a config's table `dataset` gives embeddings, [N, D], in place of images."""
    return dataset["source"] == "embeddings" or bool(dataset.get("encoder"))
