"""Checks of a config: every field by itself, and the fields beside each other, before anything is loaded."""

import difflib
from collections.abc import Mapping
from typing import Any

from aljax.config.fields import FIELDS, Field, flatten
from aljax.config.plan import budget_of, embedded, labeled_after
from aljax.errors import InvalidInputError


def check(config: Mapping[str, Any]) -> None:
    """Checks a config by itself.

    Names that stand for code (strategies, sources of data) are checked where they are looked up.

    Args:
      config: nested dictionaries, as `get_config().to_dict()` of a config file gives them.

    Raises:
      InvalidInputError: with one line that names the field, its value and what is accepted.
    """
    values = flatten(config)
    for name, value in values.items():
        if name not in FIELDS:
            raise InvalidInputError(f"config.{name}={value!r}: {unknown(name)}")
    for name, field in FIELDS.items():
        if name not in values:
            raise InvalidInputError(f"config.{name}: is missing; accepted: {field.accepted}")
        if not accepts(field, values[name]):
            raise invalid(name, values[name], field.accepted)
    _check_selection(values)
    _check_embeddings(values)
    _check_training(values)
    _check_scenario(values)
    _check_stopping(values)
    if values["oracle"] != "dataset":
        _check_people(values)


def accepts(field: Field, value: Any) -> bool:
    """Tells whether a value is of a field's type, and one that it accepts."""
    kind = type(field.default)
    try:
        return (type(value) is kind or (kind is float and type(value) is int)) and field.accepts(value)
    except (ArithmeticError, TypeError, ValueError):  # a whole number that is no float, a strange tuple
        return False


def check_fits(config: Mapping[str, Any], size: int) -> None:
    """Checks that the data set is large enough for what the config plans.

    Args:
      config: a config that was checked by itself.
      size: images in the train split.

    Raises:
      InvalidInputError: with one line that names the field, its value and what is accepted.
    """
    cycles, budget, subset_size = (config[name] for name in ("cycles", "budget", "subset_size"))
    if subset_size > size:
        raise invalid("subset_size", subset_size, f"at most {size}, the images to train with")
    spare = size - subset_size - budget_of(config, 1)
    most = 1 if spare < 0 else spare // budget + 2
    if config["scenario"] != "synthesis" and cycles > most:
        left = size - labeled_after(config, cycles - 1)
        smaller = f"; or with a config.subset_size of at most {left}" if left > budget else ""
        why = f"as each labels {budget} of the {size} images and selects from {subset_size} others"
        raise invalid("cycles", cycles, f"at most {most}, {why}{smaller}")


def unknown(name: str) -> str:
    """Returns what to say of a field that does not exist."""
    members = [field for field in FIELDS if field.startswith(f"{name}.")]
    if members:
        return f"a group; accepted: its fields, {', '.join(members)}"
    return f"unknown field; {closest(name)}accepted: {', '.join(FIELDS)}"


def closest(name: str) -> str:
    """Returns "did you mean config.NAME?; " for a field that was misspelled or lacks its group, or ""."""
    last = name.rpartition(".")[2]
    of_last = {field.rpartition(".")[2]: field for field in reversed(FIELDS)}
    close = [field for field in FIELDS if field == name or field.endswith(f".{last}")]
    close += difflib.get_close_matches(name, FIELDS, n=1)
    close += [of_last[found] for found in difflib.get_close_matches(last, of_last, n=1)]
    return f"did you mean config.{close[0]}?; " if close else ""


def invalid(name: str, value: Any, accepted: str) -> InvalidInputError:
    """Returns the error that refuses a field's value."""
    try:
        shown = repr(value)
    except ValueError:  # a number of thousands of digits
        shown = f"a {type(value).__name__} too long to show"
    return InvalidInputError(f"config.{name}={shown}: accepted: {accepted}")


def _check_selection(values: Mapping[str, Any]) -> None:
    budget, subset_size = values["budget"], values["subset_size"]
    if budget >= subset_size:
        raise invalid("budget", budget, f"less than config.subset_size={subset_size}")
    if values["initial.budget"] >= subset_size:
        accepted = f"0, or less than config.subset_size={subset_size}"
        raise invalid("initial.budget", values["initial.budget"], accepted)
    if values["cycles"] * budget > 2**31 - 1:
        raise invalid(
            "cycles", values["cycles"], f"at most {(2**31 - 1) // budget} with config.budget={budget}"
        )
    if values["trials"] * values["cycles"] > 1_000_000:
        most = 1_000_000 // values["cycles"]
        raise invalid("trials", values["trials"], f"at most {most} with config.cycles={values['cycles']}")


