"""Makes one run directory of trials that ran apart: aljax join."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from aljax.cli import signals
from aljax.cli.guard import Parser, expanded, guarded, quiet, say

DESCRIPTION = "Makes one run directory of trials that ran apart, as one command would have made it."
STATUS = "Exit status: 0 done, 1 it could not be written, 2 the run directories do not go together."


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax join", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("out", type=Path, help="the run directory to make: a new folder")
    parser.add_argument("run_dir", type=Path, nargs="+", help="a finished run directory")
    given = parser.parse_args(arguments)
    out, parts = expanded(given.out), [expanded(path) for path in given.run_dir]
    from aljax.records import join

    made = join.unnamed(out)
    with quiet(), signals.handled(clean=lambda: shutil.rmtree(made, ignore_errors=True)):
        return _join(out, parts)


def _join(out: Path, parts: Sequence[Path]) -> int:
    from aljax.records.join import join
    from aljax.report import make, terminal

    for difference in join(out, parts, make.report):
        say(difference, 0)
    terminal.show(out)
    return 0
