"""Makes the derived files of a run directory again: aljax repair."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli.guard import Parser, expanded, guarded, quiet

DESCRIPTION = "Makes derived files again from what they were made of, names them, and names what is lost."
STATUS = "Exit status: 0 nothing is wrong any more, 1 a line for each problem left, 2 it is no run directory."


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax repair", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, help="the run directory")
    workdir = expanded(parser.parse_args(arguments).run_dir)
    from aljax.errors import InvalidInputError
    from aljax.records import lock, repair, verify
    from aljax.report import make

    if not (workdir / "config.json").exists():
        raise InvalidInputError(f"{workdir}: no config.json; accepted: a run directory")
    with quiet(), lock.held(workdir):
        wrong = [line.split(": ")[0] for line in verify.problems(workdir)]
        left = repair.repair(workdir, lambda path: make.report(path, anew=True))
    kept = {line.split(": ")[0] for line in left}
    for name in dict.fromkeys(wrong):
        if name not in kept:
            print(f"{name}: made again")
    for problem in left:
        print(problem)
    if not left:
        print(f"{workdir}: nothing is wrong with it")
    return int(bool(left))
