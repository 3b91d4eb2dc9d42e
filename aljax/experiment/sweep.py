"""A sweep: trials of several configs, each (config, trial) a run of its own, joined when they are finished.

A sweep's folder holds the run directory of each config, NAME, once it is joined; its parts, one of each
trial, in parts/NAME/trial-00; and what the jobs print, in jobs/. All that is known of a sweep stands there:
the same command on it goes on.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aljax.errors import InvalidInputError
from aljax.records import files, join, lock, manifest, stored_config
from aljax.records.lock import WRITABLE
from aljax.report import make

PARTS, JOBS = "parts", "jobs"
OF_THE_SWEEP = ("trials", "first_trial")  # fields that differ between jobs


class Part(NamedTuple):
    """One trial of one config: a job."""

    cell: str  # the config's name in the sweep
    trial: int
    flags: tuple[str, ...]  # of aljax run, but for the run directory


class Cell(NamedTuple):
    """One config of a sweep."""

    name: str
    config: Mapping[str, Any]
    parts: tuple[Part, ...]


def cells(
    stem: str,
    fields: Sequence[tuple[str, Sequence[str]]],
    flags: Sequence[str],
    trials: int,
    checked: Callable[[Sequence[str]], Mapping[str, Any]],
) -> list[Cell]:
    """Returns the configs of a sweep, one for every combination of values.

    Args:
      stem: the name of a sweep's only config, where no field is varied.
      fields: each field that is varied, with its values as flags have them.
      flags: of aljax run, the same for all jobs.
      trials: how many of each config.
      checked: returns the config that flags give; raises InvalidInputError if they give none.

    Raises:
      InvalidInputError: as `checked`; or if a field is given twice, or is the sweep's own.
    """
    names = [name for name, _ in fields]
    for place, name in enumerate(names):
        if name in OF_THE_SWEEP or name in names[:place]:
            why = "is given twice" if name in names[:place] else "is the sweep's own"
            raise InvalidInputError(f"--set {name}: {why}; accepted: another field of the config")
        if same := [flag for flag in flags if flag.startswith(f"--config.{name}=")]:
            raise InvalidInputError(f"--set {name}: {same[0]} is given too; accepted: one of the two")
    found = []
    for values in itertools.product(*(values for _, values in fields)):
        pairs = list(zip(names, values, strict=True))
        own = (*flags, *(f"--config.{name}={value}" for name, value in pairs))
        config = checked(own)
        first, name = config["first_trial"], _file_name(pairs) or stem
        if name in (PARTS, JOBS):
            raise InvalidInputError(
                f"--config={name}.py: a sweep has a folder {name}; accepted: another name"
            )
        parts = tuple(
            Part(name, trial, (*own, f"--config.first_trial={trial}", "--config.trials=1"))
            for trial in range(first, first + trials)
        )
        found.append(Cell(name, config, parts))
    return found


def _file_name(pairs: Sequence[tuple[str, str]]) -> str:
    """Returns a file's name for the values of some fields, no two of which have the same."""
    text = ",".join(f"{name}={value}" for name, value in pairs)
    plain = re.sub(r"[^\w.,=+-]", "_", text, flags=re.ASCII)[:120]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def path_of(workdir: Path, part: Part) -> Path:
    """Returns the run directory of a part."""
    return workdir / PARTS / part.cell / f"trial-{part.trial:02d}"


def finished(path: Path) -> bool:
    """Tells whether a run has come to its end."""
    try:
        return manifest.finished(path)
    except InvalidInputError:
        return False  # its job says what is wrong


