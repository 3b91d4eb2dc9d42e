"""One run directory of trials that ran apart: python -m aljax.records.join OUT RUN_DIR RUN_DIR [RUN_DIR ...].

Trial k has the same numbers alone and among others. So trials can run side by side, each on a core, a
GPU or a machine of its own, with `--config.first_trial=k --config.trials=1` and its own `--workdir`.
What comes of joining them is the run directory that one command would have made.
"""

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from aljax.errors import InvalidInputError, RunError
from aljax.records import directory as records
from aljax.records import files, verify
from aljax.records import reader as runs
from aljax.report import make as report

OF_ALL_TRIALS = ("selections", "checkpoints", "tensorboard")  # folders with one of each trial
OF_THE_FIRST = ("gallery",)
NEW = "a new folder, named before the run directories"
OF_A_PART = ("trials", "first_trial")  # in config.json: in these alone the parts may differ


def join(out: Path, parts: Sequence[Path]) -> None:
    """Writes the run directory of all trials of `parts`, and prints its table; the parts stay.

    Args:
      out: a new folder.
      parts: run directories of one config, finished, with trials that follow one another.

    Raises:
      InvalidInputError: if a part is unfinished or something is wrong with it, the parts do not go together,
        or `out` cannot be made.
      RunError: if it could not be written.
    """
    _check_is_new(out, parts)
    shown = sorted(map(_whole, parts), key=lambda run: run.config["first_trial"])
    for run in shown[1:]:
        _check_goes_with(shown[0], run)
    config = {**shown[0].config, "trials": _trials(shown)}
    made = out.with_name(files.PARTIAL + out.name)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(made, ignore_errors=True)  # of a join that was killed
        made.mkdir()
    except OSError as error:
        raise InvalidInputError(f"{out}: cannot be made ({error.strerror}); accepted: {NEW}") from error
    try:
        _copy(shown, config, made)
        report.make(made, files.read_lines(made / "cycles.jsonl")[0])
        made.rename(out)
    except OSError as error:
        raise RunError(f"{out}: could not be written ({error.strerror})") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    report.tell(runs.load(out))


def _check_is_new(out: Path, parts: Sequence[Path]) -> None:
    if os.path.lexists(out):
        raise InvalidInputError(f"{out}: is there; accepted: {NEW}")
    for part in parts:
        if out.resolve().is_relative_to(part.resolve()):
            raise InvalidInputError(f"{out}: lies in a run directory; accepted: {NEW}")


def _whole(path: Path) -> runs.Run:
    """Reads a part, in which every cycle must be complete and right."""
    run = runs.load(path)
    for problem in verify.problems(path):
        raise InvalidInputError(problem)
    if runs.unfinished(run):
        raise InvalidInputError(
            f"{path}: is not finished; accepted: a run whose trials have come to their end"
        )
    return run


def _trials(shown: Sequence[runs.Run]) -> int:
    """How many trials there are, each once and none left out."""
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


def _check_goes_with(first: runs.Run, run: runs.Run) -> None:
    """Refuses a part of another study; says where it ran with other versions or on another device."""
    fields, own = (
        {name: value for name, value in records.flatten(one.config).items() if name not in OF_A_PART}
        for one in (first, run)
    )
    for name in sorted(fields.keys() | own.keys()):
        if fields.get(name) == own.get(name):
            continue
        path, there = run.path / "config.json", first.path
        found = f"{path}: {name} is {own.get(name)!r}, and {fields.get(name)!r} in {there}"
        if name.split(".")[0] in records.ENVIRONMENT:
            print(f"join: {found}", file=sys.stderr)
        else:
            raise InvalidInputError(f"{found}; accepted: parts of one study")


def _copy(shown: Sequence[runs.Run], config: dict[str, Any], made: Path) -> None:
    for number, run in enumerate(shown):
        for name in (*OF_ALL_TRIALS, *(OF_THE_FIRST if number == 0 else ())):
            if (run.path / name).exists():
                shutil.copytree(run.path / name, made / name, dirs_exist_ok=True)
    for name in ("cycles.jsonl", *runs.LOGS):
        logs = [run.path / name for run in shown]
        if any(log.exists() for log in logs):
            files.write(made / name, b"".join(log.read_bytes() for log in logs))
    files.write(made / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 done, 1 it could not be written, 2 the run directories do not go together."""
    parser = argparse.ArgumentParser(
        prog="python -m aljax.records.join", description="Makes one run directory of trials that ran apart."
    )
    parser.add_argument("out", type=Path, help="the run directory to make")
    parser.add_argument("run_dir", type=Path, nargs="+", help="a finished run directory")
    given = parser.parse_args(arguments)
    try:
        join(given.out, given.run_dir)
    except (InvalidInputError, RunError) as error:
        print(f"join: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInputError) else 1
    return 0


def _stop(number: int, _: object) -> None:
    print("join: stopped; the same command begins anew", file=sys.stderr)
    sys.exit(128 + number)


if __name__ == "__main__":
    logging.set_verbosity(logging.ERROR)  # what is damaged is said in one line
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, _stop)
    sys.exit(main())
