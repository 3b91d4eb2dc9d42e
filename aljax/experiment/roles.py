"""The role of each configured strategy: uncertainty, diversity, acquisition or comparison."""

from collections.abc import Mapping
from typing import Any


def names_of(config: Mapping[str, Any], cycle: int) -> dict[str, str]:
    """Maps each role of a cycle to its strategy.

    Without a model, in cycle 1, the strategy of the first batch acquires, and all others are random.

    A strategy that acquires or is compared has a role of its own where it is neither the
    uncertainty nor the diversity strategy.
    """
    names = {"uncertainty": config["uncertainty"], "diversity": config["diversity"]}
    for name in (config["acquire"], *config["compare"]):
        names.setdefault(role_of(config, name), name)
    if cycle == 1:
        return {**dict.fromkeys(names, "random"), acquired(config, 1): config["initial"]["strategy"]}
    return names


def role_of(config: Mapping[str, Any], name: str) -> str:
    """Returns the role of a strategy; of a role, the role itself."""
    for role in ("uncertainty", "diversity"):
        if name in (role, config[role]):
            return role
    return f"strategy {name}"


def acquired(config: Mapping[str, Any], cycle: int) -> str:
    """Returns the role whose selection is labeled; in cycle 1 the same whatever acquires later on."""
    return "uncertainty" if cycle == 1 else role_of(config, config["acquire"])


def recorded(config: Mapping[str, Any], cycle: int) -> dict[str, str]:
    """Returns the strategies that a cycle's line names: the main pair, and the one that acquired."""
    names = names_of(config, cycle)
    return {
        "uncertainty": names["uncertainty"],
        "diversity": names["diversity"],
        "acquired": names[acquired(config, cycle)],
    }


def space_of(config: Mapping[str, Any], cycle: int) -> str:
    """Returns the space that a cycle's strategies see; without a model, in cycle 1, what was given."""
    return "given" if cycle == 1 else config["space"]