def _check_embeddings(values: Mapping[str, Any]) -> None:
    source, encoder = values["dataset.source"], values["dataset.encoder"]
    if encoder and source not in ("folder", "unlabeled"):
        raise invalid("dataset.encoder", encoder, "'', or with config.dataset.source='folder' or 'unlabeled'")
    if encoder and values["dataset.cache"]:
        accepted = "'', with config.dataset.encoder: the run directory keeps the embeddings"
        raise invalid("dataset.cache", values["dataset.cache"], accepted)
    if encoder and values["dataset.channels"] != 3:
        raise invalid("dataset.channels", values["dataset.channels"], "3, with config.dataset.encoder")
    vectors = embedded({"source": source, "encoder": encoder})
    if values["space"] == "given" and not vectors:
        accepted = "'model', or with config.dataset.source='embeddings' or config.dataset.encoder"
        raise invalid("space", "given", accepted)
    if vectors and values["model.name"] in ("resnet18", "airbench"):
        raise invalid(
            "model.name", values["model.name"], "with embeddings, linear, mlp, or your own of inputs [B, D]"
        )
    if vectors and values["scenario"] == "synthesis":
        raise invalid("scenario", "synthesis", "pool or stream, as embeddings are no images to change")


def _check_training(values: Mapping[str, Any]) -> None:
    batch_size, epochs = values["train.batch_size"], values["train.epochs"]
    if batch_size % 2:
        raise invalid("train.batch_size", batch_size, "an even number, as the ranking loss pairs examples")
    if batch_size % max(values["devices"], 1):
        raise invalid("devices", values["devices"], f"a divisor of config.train.batch_size={batch_size}")
    milestones = values["train.milestones"]
    shares = [value if value < 1 else value / epochs for value in milestones]
    if shares != sorted(set(shares)) or (shares and shares[-1] > 1):
        raise invalid(
            "train.milestones",
            milestones,
            f"{FIELDS['train.milestones'].accepted}, at most config.train.epochs={epochs}",
        )
    warmup = values["train.warmup"]
    if values["train.schedule"] == "step" and shares and shares[0] < warmup:
        raise invalid("train.warmup", warmup, f"at most config.train.milestones={milestones}, as shares")
    if values["train.detach_epoch"] > epochs:
        raise invalid(
            "train.detach_epoch", values["train.detach_epoch"], f"at most config.train.epochs={epochs}"
        )
    if values["train.pad"] >= values["dataset.image_size"]:
        size = values["dataset.image_size"]
        raise invalid("train.pad", values["train.pad"], f"less than config.dataset.image_size={size}")


def _check_scenario(values: Mapping[str, Any]) -> None:
    if values["scenario"] == "stream":
        if values["acquire"] not in ("uncertainty", values["uncertainty"]):
            raise invalid("acquire", values["acquire"], "uncertainty in a stream, whose policy asks")
        most = (2**31 - 1) // values["budget"]
        if values["subset_size"] > most:
            raise invalid("subset_size", values["subset_size"], f"in a stream, at most {most}")
    if values["scenario"] == "synthesis":
        limits = [values[f"synthesis.{name}"] for name in ("degrees", "shift", "zoom", "mix", "flip")]
        if limits == [0, 0, 1, 0, False]:
            raise invalid("synthesis.degrees", limits[0], "above 0, where nothing else is changed either")
        shift, size = values["synthesis.shift"], values["dataset.image_size"]
        if shift >= size:
            raise invalid("synthesis.shift", shift, f"less than config.dataset.image_size={size}")


def _check_people(values: Mapping[str, Any]) -> None:
    """Checks what people cannot label: several trials, streams, made images, a larger first batch."""
    needed = {"trials": 1, "first_trial": 0, "scenario": "pool", "warm_start": False, "validation_folds": 0}
    needed |= {"initial.budget": 0}
    needed |= {f"stop.{name}": 0 for name in ("labels", "accuracy", "patience", "stability")}
    for name, value in needed.items():
        if values[name] != value:
            raise invalid(name, values[name], f"{value} with config.oracle={values['oracle']!r}")


def _check_stopping(values: Mapping[str, Any]) -> None:
    fraction, folds = values["validation_fraction"], values["validation_folds"]
    first = "initial.budget" if values["initial.budget"] else "budget"
    budget = values[first]
    if fraction and not 1 <= round(fraction * budget) < budget:
        accepted = f"0, or a share that is an image of config.{first}={budget}"
        raise invalid("validation_fraction", fraction, accepted)
    if folds > budget:
        raise invalid("validation_folds", folds, f"at most config.{first}={budget}")
    if fraction and folds:
        raise invalid("validation_folds", folds, f"0, as config.validation_fraction={fraction}")
    if folds and values["scenario"] == "synthesis":
        raise invalid("validation_folds", folds, "0, as an image made from a fold is not new to the others")
    if folds and values["warm_start"]:
        raise invalid("validation_folds", folds, "0, as config.warm_start keeps what was learned of a fold")
    for name in ("accuracy", "patience"):
        value = values[f"stop.{name}"]
        if value and not (fraction or folds):
            raise invalid(
                f"stop.{name}", value, "0, or with a validation_fraction or validation_folds above 0"
            )
    if 0 < values["stop.labels"] < budget:
        raise invalid("stop.labels", values["stop.labels"], f"0, or at least config.{first}={budget}")
