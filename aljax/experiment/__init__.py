"""The study itself: all that knows what a Study is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["run"]


def run(config: Mapping[str, Any], workdir: str | Path) -> None:
    """Runs the study, or what is left of it: with the data set's labels, or with people's.

    See `loop.run` and `people.run`; `config.oracle` says who labels.

    Raises:
      InvalidInputError: if processes that run it together have other configs, or people are to label; and as
        these two.
    """
    from aljax.config import flatten
    from aljax.errors import InvalidInputError
    from aljax.experiment import loop, people
    from aljax.runtime import processes

    processes.agree({f"config.{name}": value for name, value in flatten(config).items()})
    if processes.count() > 1 and config.get("oracle") != "dataset":
        accepted = "accepted: dataset, where several processes run a study"
        raise InvalidInputError(f"config.oracle={config.get('oracle')!r}: {accepted}")
    if processes.count() > 1 and config["dataset"].get("encoder"):
        accepted = "accepted: none, where several processes run a study; `aljax embed` embeds beforehand"
        raise InvalidInputError(f"config.dataset.encoder={config['dataset']['encoder']!r}: {accepted}")
    (loop if config.get("oracle") == "dataset" else people).run(config, workdir)
