"""Makes the report of a run, or lays several side by side: aljax report, or python -m aljax.report."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli.guard import Parser, distinct, guarded, output
from aljax.errors import InvalidInputError

DESCRIPTION = "Makes the report of a run, or lays several side by side on one page."
COMPARISON, MADE = Path("comparison.html"), b'<meta name="generator" content="aljax '
STATUS = "Exit status: 0 done, 1 a file could not be written, 2 a folder is no run directory."


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax report", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, nargs="+", help="a run directory")
    parser.add_argument(
        "--out", type=Path, help="the page of several runs (default: comparison.html, in this folder)"
    )
    given = parser.parse_args(arguments)
    runs = distinct(given.run_dir)
    from aljax.report import make, terminal

    if len(runs) == 1 and given.out is None:
        make.report(runs[0], anew=True)
        terminal.show(runs[0])
    else:
        out = output(given.out or COMPARISON, *runs)
        if given.out is None and out.exists() and MADE not in out.read_bytes():
            raise InvalidInputError(f"{out}: is there, and no page of aljax; accepted: with --out=FILE")
        print(make.side_by_side(runs, out))
    return 0
