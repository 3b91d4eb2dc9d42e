"""The study itself: all that knows what a Study is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["run"]


def run(config: Mapping[str, Any], workdir: str | Path) -> None:
    """Runs the study, or what is left of it: with the data set's labels, or with people's.

    See `loop.run` and `people.run`; `config.oracle` says who labels.
    """
    from aljax.experiment import loop, people

    (loop if config.get("oracle") == "dataset" else people).run(config, workdir)
