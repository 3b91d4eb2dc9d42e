"""Joins the run directories of trials that ran apart.

Trial k has the same numbers alone and among others. So trials can run side by side, each on a core, a
GPU or a machine of its own, with `--config.first_trial=k --config.trials=1` and its own `--workdir`.
Joined, they are the run directory that one command would have made.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aljax.config import flatten
from aljax.errors import InvalidInputError, RunError, first_line
from aljax.records import files, manifest, reader, verify
from aljax.records.reader import Run
from aljax.records.stored_config import ENVIRONMENT, OF_A_PART

OF_ALL_TRIALS = ("selections", "chosen", "checkpoints", "tensorboard")  # folders with one of each trial
OF_THE_FIRST = ("gallery",)
NEW = "a new folder, named before the run directories"


def join(out: Path, parts: Sequence[Path], finish: Callable[[Path], object]) -> list[str]:
    """Writes the run directory of all trials of `parts`, which stay as they are.

    Args:
      out: a new folder.
      parts: run directories of one config, finished, with trials that follow one another.
      finish: makes the report in a run directory, before it gets its name.

    Returns:
      One line for each version or device in which a part differs from the first.

    Raises:
      InvalidInputError: if a part is unfinished or something is wrong with it, the parts do not go together,
        or `out` cannot be made.
      RunError: if it could not be written.
    """
    _check_is_new(out, parts)
    shown = sorted(map(_whole, parts), key=lambda run: run.config["first_trial"])
    differences = [line for run in shown[1:] for line in _environments(shown[0], run)]
    config = {**shown[0].config, "trials": _trials(shown)}
    made = unnamed(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(made, ignore_errors=True)  # the remains of a killed join
        made.mkdir()
    except OSError as error:
        raise InvalidInputError(
            f"{out}: cannot be made ({error.strerror or first_line(error)}); accepted: {NEW}"
        ) from error
    try:
        _copy(shown, config, made)
        finish(made)
        manifest.write(made)
        made.rename(out)
    except OSError as error:
        raise RunError(f"{out}: could not be written ({error.strerror or first_line(error)})") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return differences


def unnamed(out: Path) -> Path:
    """Returns the folder in which a run directory is made before it gets its name."""
    return out.parent / (files.PARTIAL + out.name)


def _check_is_new(out: Path, parts: Sequence[Path]) -> None:
    if os.path.lexists(out):
        raise InvalidInputError(f"{out}: is there; accepted: {NEW}")
    for part in parts:
        if out.resolve().is_relative_to(part.resolve()):
            raise InvalidInputError(f"{out}: lies in a run directory; accepted: {NEW}")


def _whole(path: Path) -> Run:
    """Loads a part; raises InvalidInputError if a cycle is missing or wrong."""
    run = reader.load(path)
    for problem in verify.problems(path):
        raise InvalidInputError(problem)
    if reader.unfinished(run):
        raise InvalidInputError(
            f"{path}: is not finished; accepted: a run whose trials have come to their end"
        )
    return run


def _trials(shown: Sequence[Run]) -> int:
    """Counts the trials; raises InvalidInputError if one is missing or given twice."""
    first = following = shown[0].config["first_trial"]
    for run in shown:
        begins = run.config["first_trial"]
        if begins != following:
            why = f"trial {following} is in none" if begins > following else f"trial {begins} is given twice"
            raise InvalidInputError(
                f"{run.path}: begins with trial {begins}, and {why}; accepted: every trial once"
            )
        following += run.config["trials"]
    return following - first


def _environments(first: Run, run: Run) -> list[str]:
    """Compares two parts; returns a line for each version or device that differs.

    Raises:
      InvalidInputError: if another field differs.
    """
    fields, own = (
        {name: value for name, value in flatten(one.config).items() if name not in OF_A_PART}
        for one in (first, run)
    )
    differences = []
    for name in sorted(fields.keys() | own.keys()):
        if fields.get(name) == own.get(name):
            continue
        path, there = run.path / "config.json", first.path
        found = f"{path}: {name} is {own.get(name)!r}, and {fields.get(name)!r} in {there}"
        if name.split(".")[0] in ENVIRONMENT:
            differences.append(found)
        else:
            raise InvalidInputError(f"{found}; accepted: parts of one study")
    return differences


def _copy(shown: Sequence[Run], config: dict[str, Any], made: Path) -> None:
    for number, run in enumerate(shown):
        for name in (*OF_ALL_TRIALS, *(OF_THE_FIRST if number == 0 else ())):
            if (run.path / name).exists():
                shutil.copytree(run.path / name, made / name, dirs_exist_ok=True)
    for name in ("cycles.jsonl", *reader.LOGS):
        logs = [run.path / name for run in shown]
        if any(log.exists() for log in logs):
            files.write(made / name, b"".join(log.read_bytes() for log in logs))
    files.write(made / "config.json", (json.dumps(config, indent=2) + "\n").encode())
