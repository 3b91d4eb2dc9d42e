"""The plan of a config: how many images each cycle labels, and whether they are embedded."""

from collections.abc import Mapping
from typing import Any


def budget_of(config: Mapping[str, Any], cycle: int) -> int:
    """Returns how many images a cycle (from 1) labels; configs of older runs have no `initial`."""
    first = config.get("initial", {}).get("budget", 0) if cycle == 1 else 0
    return first or config["budget"]


def labeled_after(config: Mapping[str, Any], cycle: int) -> int:
    """Returns how many images are labeled after a cycle, in a pool."""
    return budget_of(config, 1) + (cycle - 1) * config["budget"] if cycle else 0


def embedded(dataset: Mapping[str, Any]) -> bool:
    """Tells whether a config's table `dataset` gives embeddings, [N, D], in place of images."""
    return dataset["source"] == "embeddings" or bool(dataset.get("encoder"))
