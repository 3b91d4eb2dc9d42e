"""Places: the (trial, cycle) pairs that a run consists of, and the files that belong to each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aljax.records.files import Record

Place = tuple[int, int]  # the trial, from 0, and the cycle, from 1


def trials(config: Mapping[str, Any]) -> range:
    """Returns the numbers of a run's trials."""
    return range(config["first_trial"], config["first_trial"] + config["trials"])


def plan(config: Mapping[str, Any]) -> list[Place]:
    """Returns every place of a run, in the order in which a run comes to them."""
    return [(trial, cycle) for trial in trials(config) for cycle in range(1, config["cycles"] + 1)]


def place_of(line: Record) -> tuple[Any, Any]:
    """Returns the trial and the cycle of a line, None for what it lacks."""
    return line.get("trial"), line.get("cycle")


def shortened(planned: Sequence[Place], lines: Sequence[Record]) -> list[Place]:
    """Returns a plan without the cycles after one whose line says why its trial `stopped`."""
    known = set(planned)
    places = [place_of(line) for line in lines if line.get("stopped")]
    ends = {trial: cycle for trial, cycle in places if (trial, cycle) in known}
    return [(trial, cycle) for trial, cycle in planned if cycle <= ends.get(trial, cycle)]


def file_of(folder: Path, trial: int, cycle: int, suffix: str = ".npz") -> Path:
    """Returns the path of the file of one place in a folder that has one of each."""
    return folder / f"trial-{trial:02d}" / f"cycle-{cycle:02d}{suffix}"


def is_of(name: str, trial: int, cycle: int) -> bool:
    """Tells whether a file, by its name in the run directory, is one of those of a place."""
    own = file_of(Path(name.split("/")[0]), trial, cycle, "").as_posix()
    return name.startswith((f"{own}.", f"{own}/"))
