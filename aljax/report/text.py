"""Texts that the page and the terminal share: the cells of the table of cycles, and its title."""

from collections.abc import Mapping, Sequence
from typing import Any

from aljax.records.summary import Spread

HEADINGS = ("cycle", "labeled", "accuracy %", "overlap", "by chance", "C")
TIES = "tied at the cut"  # a further column, where any image is
METRICS: dict[str, tuple[str, str, float]] = {  # likewise, where asked for: the heading, form and factor
    "balanced_accuracy": ("balanced %", ".1f", 100),
    "nll": ("nll", ".3f", 1),
    "ece": ("ECE", ".3f", 1),
}

Rows = Sequence[Mapping[str, Any]]  # of summary.summarize


def headings(rows: Rows) -> tuple[str, ...]:
    """Returns the headings of the table of cycles."""
    further = (METRICS[name][0] for name in _metrics(rows))
    return (*HEADINGS, *further, *((TIES,) if _tied(rows) else ()))


def cells(rows: Rows) -> list[tuple[str, ...]]:
    """Returns the rows of a summary as texts under `headings`: means over trials ± standard deviation."""
    ties, metrics = _tied(rows), _metrics(rows)
    return [
        (
            str(row["cycle"]),
            f"{row['labeled']:.6g}",
            plus_minus(row["accuracy"], ".1f", 100),
            plus_minus(row["overlap"], ".1f"),
            f"{row['chance']:g}",
            plus_minus(row["C"], "+.3f"),
            *(plus_minus(row[name], *METRICS[name][1:]) for name in metrics),
            *((plus_minus(row["ties"], ".1f"),) if ties else ()),
        )
        for row in rows
    ]


def _metrics(rows: Rows) -> list[str]:
    return [name for name in METRICS if any(name in row for row in rows)]


def _tied(rows: Rows) -> bool:
    return any(row["ties"]["mean"] for row in rows if "ties" in row)


def plus_minus(measure: Spread, form: str, factor: float = 1.0) -> str:
    """Returns a measure as "mean ± standard deviation"."""
    mean, sd = measure["mean"], measure["sd"]
    if mean is None:
        return "-"
    text = format(factor * mean, form)
    return text if sd is None else f"{text} ± {format(factor * sd, form.lstrip('+'))}"


def signed(value: float | None) -> str:
    """Returns a correlation with its sign."""
    return "-" if value is None else f"{value:+.2f}"


def interval(low: float | None, high: float | None) -> str:
    """Returns the interval of a correlation."""
    return "-" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"


def title(rows: Rows) -> str:
    """Returns the title of the table of cycles."""
    most, fewest = (pick(row["trials"] for row in rows) for pick in (max, min))
    trials = f"{most} trial{'s' * (most > 1)}" if most == fewest else f"{fewest} to {most} trials"
    return f"means over {trials} ± standard deviation"


def first(sentences: Sequence[str], most: int = 5) -> list[str]:
    """Returns the first sentences, and the count of the others."""
    more = len(sentences) - most
    return [*sentences[:most], *([f"... and {more} more like these"] if more > 0 else [])]


def duration(seconds: float) -> str:
    """Returns a time in its natural unit."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"
