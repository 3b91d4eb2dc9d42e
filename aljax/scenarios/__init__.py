"""Scenarios: the ways in which images come to a learner."""

from collections.abc import Mapping
from typing import Any


def of_cycle(config: Mapping[str, Any], cycle: int) -> str:
    """Returns the scenario of a cycle: the config's, but the pool in cycle 1, which has no model."""
    return "pool" if cycle == 1 else config["scenario"]
