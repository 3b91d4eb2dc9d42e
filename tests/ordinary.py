"""Kinds and permissions of every path of a run, met by every command as an ordinary user meets them.

As a program, `python -m tests.ordinary FOLDER COUNT` tries so many rows of the table in a process of its own,
and prints {"tried": COUNT, "wrong": [SENTENCE, ...]}. `RIGHTS` before it takes away what root alone may do.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging
from ml_collections import ConfigDict

from aljax import cli
from aljax.cli import guard
from aljax.cli import run as launcher
from aljax.errors import RunError
from aljax.records import manifest
from tests.harness import config_of, finished_run

OVERRIDES = "-dac_override,-dac_read_search"
RIGHTS = ["setpriv", f"--bounding-set={OVERRIDES}", f"--inh-caps={OVERRIDES}"] if os.getuid() == 0 else []
DERIVED = (*("report.html", "summary.csv", "summary.json", "pairs.csv", ".lock", manifest.NAME), "figures/")
SECONDS = 60  # for one command; a pipe must not be waited for


def another(path: Path) -> None:
    """Puts a folder in the place of a file, or a file in that of a folder."""
    if path.is_dir():
        shutil.rmtree(path)
        path.touch()
    else:
        path.unlink()
        path.mkdir()


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Removes a path, and puts something else in its place."""

    def change(path: Path) -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return change


CHANGES: dict[str, Callable[[Path], object]] = {
    "unreadable": lambda path: path.chmod(0),
    "unwritable": lambda path: path.chmod(0o555 if path.is_dir() else 0o444),
    "no entry": lambda path: path.chmod(0o666),
    "of another kind": another,
    "missing": instead(lambda path: None),
    "a link to nowhere": instead(lambda path: path.symlink_to("nowhere")),
    "a link to itself": instead(lambda path: path.symlink_to(path.name)),
    "a pipe": instead(os.mkfifo),
}


def begun(run: Path) -> None:
    """Makes the hand-made run one whose last cycle is left."""
    for name in ("cycles.jsonl", "timings.jsonl", "pairs.jsonl", "diagnostics.jsonl"):
        lines = (run / name).read_bytes().splitlines(keepends=True)
        (run / name).write_bytes(b"".join(lines[:3]))
    for name in ("summary.csv", "summary.json", "pairs.csv"):
        (run / name).unlink()
    manifest.begin(run)


def launched(run: Path) -> int:
    """Runs the launcher on the hand-made run, up to where it would train."""
    fields = {"trials": 2, "first_trial": 3, "cycles": 2, "budget": 4, "subset_size": 10}
    config = config_of("digits", **fields, compare=("learning_loss", "core_set"))
    return guard.guarded(lambda arguments: launcher.run(ConfigDict(config), run))([])


COMMANDS: dict[str, Callable[[Path], int]] = {
    "verify": lambda run: cli.main(["verify", str(run)]),
    "report": lambda run: cli.main(["report", str(run)]),
    "report --out": lambda run: cli.main(["report", "--out", str(run / "report.html"), str(run), str(run)]),
    "repair": lambda run: cli.main(["repair", str(run)]),
    "join": lambda run: cli.main(["join", str(run.with_name("joined")), str(run)]),
    "run": launched,
}


def table(folder: Path) -> Iterator[tuple[str, bool, str, str]]:
    """Yields (command, whether the run is begun, path, change) for all that is tried."""
    run = finished_run(folder / "listed")
    paths = [".", *sorted(path.relative_to(run).as_posix() for path in run.rglob("*"))]
    for path in paths:
        for change in CHANGES:
            for unfinished in (False, True):
                for command in COMMANDS:
                    if not (unfinished and command == "join"):
                        yield command, unfinished, path, change


def tried(whole: Path, scratch: Path, command: str, path: str, change: str) -> str:
    """Tries a command on a changed copy of a run; returns what is wrong with its end, or ""."""
    shutil.copytree(whole, run := scratch / "run")
    before = contents(run)
    try:
        CHANGES[change](run / path)
    except OSError as error:
        return "" if not (run / path).exists() else f"not changed: {error}"
    status: str | int | None
    output, errors = io.StringIO(), io.StringIO()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    logging.get_absl_handler().python_handler.stream = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            status = COMMANDS[command](run)
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
            for one in [run, *run.rglob("*")]:
                if not one.is_symlink():
                    with contextlib.suppress(OSError):
                        one.chmod(0o777 if one.is_dir() else 0o666)
    lines = [line for line in errors.getvalue().splitlines() if line.startswith("aljax: ")]
    if status not in (0, 1, 2) or "Traceback" in errors.getvalue() or len(lines) > 1:
        return f"status {status}, {len(lines)} lines: {errors.getvalue()[-200:]}"
    after = contents(run)
    lost = [name for name in before if name in after and after[name] != before[name]]
    lost = [name for name in lost if not name.startswith((*DERIVED, path))]
    return f"lost {lost}" if lost else ""


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"not done after {SECONDS} s")


def contents(run: Path) -> dict[str, bytes]:
    """Returns the content of every file in a run directory, by name."""
    paths = [path for path in run.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in paths}


def main(folder: Path, most: int) -> None:
    """Tries `most` rows of the table, evenly spread, and prints what came of it."""
    from aljax.experiment import loop
    from aljax.report import figures

    def train(*arguments: object) -> None:
        raise RunError("this is where it would train")

    setattr(loop, "prepare", train)  # noqa: B010 (for as long as this process lives)
    figures.draw = lambda shown: []
    begun(finished_run(folder / "begun"))
    finished_run(folder / "finished")
    wrong, count = [], 0
    rows = list(table(folder))
    for number in sorted({*range(0, len(rows), max(1, len(rows) // most))}):
        command, unfinished, path, change = rows[number]
        count += 1
        scratch = folder / "scratch"
        scratch.mkdir()
        problem = tried(folder / ("begun" if unfinished else "finished"), scratch, command, path, change)
        if problem:
            state = "begun" if unfinished else "finished"
            wrong.append(f"{command} of a {state} run, {path} {change}: {problem}")
        shutil.rmtree(scratch)
    print(json.dumps({"tried": count, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
