"""Makes the report of a run, or of several side by side, from the run directories alone.

A page, report.html, that holds all it shows; its figures as files; summary.csv and summary.json.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import aljax
from aljax.errors import RunError
from aljax.records import files, manifest, reader, summary
from aljax.records.reader import Run
from aljax.report import comparison, page, protocol

if TYPE_CHECKING:  # matplotlib is imported when figures are drawn
    from aljax.report.figures import Drawn

SHARE = 0.01  # of the run's time goes to pages in between, at most
FIRST = 10.0  # seconds before the first of them: a run that ends sooner needs none


def report(workdir: Path, anew: bool = False) -> None:
    """Writes the summary, the figures and the page of a run; an unfinished run has no summary.

    Args:
      workdir: the run directory.
      anew: writes also what is there already.

    Raises:
      RunError: if a summary is there that is not what the records give, and not `anew`.
    """
    run = reader.load(workdir)
    expected = {} if reader.unfinished(run) else summary.contents(run.lines, run.pairs)
    contents = {}
    for name, content in expected.items():
        path = workdir / name
        if anew or not path.exists():
            contents[name] = content
        elif files.read(path) != content:
            raise RunError(f"{path}: is not what the records give, and not overwritten; `aljax report` does")
    path = workdir / "report.html"
    digest = reader.digest(workdir)
    if anew or not path.exists() or digest.encode() not in files.read(path):
        from aljax.report import figures, render

        drawn = figures.draw([run])
        for one in drawn:
            contents[f"figures/{one.name}.svg"] = render.svg(one.figure)
            contents[f"figures/{one.name}.png"] = render.png(one.figure)
        contents[path.name] = html([run], drawn, digest)
    manifest.replace(workdir, contents)


def side_by_side(workdirs: Sequence[Path], out: Path) -> Path:
    """Writes the page of several runs side by side; returns its path."""
    from aljax.report import figures

    shown = [reader.load(path) for path in workdirs]
    files.write(out, html(shown, figures.draw(shown)))
    return out


class Refresher:
    """Makes the page of a run again while it goes on, and spends little of the run's time on it."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir
        self._due = time.monotonic() + FIRST

    def __call__(self) -> None:
        """Makes the page once a run takes `FIRST` seconds, and so often that it takes `SHARE` of the time.

        A run that has come to its end gets its page with the report.
        """
        begin = time.monotonic()
        if begin < self._due or not reader.unfinished(run := reader.load(self._workdir)):
            return
        from aljax.report import figures

        manifest.replace(self._workdir, {"report.html": html([run], figures.draw([run]))})
        end = time.monotonic()
        self._due = end + (end - begin) / SHARE


def html(shown: Sequence[Run], drawn: Sequence["Drawn"], digest: str = "") -> bytes:
    """Returns the page of one run, or of several side by side, as HTML in UTF-8.

    Args:
      shown: the runs.
      drawn: their figures.
      digest: of the records that the page is made from, stored in the page of a finished run.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from aljax.report import render

    environment = Environment(
        loader=PackageLoader("aljax.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = lambda one: render.inline(one.figure, one.name, one.caption)
    text = environment.get_template("template.html.jinja").render(
        runs=[page.view(run) for run in shown],
        figures=drawn,
        differences=comparison.differences(shown),
        explained=page.explained(shown),
        study=protocol.STUDY,
        version=aljax.__version__,
        digest=digest,
    )
    return text.encode("utf-8", "replace")  # a file's name may hold bytes that are no text