def at_work(path: Path) -> bool:
    """Tells whether a process of this machine, or of one that shares its locks, is at work in a run."""
    try:
        descriptor = os.open(path / lock.NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def cycles_done(path: Path) -> int:
    """Counts the complete cycles of a run."""
    try:
        return (path / "cycles.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def prepare(workdir: Path, cells: Sequence[Cell]) -> None:
    """Makes the folder of a sweep, and in it that of what jobs print; looks at what is there.

    Raises:
      InvalidInputError: if a folder cannot be that of a sweep, or cannot be made; or if a run in it is of
        another config.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InvalidInputError(f"--workdir={workdir}: is not a folder; accepted: a new folder, or a sweep's")
    there = set(os.listdir(workdir)) if workdir.exists() else set()
    if "config.json" in there or (there and not there & {PARTS, JOBS}):
        held = "config.json" if "config.json" in there else min(there)
        raise InvalidInputError(
            f"--workdir={workdir}: holds {held} and no sweep; accepted: a new folder, or a sweep's"
        )
    try:
        (workdir / JOBS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"--workdir={workdir}: {error.strerror}; accepted: {WRITABLE}") from error
    for cell in cells:
        _settle(workdir, cell)
        _check_is_of(workdir / cell.name, cell, cell.parts[0].trial)
        for part in cell.parts:
            _check_is_of(path_of(workdir, part), cell, part.trial)


def _check_is_of(run: Path, cell: Cell, first: int) -> None:
    """Raises InvalidInputError if a run is there that is not of a config, or begins with another trial."""
    path = run / stored_config.NAME
    if not path.exists():
        return
    stored = stored_config.load(path)
    environment = {name: stored[name] for name in stored_config.ENVIRONMENT}
    stored_config.check_same_config(path, stored, dict(cell.config), environment, OF_THE_SWEEP)
    if stored.get("first_trial") != first:
        raise InvalidInputError(
            f"{path}: first_trial is {stored.get('first_trial')}, and {first} here; accepted: the same, or "
            "another --workdir"
        )


def held(workdir: Path, cell: Cell) -> int:
    """Counts the trials that a config's run directory has, from its first on; 0 where there is none."""
    path = workdir / cell.name
    return int(stored_config.load(path / stored_config.NAME)["trials"]) if finished(path) else 0


def joined(workdir: Path, cell: Cell) -> bool:
    """Tells whether the run directory of a config is there, with all its trials."""
    return held(workdir, cell) >= len(cell.parts)


def left(workdir: Path, cell: Cell) -> tuple[Part, ...]:
    """Returns the parts of a config that its run directory does not have."""
    return cell.parts[held(workdir, cell) :]


def join_parts(workdir: Path, cell: Cell) -> list[str]:
    """Joins the finished parts of a config with its run directory of fewer trials, if there is one.

    Returns:
      One line for each version or device in which a part differs, as `records.join.join`.

    Raises:
      InvalidInputError, RunError: as `records.join.join`.
    """
    out, before = workdir / cell.name, _before(workdir, cell)
    parts = [path_of(workdir, part) for part in left(workdir, cell)]
    if held(workdir, cell):
        parts.insert(0, before)
    if out.exists():
        out.rename(before)
    try:
        return join.join(out, parts, make.report)
    finally:
        _settle(workdir, cell)


def _before(workdir: Path, cell: Cell) -> Path:
    """Returns where a config's run directory lies while one of more trials is made."""
    return workdir / f"{files.PARTIAL}before-{cell.name}"


def _settle(workdir: Path, cell: Cell) -> None:
    """Removes the run directory of before, or brings it back where none of more trials was made."""
    out, before = workdir / cell.name, _before(workdir, cell)
    if out.exists():
        shutil.rmtree(before, ignore_errors=True)
    elif before.exists():
        with contextlib.suppress(OSError):  # then it stays where it is
            before.rename(out)


def script(workdir: Path, parts: Sequence[Part], command: Sequence[str], options: Sequence[str]) -> str:
    """Returns a script for sbatch: an array with a job for each part, which is requeued when preempted.

    Args:
      workdir: the sweep's folder; a job whose output has no folder ends before its first line, so that
        JOBS has to be there.
      parts: the jobs.
      command: of aljax run.
      options: further options of sbatch, without #SBATCH.
    """
    lines = [
        "#!/bin/bash",
        "#SBATCH --job-name=aljax",
        f"#SBATCH --array=0-{len(parts) - 1}",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=B:USR1@120",  # before its time is over; not to be told from scancel if it were TERM
        f"#SBATCH --output={shlex.quote(str(workdir / JOBS).replace('%', '%%') + '/%A_%a.out')}",
        *(f"#SBATCH {option}" for option in options),
        f"cd {shlex.quote(os.getcwd())} || exit 1",
        'case "$SLURM_ARRAY_TASK_ID" in',
    ]
    for number, part in enumerate(parts):
        flags = [*part.flags, f"--workdir={path_of(workdir, part)}"]
        lines.append(f"  {number}) set -- {shlex.join(flags)} ;;")
    return "\n".join(
        [
            *lines,
            "esac",
            'stop() { told=1; [ -z "$!" ] || kill -TERM "$!"; }  # the run saves a checkpoint',
            "over=0",
            "trap stop TERM",
            "trap 'over=1; stop' USR1",
            f'{shlex.join(command)} "$@" &',
            "child=$!",
            "told=1",
            'while [ "$told" -eq 1 ]; do told=0; wait "$child"; status=$?; done  # a signal ends waiting',
            'if [ "$over" -eq 1 ] && [ "$status" -ne 0 ]; then  # what Slurm preempts, it requeues itself',
            '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
            "fi",
            'exit "$status"',
            "",
        ]
    )
