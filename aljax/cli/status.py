"""Shows how far a run that people label has come: aljax status."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli.guard import Parser, expanded, guarded

DESCRIPTION = "Shows labels per class, the accuracy with its interval, and what another batch would cost."
STATUS = "Exit status: 0 done, 2 it is no run that people label."


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax status", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, help="the run directory")
    workdir = expanded(parser.parse_args(arguments).run_dir)
    from aljax.report import people

    for line in people.sentences(workdir):
        print(line)
    return 0
