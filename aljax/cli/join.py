"""Makes one run directory of trials that ran apart: aljax join."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from aljax.cli.guard import Parser, guarded, quiet, say

DESCRIPTION = "Makes one run directory of trials that ran apart, as one command would have made it."
STATUS = "Exit status: 0 done, 1 it could not be written, 2 the run directories do not go together."


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax join", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("out", type=Path, help="the run directory to make: a new folder")
    parser.add_argument("run_dir", type=Path, nargs="+", help="a finished run directory")
    given = parser.parse_args(arguments)
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with quiet():
            return _join(given.out.expanduser(), [path.expanduser() for path in given.run_dir])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _join(out: Path, parts: Sequence[Path]) -> int:
    from aljax.records.join import join
    from aljax.report import make, terminal

    for difference in join(out, parts, make.report):
        say(difference, 0)
    terminal.show(out)
    return 0


def _stop(number: int, _: FrameType | None) -> None:
    sys.exit(say("stopped; the same command begins anew", 128 + number))
