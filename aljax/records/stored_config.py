"""The config of a run as config.json holds it: with versions, the device, and digests of the inputs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from aljax.config import FIELDS, check, flatten
from aljax.config.checks import accepts
from aljax.errors import InvalidInputError
from aljax.records import files
from aljax.records.files import Record
from aljax.records.lines import digest, parsed

NAME = "config.json"

# Versions and device, which may differ when a run is continued.
ENVIRONMENT = ("versions", "device")

# The only fields in which the parts of a joined run may differ.
OF_A_PART = ("trials", "first_trial")

# Digests of inputs that the config names without holding them.
DIGESTS = {
    "data_sha256": "the data set",
    "encoder_sha256": "the encoder, or its weights,",
    "strategies_sha256": "a strategy's file",
    "training_sha256": "the file of the network, optimizer or schedule",
}

_ABSENT = object()


def load(path: Path) -> Record:
    """Loads what config.json holds; raises InvalidInputError if that is not what aljax writes."""
    try:
        stored = parsed(files.read(path))
        if not isinstance(stored, dict):
            raise ValueError("it is not a JSON object")
        if missing := [name for name in ENVIRONMENT if name not in stored]:
            raise ValueError(f"it lacks {missing[0]!r}")
    except ValueError as error:
        raise InvalidInputError(f"{path}: is not a config that aljax wrote ({error})") from error
    return stored


def save(path: Path, stored: Mapping[str, Any]) -> None:
    """Writes config.json; raises RunError where that cannot be."""
    files.write(path, (json.dumps(stored, indent=2) + "\n").encode())


def checked(path: Path) -> Record:
    """Loads the config of a run, and checks every field; JSON's lists are tuples in a config.

    Raises:
      InvalidInputError: if it cannot be read, or is not the config of a run.
    """
    config = fields(load(path))
    for group in (config, *(value for value in config.values() if isinstance(value, dict))):
        group |= {name: tuple(value) for name, value in group.items() if isinstance(value, list)}
    try:
        check(config)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path}: is not a config that aljax wrote ({error})") from error
    return config


def check_kinds(path: Path, stored: Record) -> None:
    """Checks the fields that are there, of a run of any version, for reading alone.

    Raises:
      InvalidInputError: if one has a value that no run has.
    """
    groups = {name.partition(".")[0] for name in FIELDS if "." in name}
    for group in groups & stored.keys():
        if not isinstance(stored[group], dict):
            raise InvalidInputError(f"{path}: {group} is {stored[group]!r:.60}; accepted: the group's fields")
    for name, value in flatten(fields(stored)).items():
        field, shown = FIELDS.get(name), tuple(value) if isinstance(value, list) else value
        if field and not accepts(field, shown):
            raise InvalidInputError(f"{path}: {name} is {value!r:.60}; accepted: {field.accepted}")


def fields(stored: Record) -> Record:
    """Returns the fields of the config alone."""
    return {name: value for name, value in stored.items() if name not in (*ENVIRONMENT, *DIGESTS)}


def equal(stored: Record, config: Record, environment: Record) -> bool:
    """Tells whether config.json holds this config and environment, and nothing else."""
    return stored == as_json({**config, **environment})


def renewed(stored: Record, config: Record) -> Record:
    """Returns what config.json is to hold once fields of the config have changed."""
    return {**as_json(config), **{name: stored[name] for name in (*ENVIRONMENT, *DIGESTS) if name in stored}}


def flat(path: Path) -> Record:
    """Returns the fields of a stored config, by dotted names; raises InvalidInputError if it is damaged."""
    return flatten(load(path))


def check_same_config(
    path: Path, stored: Record, config: Record, environment: Record, free: Sequence[str] = ()
) -> None:
    """Logs that a run goes on with other versions or another device.

    Fields named in `free` may differ. One that the run was begun without, by an older version, was as its
    default is.

    Raises:
      InvalidInputError: if the stored config is another, naming each field that differs.
    """
    old, new = flatten(fields(stored)), flatten(as_json(config))
    defaults = as_json({name: field.default for name, field in FIELDS.items()})
    differing = [
        f"config.{name} is {_shown(new, name)}, was {_shown(old, name)}"
        for name in sorted(old.keys() | new.keys())
        if name not in free and old.get(name, defaults.get(name, _ABSENT)) != new.get(name, _ABSENT)
    ]
    if differing:
        raise InvalidInputError(
            f"{path}: made with another config: {'; '.join(differing)}; accepted: the same config, "
            "or another --workdir"
        )
    before = {name: stored[name] for name in ENVIRONMENT}
    if before != environment:
        logging.warning("%s: this run was started with %s, and goes on with %s", path, before, environment)


def check_same(workdir: Path, field: str, value: str) -> None:
    """Stores a digest in config.json; refuses another one later on.

    Args:
      workdir: the run directory.
      field: a key of `DIGESTS`.
      value: the digest, in hexadecimal digits.

    Raises:
      InvalidInputError: if the run was begun with another: its results would not go together.
    """
    path = workdir / NAME
    stored = load(path)
    if field not in stored:
        save(path, {**stored, field: value})
    elif stored[field] != value:
        raise InvalidInputError(
            f"{path}: {DIGESTS[field]} has changed since the run was begun ({field} is {value[:12]}, was "
            f"{str(stored[field])[:12]}); accepted: the same as then, or another --workdir"
        )


def identity(workdir: Path) -> str:
    """Returns a digest of the config and the data of a run, alike for parts that `join` can join.

    Raises:
      InvalidInputError: if config.json cannot be read.
    """
    stored = load(workdir / NAME)
    own = {name: value for name, value in stored.items() if name not in (*ENVIRONMENT, *OF_A_PART)}
    return digest(json.dumps(own, sort_keys=True).encode())


def as_json(value: Record) -> Record:
    """Returns a record as JSON gives it back: lists in place of tuples."""
    return json.loads(json.dumps(value))


def _shown(known: Record, name: str) -> str:
    return repr(known[name]) if name in known else "absent"
