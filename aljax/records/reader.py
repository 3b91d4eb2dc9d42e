"""Reads a run directory for a report: all that is there, and the names of what is missing."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aljax import __version__
from aljax.config import FIELDS
from aljax.config.checks import accepts
from aljax.errors import InvalidInputError
from aljax.records import diagnostics, journal, manifest, stored_config
from aljax.records.files import Record, read, read_lines
from aljax.records.lines import parsed
from aljax.records.places import Place, place_of

LOGS = {
    "timings.jsonl": "no seconds per phase",
    "diagnostics.jsonl": "no distances, correlations or class counts",
    "pairs.jsonl": "",  # only runs that compare several strategies have it
}


NEEDED = {  # fields that the report reads in each line
    "timings.jsonl": (),
    "diagnostics.jsonl": ("distance", "radius", "spearman", "classes", "entropy"),
    "pairs.jsonl": ("a", "b", "C"),
}


class Run(NamedTuple):
    """A run directory, in memory."""

    path: Path
    config: dict[str, Any]
    lines: list[Record]  # of cycles.jsonl
    timings: list[Record]
    diagnostics: list[Record]
    pairs: list[Record]
    galleries: dict[Place, diagnostics.Gallery]
    missing: list[str]  # a sentence for each file that could not be read


def is_run(path: Path) -> bool:
    """Tells whether a folder is a run directory, of a study or of people, whatever state it is in."""
    records = ("cycles.jsonl", journal.NAME)
    return (path / stored_config.NAME).exists() and any((path / name).exists() for name in records)


def load(path: Path) -> Run:
    """Reads a run directory.

    Raises:
      InvalidInputError: if it has no readable config.json, or a line of its cycles.jsonl is damaged.
    """
    if not (path / "config.json").exists():
        raise InvalidInputError(f"{path}: no config.json; accepted: a run directory of aljax")
    try:
        config = parsed(read(path / "config.json"))
        needed = ("trials", "cycles", "budget", "subset_size", "uncertainty", "diversity", "dataset")
        for name in needed:
            if not isinstance(config, dict) or name not in config:
                raise ValueError(f"it lacks {name!r}")
        _check_fields(config)
        config["dataset"]["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path / 'config.json'}: not a config that aljax wrote ({error}); accepted: a run directory"
        ) from error
    stored_config.check_kinds(path / "config.json", config)
    lines = read_lines(path / "cycles.jsonl")[0]
    for number, line in enumerate(lines, start=1):
        for name in ("trial", "cycle", "labeled", "budget", "subset_size", "overlap", "chance", "accuracy"):
            unknown = name == "accuracy" and name in line and line[name] is None  # no image judges the model
            if not isinstance(line.get(name), int | float) and not unknown:
                raise InvalidInputError(
                    f"{path / 'cycles.jsonl'}:{number}: {name} is {line.get(name)!r}; accepted: a number"
                )
    missing = []
    if not (path / "cycles.jsonl").exists() and (path / manifest.NAME).exists():
        raise InvalidInputError(f"{path / 'cycles.jsonl'}: missing; accepted: the file that aljax wrote")
    if not (path / "cycles.jsonl").exists():
        missing.append("cycles.jsonl: no cycle is recorded")
    done = set(map(place_of, lines))
    logs = {}
    for name, consequence in LOGS.items():
        logs[name], problem = _log(path / name, done)
        if problem and (consequence or (path / name).exists()):
            missing.append(f"{name}: {problem}; {consequence or 'no pairs of strategies'}")
    galleries, problems = _galleries(path, done)
    missing += problems
    if any(cycle > 1 for _, cycle in done) and not galleries:
        missing.append("gallery/: missing; no images")
    if config.get("oracle", "dataset") != "dataset":  # without the labels of a sub-pool there is neither
        missing = [sentence for sentence in missing if not sentence.startswith(("gallery/", "diagnostics"))]
    return Run(
        path=path,
        config=config,
        lines=lines,
        timings=logs["timings.jsonl"],
        diagnostics=logs["diagnostics.jsonl"],
        pairs=logs["pairs.jsonl"],
        galleries=galleries,
        missing=missing,
    )


def _check_fields(config: dict[str, Any]) -> None:
    """Raises ValueError if a stored config has a field, or a group of fields, that no config could have."""
    for name, field in FIELDS.items():
        group, _, last = name.rpartition(".")
        values = config.get(group, {}) if group else config
        if not isinstance(values, dict):
            raise ValueError(f"{group} is no group of fields")
        value = values.get(last, field.default)
        if not accepts(field, tuple(value) if isinstance(value, list) else value):
            raise ValueError(f"{name} is not {field.accepted}")


def _log(path: Path, done: set[Place]) -> tuple[list[Record], str]:
    """Returns the lines of complete cycles, and a remark if any is missing."""
    try:
        lines, _ = read_lines(path)
    except InvalidInputError as error:
        return [], str(error).removeprefix(f"{path}:")
    for number, line in enumerate(lines, start=1):
        if lacking := [name for name in NEEDED[path.name] if name not in line]:
            return [], f"{number}: lacks {lacking[0]!r}"
    known = [line for line in lines if place_of(line) in done]
    if not path.exists():
        return [], "missing"
    absent = len(done - set(map(place_of, known)))
    return known, f"lacks {absent} of {len(done)} cycles" if absent else ""


def _galleries(path: Path, done: set[Place]) -> tuple[dict[Place, diagnostics.Gallery], list[str]]:
    galleries, problems = {}, []
    for trial, cycle in sorted(done):
        file = diagnostics.path_of(path, trial, cycle)
        if file.exists():
            try:
                galleries[trial, cycle] = diagnostics.unpacked(file)
            except ValueError as error:
                problems.append(f"{file.relative_to(path)}: {error}; its images are left out")
    return galleries, problems


def stopped(run: Run) -> list[str]:
    """Returns a sentence for each trial that a stopping rule ended."""
    return [
        f"Trial {line['trial']} stopped after cycle {line['cycle']}: {line['stopped']}"
        for line in run.lines
        if line.get("stopped") and line["cycle"] < run.config["cycles"]
    ]


def doubts(run: Run) -> list[str]:
    """Returns the sentences in which cycles say why their numbers may mean nothing."""
    return [
        f"Trial {line['trial']}, cycle {line['cycle']}: {sentence}"
        for line in run.lines
        for sentence in line.get("doubts") or ()
    ]


def unfinished(run: Run) -> bool:
    """Tells whether a trial has neither come to its last cycle nor been stopped before it."""
    ended = [line for line in run.lines if line.get("stopped") or line["cycle"] >= run.config["cycles"]]
    return len(ended) < run.config["trials"]


def names(shown: Sequence[Run]) -> list[str]:
    """Returns a name for each of several runs: its folder, or its path where folders have the same name."""
    short = [run.path.resolve().name for run in shown]
    return short if len(set(short)) == len(short) else [str(run.path) for run in shown]


def get(line: Record, group: str, name: str) -> float | None:
    """Returns an entry of a line of diagnostics.jsonl; None if the line lacks it."""
    return (line.get(group) or {}).get(name)


def digest(path: Path) -> str:
    """Returns a digest of every file that a report is made from."""
    total = hashlib.sha256(__version__.encode())
    of_people = (name for name in ("images.csv", "labels.jsonl") if (path / name).exists())
    names: Sequence[str] = ("config.json", "cycles.jsonl", *LOGS, *of_people)
    for file in [*(path / name for name in names), *sorted(path.glob("gallery/*/*.npz"))]:
        content = read(file) if file.is_file() else b""
        total.update(f"{file.relative_to(path)} {len(content)}\n".encode() + content)
    return total.hexdigest()
