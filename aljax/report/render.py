"""Figures as files, SVG or PNG, and as a part of the page."""

import io
import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from aljax.report.plots import VARIABLES

NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


def png(figure: Figure) -> bytes:
    """Returns the figure as PNG, at 300 dots per inch, on white."""
    return _saved(figure, "png", dpi=300, facecolor="white", metadata={"Software": None})


def svg(figure: Figure) -> bytes:
    """Returns the figure as SVG, on white, with text as outlines, so that it needs no font."""
    return _saved(figure, "svg", facecolor="white", metadata=NO_METADATA)


def inline(figure: Figure, name: str, alternative: str) -> str:
    """Returns the figure as SVG within a page: text as text, colours as CSS variables, ids of its own.

    Args:
      figure: the figure.
      name: begins all its ids; unique in the page.
      alternative: a description for those who do not see it; plain text.
    """
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        text = _saved(figure, "svg", dpi=150, facecolor="none", metadata=NO_METADATA).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r'xlink:href="data:', 'href="data:', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", text[: text.index(">")]) + (
        f' role="img" aria-label="{_attribute(alternative)}"' + text[text.index(">") :]
    )
    text = re.sub(r"\s*\n\s*", "\n", text)
    for colour, variable in VARIABLES.items():
        text = re.sub(rf"(?<=: ){colour}\b", f"var(--{variable}, {colour})", text)
    return text.strip()


def _saved(figure: Figure, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "aljax"}):
        figure.savefig(buffer, format=form, **options)
    figure.set_layout_engine("none")  # what it laid out stays, in whatever form it is saved next
    return buffer.getvalue()


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
