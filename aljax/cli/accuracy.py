"""Compares the accuracies of runs on the same seeds: aljax accuracy."""

from collections.abc import Sequence
from pathlib import Path

from aljax.cli.guard import Parser, distinct, guarded, output

DESCRIPTION = (
    "Compares the accuracies of runs that label by different strategies on the same seeds, at equal labels: "
    "areas under the curves, paired tests against the first, the pairwise penalty matrix, and mean ranks."
)
STATUS = "Exit status: 0 done, 1 a file could not be written, 2 the runs cannot be compared."


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = Parser(prog="aljax accuracy", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run_dir", type=Path, nargs="+", help="a run directory; the first is the baseline")
    parser.add_argument("--out", type=Path, help="a folder for accuracy.json, the curves and the ranks")
    given = parser.parse_args(arguments)
    runs = distinct(given.run_dir)
    out = None if given.out is None else output(given.out, *runs, folder=True)
    from aljax.records import reader
    from aljax.report import accuracy, standings

    found = accuracy.aligned([reader.load(run) for run in runs])
    if out is not None:
        standings.write(found, out)
    standings.show(found)
    return 0
