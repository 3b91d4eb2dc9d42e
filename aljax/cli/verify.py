"""Checks a run directory: aljax verify, or python -m aljax.records verify."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli.guard import Parser, expanded, guarded, quiet
from aljax.errors import InvalidInputError

DESCRIPTION = "Checks every file of a run directory, and all of them against each other."
STATUS = "Exit status: 0 nothing is wrong, 1 a line for each problem, 2 there is no such run directory."


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax verify", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, help="the run directory")
    workdir = expanded(parser.parse_args(arguments).run_dir)
    if not workdir.is_dir():
        raise InvalidInputError(f"{workdir}: no such folder; accepted: a run directory")
    from aljax.records import files, manifest, verify

    found = False
    with quiet():
        for problem in verify.problems(workdir):
            found = True
            print(problem)
    if not found:
        count = len(files.read_lines(workdir / "cycles.jsonl")[0])
        print(f"{workdir}: {count} complete cycles, and nothing wrong with them")
    if others := manifest.foreign(workdir):
        print(f"{workdir}: holds what no run wrote: {', '.join(others)}")
    return int(found)
