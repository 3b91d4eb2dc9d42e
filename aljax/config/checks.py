"""What a config may hold: every field, its type and its range, checked before anything is loaded."""

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aljax.data.dataset import SOURCES, Dataset
from aljax.errors import InvalidInputError
from aljax.records.directory import flatten
from aljax.scenarios.stream import POLICIES, SCALES
from aljax.strategies.registry import find, needs_of


class Field(NamedTuple):
    """One field's type, the values it takes, and how to say so."""

    type: type
    accepts: Callable[[Any], bool]
    accepted: str


def _whole(low: int, high: int | None = None) -> Field:
    text = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    return Field(int, lambda value: low <= value and (high is None or value <= high), text)


def _real(low: float, high: float = float("inf"), above: bool = False) -> Field:
    text = f"a number {'above' if above else 'of at least'} {low:g}"
    if high < float("inf"):
        text += f" and at most {high:g}"
    return Field(float, lambda value: (low < value if above else low <= value) and value <= high, text)


def _one_of(names: Any) -> Field:
    names = tuple(names)
    return Field(str, lambda value: value in names, "one of " + ", ".join(names))


_flag = Field(bool, lambda value: True, "True or False")
_text = Field(str, lambda value: True, "a text")
_name = Field(str, bool, "a name")

SCENARIOS = ("pool", "stream", "synthesis")

FIELDS: dict[str, Field] = {
    "seed": _whole(0, 2**32 - 1),
    "trials": _whole(1, 1_000_000),
    "first_trial": _whole(0, 1_000_000),
    "cycles": _whole(1, 1_000_000),
    "budget": _whole(1),
    "subset_size": _whole(2),
    "uncertainty": _name,
    "diversity": _name,
    "acquire": _name,
    "compare": Field(
        tuple,
        lambda value: all(type(name) is str for name in value) and len(set(value)) == len(value) != 1,
        "two or more different strategies, as in ('margin', 'core_set'), or ()",
    ),
    "ensemble": _whole(1, 1024),
    "shared_batches": _flag,
    "warm_start": _flag,
    "scenario": _one_of(SCENARIOS),
    "validation_fraction": _real(0, 0.9),
    "validation_folds": Field(int, lambda value: value == 0 or value >= 2, "0 for none, or at least 2"),
    "retries": _whole(0),
    "devices": _whole(0),
    "checkpoint_minutes": _real(0),
    "dataset.source": _one_of(SOURCES),
    "dataset.name": _name,
    "dataset.data_dir": _text,
    "dataset.train_split": _name,
    "dataset.test_split": _name,
    "dataset.image_size": _whole(8, 1024),
    "dataset.channels": Field(int, lambda value: value in (1, 3), "1 (grey) or 3 (colour)"),
    "dataset.classes": Field(int, lambda value: value == 0 or value >= 2, "0 for all, or at least 2"),
    "dataset.images": _whole(0),
    "model.width": _whole(1, 1024),
    "model.dtype": _one_of(("auto", "float32", "bfloat16")),
    "train.epochs": _whole(1),
    "train.batch_size": _whole(2),
    "train.learning_rate": _real(0, above=True),
    "train.milestones": Field(
        tuple, lambda value: all(type(epoch) is int and epoch >= 1 for epoch in value), "epochs of at least 1"
    ),
    "train.decay": _real(0, 1, above=True),
    "train.momentum": _real(0, 0.9999),
    "train.weight_decay": _real(0),
    "train.ranking_weight": _real(0),
    "train.margin": _real(0, above=True),
    "train.detach_epoch": _whole(0),
    "train.pad": _whole(0),
    "train.flip": _flag,
    "train.one_cycle": _real(0, 0.9),
    "train.label_smoothing": _real(0, 0.9),
    "train.nesterov": _flag,
    "stream.policy": _one_of(POLICIES),
    "stream.threshold": Field(float, math.isfinite, "a finite number"),
    "stream.step": _real(0, 0.5, above=True),
    "stream.window": _whole(1),
    "synthesis.degrees": _real(0, 180),
    "synthesis.shift": _real(0),
    "synthesis.zoom": _real(1, 100),
    "synthesis.mix": _real(0, 0.5),
    "synthesis.flip": _flag,
    "stop.labels": _whole(0),
    "stop.accuracy": _real(0, 1),
    "stop.patience": _whole(0),
    "stop.tolerance": _real(0, 1),
    "stop.stability": _real(0, 1),
    "stop.window": _whole(1),
}


