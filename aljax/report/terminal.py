"""The report on a terminal: the table of cycles, the matrices of pairs, the verdict, where the files are."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from aljax.records import reader, summary
from aljax.records.reader import Run
from aljax.report import claims, protocol, text
from aljax.report.page import matrices

UNBOUNDED = 10_000  # columns: wider than any table


def show(workdir: Path) -> None:
    """Prints the report of a run."""
    run = reader.load(workdir)
    console = Console()
    if run.lines:
        console.print(table(summary.summarize(run.lines)))
    for found in matrices(run):
        shown = matrix(found["names"], found["means"], found["cycle"])
        if console.measure(shown, options=console.options.update(width=UNBOUNDED)).maximum <= console.width:
            console.print(shown)
        else:
            of = f"C of every pair of {len(found['names'])} strategies in cycle {found['cycle']}"
            console.print(
                f"{of}: too wide for this terminal, see the report", highlight=False, soft_wrap=True
            )
    sentences = [*text.first(reader.doubts(run)), *verdict(run), *reader.stopped(run)]
    for sentence in (*sentences, f"report: {run.path / 'report.html'}", f"run directory: {run.path}"):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def verdict(run: Run) -> list[str]:
    """Returns a line for each claim of the study that applies to a run."""
    if reader.doubts(run):
        return ["the verdict on the study's claims is withheld: these numbers may mean nothing"]
    lines = [
        f"{claim.text}? {claim.verdict}: {claim.measured}"
        + (f" ({claim.interval})" if claim.interval != "-" else "")
        for claim in claims.judge(run.config, run.lines)
        if claim.verdict != claims.DOES_NOT_APPLY
    ]
    others = len(protocol.departures(run.config))
    if others:
        lines.append(f"not the study: the config differs from configs/cifar10.py in {others} fields")
    return lines


def table(rows: text.Rows) -> Table:
    """Returns the rows of a summary as a table."""
    shown = Table(title=text.title(rows))
    for heading in text.headings(rows):
        shown.add_column(heading, justify="right")
    for row in text.cells(rows):
        shown.add_row(*row)
    return shown


def matrix(names: Sequence[str], means: Sequence[Sequence[float]], cycle: int) -> Table:
    """Returns C of every pair in one cycle, means over trials, as a table.

    Args:
      names: the S strategies.
      means: [S, S].
      cycle: from 1.
    """
    title = f"100 C of every pair in cycle {cycle}, means over trials"
    shown = Table(title=title, box=None, padding=(0, 1, 0, 0))
    shown.add_column(no_wrap=True)
    for number in range(1, len(names) + 1):
        shown.add_column(str(number), justify="right", no_wrap=True)
    for number, (name, row) in enumerate(zip(names, means, strict=True), start=1):
        known = ("?" if value != value else f"{100 * value:+.0f}" for value in row[: number - 1])
        shown.add_row(f"{number} {name}", *known)
    return shown
