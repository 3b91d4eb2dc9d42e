"""The report of a run, or of several side by side: python -m aljax.report RUN_DIR [RUN_DIR ...].

A page, report.html, that holds all it shows; its figures as files; summary.csv and summary.json;
and the table on the terminal. All of it is made from the run directory alone.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import aljax
from aljax.errors import InvalidInputError, RunError
from aljax.records import reader as runs
from aljax.records import summary
from aljax.records.files import Record, write
from aljax.records.reader import Run
from aljax.report import claims as verdict
from aljax.report import page as tables
from aljax.report import plots as figures
from aljax.report.figures import Drawn, drawings

SHARE = 0.01  # of the run's time goes to pages in between, at most


def finish(workdir: Path, lines: Sequence[Record]) -> None:
    """Makes the report of a run that has come to its end, and prints table, verdict and places."""
    make(workdir, lines)
    tell(runs.load(workdir))


def make(workdir: Path, lines: Sequence[Record]) -> None:
    """Writes the summary, the figures and the page.

    What is there already and is made from the same records is left as it is.
    """
    run = runs.load(workdir)
    for name, content in summary.contents(lines, run.pairs).items():
        path = workdir / name
        if not path.exists() or path.read_bytes() != content:
            write(path, content)
    page = workdir / "report.html"
    if not page.exists() or runs.digest(workdir).encode() not in page.read_bytes():
        save(run)


def save(run: Run) -> Path:
    """Writes report.html and figures/ of one run."""
    drawn = drawings([run])
    for one in drawn:
        write(run.path / "figures" / f"{one.name}.svg", figures.svg(one.figure))
        write(run.path / "figures" / f"{one.name}.png", figures.png(one.figure))
    write(run.path / "report.html", page([run], drawn, runs.digest(run.path)).encode())
    return run.path / "report.html"


def tell(run: Run) -> None:
    """Prints what the report says: the table, the verdict and the places."""
    console = Console()
    if run.lines:
        console.print(summary.table(summary.summarize(run.lines)))
    for found in tables.matrices(run):
        console.print(summary.matrix(found["names"], found["means"], found["cycle"]))
    for claim in verdict.claims(run.config, run.lines):
        if claim.verdict != verdict.DOES_NOT_APPLY:
            measured = f"{claim.measured} ({claim.interval})" if claim.interval != "-" else claim.measured
            console.print(f"{claim.text}? {claim.verdict}: {measured}", highlight=False, soft_wrap=True)
    for sentence in runs.stopped(run):
        console.print(sentence, highlight=False, soft_wrap=True)
    console.print(f"report: {run.path / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(f"run directory: {run.path}", highlight=False, soft_wrap=True)


class Refresher:
    """Makes the page of a run again while it goes on, and spends little of the run's time on it."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._spent = 0.0
        self._due = time.monotonic()

    def __call__(self) -> None:
        """Makes it, unless that would take more than `SHARE` of the time since the last."""
        begin = time.monotonic()
        if begin < self._due:
            return
        run = runs.load(self._workdir)
        write(self._workdir / "report.html", page([run], drawings([run])).encode())
        end = time.monotonic()
        self._due = end + (end - begin) / SHARE


def page(shown: Sequence[Run], drawn: Sequence[Drawn], digest: str = "") -> str:
    """The page of one run, or of several side by side, as HTML.

    Args:
      shown: the runs.
      drawn: their figures.
      digest: of what the page is made from, noted in it where it is the last.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("aljax", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = lambda one: figures.inline(one.figure, one.name, one.caption)
    return environment.get_template("report.html.jinja").render(
        runs=[tables.view(run) for run in shown],
        figures={one.name: one for one in drawn},
        differences=tables.differences(shown),
        version=aljax.__version__,
        digest=digest,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 done, 1 a file could not be written, 2 a folder is no run directory."""
    parser = argparse.ArgumentParser(
        prog="python -m aljax.report", description="Makes the report of a run, or lays several side by side."
    )
    parser.add_argument("run_dir", type=Path, nargs="+", help="a run directory")
    parser.add_argument(
        "--out", type=Path, help="the page of several runs; by default comparison.html, where you are"
    )
    given = parser.parse_args(arguments)
    try:
        shown = [runs.load(path) for path in given.run_dir]
        if len(shown) == 1 and given.out is None:
            if not runs.unfinished(shown[0]):
                for name, content in summary.contents(shown[0].lines, shown[0].pairs).items():
                    write(shown[0].path / name, content)
            made = save(shown[0])
            tell(shown[0])
        else:
            made = given.out or Path("comparison.html")
            write(made, page(shown, drawings(shown)).encode())
            print(made)
    except (InvalidInputError, RunError) as error:
        print(f"report: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInputError) else 1
    return 0