def check(config: Mapping[str, Any]) -> None:
    """Checks a config by itself.

    Args:
      config: nested dictionaries, as a config file's `get_config().to_dict()` gives them.

    Raises:
      InvalidInputError: with one line that names the field, its value and what is accepted.
    """
    values = flatten(dict(config))
    for name, value in values.items():
        if name not in FIELDS:
            raise InvalidInputError(f"config.{name}={value!r}: {unknown(name)}")
    for name, field in FIELDS.items():
        if name not in values:
            raise InvalidInputError(f"config.{name}: is missing; accepted: {field.accepted}")
        value = values[name]
        of_type = type(value) is field.type or (field.type is float and type(value) is int)
        if not of_type or value != value or not field.accepts(value):
            raise _refusal(name, value, field.accepted)
    _check_strategies(values)
    budget, subset_size = values["budget"], values["subset_size"]
    if budget >= subset_size:
        raise _refusal("budget", budget, f"less than config.subset_size={subset_size}")
    batch_size, epochs = values["train.batch_size"], values["train.epochs"]
    if batch_size % 2:
        raise _refusal("train.batch_size", batch_size, "an even number, as the ranking loss pairs examples")
    if batch_size % max(values["devices"], 1):
        raise _refusal("devices", values["devices"], f"a divisor of config.train.batch_size={batch_size}")
    milestones = values["train.milestones"]
    if list(milestones) != sorted(set(milestones)) or (milestones and milestones[-1] > epochs):
        raise _refusal(
            "train.milestones", milestones, f"rising epochs of at most config.train.epochs={epochs}"
        )
    if milestones and values["train.one_cycle"]:
        raise _refusal("train.milestones", milestones, "() with config.train.one_cycle above 0")
    if values["train.detach_epoch"] > epochs:
        raise _refusal(
            "train.detach_epoch", values["train.detach_epoch"], f"at most config.train.epochs={epochs}"
        )
    if values["train.pad"] >= values["dataset.image_size"]:
        raise _refusal(
            "train.pad",
            values["train.pad"],
            f"less than config.dataset.image_size={values['dataset.image_size']}",
        )
    _check_scenario(values)
    _check_stopping(values)


def _check_scenario(values: Mapping[str, Any]) -> None:
    if values["scenario"] == "stream":
        uncertainty = values["uncertainty"]
        if uncertainty not in SCALES and ":" not in uncertainty:
            raise _refusal(
                "uncertainty", uncertainty, f"in a stream, one that scores each image: {', '.join(SCALES)}"
            )
        if values["acquire"] not in ("uncertainty", uncertainty):
            raise _refusal("acquire", values["acquire"], "uncertainty in a stream, whose policy asks")
        most = (2**31 - 1) // values["budget"]
        if values["subset_size"] > most:
            raise _refusal("subset_size", values["subset_size"], f"in a stream, at most {most}")
    if values["scenario"] == "synthesis":
        limits = [values[f"synthesis.{name}"] for name in ("degrees", "shift", "zoom", "mix", "flip")]
        if limits == [0, 0, 1, 0, False]:
            raise _refusal("synthesis.degrees", limits[0], "above 0, where nothing else is changed either")
        shift, size = values["synthesis.shift"], values["dataset.image_size"]
        if shift >= size:
            raise _refusal("synthesis.shift", shift, f"less than config.dataset.image_size={size}")


def _check_stopping(values: Mapping[str, Any]) -> None:
    fraction, folds, budget = values["validation_fraction"], values["validation_folds"], values["budget"]
    if fraction and not 1 <= round(fraction * budget) < budget:
        raise _refusal(
            "validation_fraction", fraction, f"0, or a share that is an image of config.budget={budget}"
        )
    if folds > budget:
        raise _refusal("validation_folds", folds, f"at most config.budget={budget}")
    if fraction and folds:
        raise _refusal("validation_folds", folds, f"0, as config.validation_fraction={fraction}")
    if folds and values["scenario"] == "synthesis":
        raise _refusal("validation_folds", folds, "0, as an image made from a fold is not new to the others")
    if folds and values["warm_start"]:
        raise _refusal("validation_folds", folds, "0, as config.warm_start keeps what was learned of a fold")
    for name in ("accuracy", "patience"):
        if values[f"stop.{name}"] and not (fraction or folds):
            raise _refusal(
                f"stop.{name}",
                values[f"stop.{name}"],
                "0, or with a validation_fraction or validation_folds above 0",
            )
    if 0 < values["stop.labels"] < budget:
        raise _refusal("stop.labels", values["stop.labels"], f"0, or at least config.budget={budget}")


def unknown(name: str) -> str:
    """What to say of a field that there is not."""
    members = [field for field in FIELDS if field.startswith(f"{name}.")]
    if members:
        return f"a group; accepted: its fields, {', '.join(members)}"
    close = difflib.get_close_matches(name, FIELDS, n=1)
    meant = f" (did you mean config.{close[0]}?)" if close else ""
    return f"unknown field{meant}; accepted: {', '.join(FIELDS)}"


def _check_strategies(values: Mapping[str, Any]) -> None:
    """Every strategy is there, and has the ensemble that it needs."""
    fields = {f"config.{role}": [values[role]] for role in ("uncertainty", "diversity", "acquire")}
    if values["acquire"] in ("uncertainty", "diversity"):
        del fields["config.acquire"]
    for field, names in {**fields, "config.compare": values["compare"]}.items():
        roles = "uncertainty, diversity, or " if field == "config.acquire" else ""
        for name in names:
            if "member_log_probs" in needs_of(find(name, field, roles)) and values["ensemble"] < 2:
                raise InvalidInputError(
                    f"config.ensemble={values['ensemble']}: accepted: at least 2, as {field}={name!r} asks "
                    "several models"
                )


def check_fits(config: Mapping[str, Any], dataset: Dataset) -> None:
    """Checks that the data set is large enough for what the config plans.

    Raises:
      InvalidInputError: with one line that names the field, its value and what is accepted.
    """
    size = len(dataset.train.labels)
    labeled = 0 if config["scenario"] == "synthesis" else (config["cycles"] - 1) * config["budget"]
    if config["subset_size"] > size - labeled:
        raise _refusal(
            "subset_size",
            config["subset_size"],
            f"at most {size - labeled}, as {labeled} of the {size} images are labeled before the last cycle",
        )


def _refusal(name: str, value: Any, accepted: str) -> InvalidInputError:
    return InvalidInputError(f"config.{name}={value!r}: accepted: {accepted}")
