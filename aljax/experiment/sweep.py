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
    found = []
    for values in itertools.product(*(values for _, values in fields)):
        pairs = list(zip(names, values, strict=True))
        own = (*flags, *(f"--config.{name}={value}" for name, value in pairs))
        config = checked(own)
        first, name = config["first_trial"], _file_name(pairs) or stem
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


def prepare(workdir: Path) -> None:
    """Makes the folder of a sweep, and in it that of what jobs print.

    Raises:
      InvalidInputError: if a folder cannot be that of a sweep, or cannot be made.
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


def joined(workdir: Path, cell: Cell) -> bool:
    """Tells whether the run directory of a config is there, with all its trials."""
    path = workdir / cell.name
    if not finished(path):
        return False
    stored = stored_config.load(path / stored_config.NAME)
    return (stored.get("first_trial"), stored.get("trials")) == (cell.parts[0].trial, len(cell.parts))


def join_parts(workdir: Path, cell: Cell) -> list[str]:
    """Joins the finished parts of a config, in place of a run directory of fewer trials.

    Returns:
      One line for each version or device in which a part differs, as `records.join.join`.

    Raises:
      InvalidInputError, RunError: as `records.join.join`.
    """
    out = workdir / cell.name
    before = out.with_name(f"{files.PARTIAL}before-{out.name}")
    shutil.rmtree(before, ignore_errors=True)
    if out.exists():
        out.rename(before)
    try:
        differences = join.join(out, [path_of(workdir, part) for part in cell.parts], make.report)
    except BaseException:
        if before.exists() and not out.exists():
            with contextlib.suppress(OSError):
                before.rename(out)
        raise
    shutil.rmtree(before, ignore_errors=True)
    return differences


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
        "#SBATCH --signal=B:TERM@120",
        f"#SBATCH --output={workdir / JOBS}/%A_%a.out",
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
            'trap \'[ -z "$!" ] || kill -TERM "$!"\' TERM  # the run saves a checkpoint',
            f'{shlex.join(command)} "$@" &',
            "child=$!",
            'wait "$child"; status=$?',
            'while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done',
            'if [ "$status" -eq 143 ]; then',
            '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
            "fi",
            'exit "$status"',
            "",
        ]
    )
