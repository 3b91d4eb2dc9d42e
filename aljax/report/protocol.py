"""The study's protocol, and the accuracies published for its data.

The protocol is configs/cifar10.py itself: a run is the study if it differs in none of its fields, but
for those in `FREE`.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from aljax.config import FIELDS, flatten, study

STUDY = (
    "The study is a two-page conference paper in Korean on uncertainty (Learning Loss) against diversity "
    "(Core-set) on CIFAR-10, whose text reached this project without title or authors."
)
POINTS = {2: -0.355, 10: 0.596}  # the study's C by cycle: of 39 and of 404 shared images of 1,000
FREE = (  # may differ
    *("seed", "devices", "checkpoint_minutes", "first_trial", "compare", "page.port", "tracker"),
    *("dataset.data_dir", "dataset.labels", "dataset.class_names", "oracle"),
)


class Band(NamedTuple):
    """A published range of test accuracy on CIFAR-10, of a ResNet-18 trained afresh."""

    labeled: int
    strategy: str  # that chose the labels; "any" at the first
    low: float  # %
    high: float  # %


BANDS = (
    Band(1_000, "any", 46, 51),
    Band(5_000, "random", 76, 80.5),
    Band(5_000, "learning_loss", 80.5, 85),
    Band(10_000, "random", 85, 88),
    Band(10_000, "core_set", 89, 90),
    Band(10_000, "entropy", 89.5, 90.6),
    Band(10_000, "learning_loss", 90, 91),
)


@functools.cache
def protocol() -> Mapping[str, Any]:
    """Returns the fields that make the study, by dotted names, with their values in configs/cifar10.py."""
    fields = json.loads(json.dumps(flatten(study("cifar10").to_dict())))
    return {name: fields[name] for name in FIELDS if name not in FREE}


def departures(config: Mapping[str, Any]) -> list[str]:
    """Returns the fields in which a config differs from the study's, as "field value (the study: value)"."""
    fields = json.loads(json.dumps(flatten(dict(config))))
    if fields.get("acquire") == fields.get("uncertainty"):
        fields["acquire"] = "uncertainty"  # the same, by another name
    return [
        f"{name} {fields.get(name, 'absent')} (the study: {value})"
        for name, value in protocol().items()
        if fields.get(name) != value
    ]


def is_on_data(config: Mapping[str, Any]) -> bool:
    """Tells whether a run is on the study's data: CIFAR-10, with all classes and images."""
    data = config["dataset"]
    return data["name"] == "cifar10" and not data.get("classes") and not data.get("images")


def has_points(config: Mapping[str, Any]) -> bool:
    """Tells whether a run's C can be shown beside the study's: the same data, budget and sub-pool."""
    same = all(config[name] == protocol()[name] for name in ("budget", "subset_size"))
    return same and is_on_data(config)


def bands(config: Mapping[str, Any]) -> list[Band]:
    """Returns the published accuracies beside which a run on this data can be shown."""
    return list(BANDS) if is_on_data(config) else []
