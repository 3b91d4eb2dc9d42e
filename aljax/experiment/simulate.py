"""Replays a run that people labeled as a study on their labels: which strategy would have paid?

The labeled images are the pool, those that judge the models the test set; each strategy acquires in a run of
its own, beside one that acquires at random. The pool holds what was asked for, so that the answer is about
these images, more than about a folder of which most were never asked for.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aljax.errors import InvalidInputError
from aljax.experiment import export, loop
from aljax.experiment.study import environment, local_mesh
from aljax.records import directory, embeddings, files, stored_config, summary
from aljax.records.summary import Spread
from aljax.report import make

FOLDER = "simulation"
LEAST = 20  # labeled images to select from
ROUNDS = 10  # a batch is a tenth of these


def simulate(workdir: Path, trials: int) -> tuple[dict[str, Spread], Path]:
    """Runs the studies, or what is left of them, and lays them side by side on a page.

    Args:
      workdir: of the run that people labeled.
      trials: of each study.

    Returns:
      By strategy, the area under its accuracy curve (the mean height over the labels, 0 to 1), and the page.

    Raises:
      InvalidInputError: if there are too few labels, or none to judge the models by.
    """
    config = stored_config.checked(workdir / stored_config.NAME)
    labeled = [one.split for one in export.labeled(workdir)]
    if not labeled.count("test"):
        raise InvalidInputError(f"{workdir}: no labeled image judges the models; accepted: a run with some")
    if (count := labeled.count("train")) < LEAST:
        raise InvalidInputError(f"{workdir}: {count} labels to select from; accepted: at least {LEAST}")
    table = workdir / FOLDER / "labels.csv"
    export.csv(workdir, table)
    content = files.read(table)
    folder = workdir / FOLDER / f"{count}-labels-{hashlib.sha256(content).hexdigest()[:8]}"
    files.write(folder / "labels.csv", content)
    table.unlink()
    runs = {}
    for name in dict.fromkeys((config["uncertainty"], config["diversity"], "random")):
        planned = plan(config, name, folder / "labels.csv", count, trials)
        runs[name] = folder / name.replace("/", "-").replace(":", "-")
        begin(workdir, planned, runs[name])
        loop.run(planned, runs[name])
    page = make.side_by_side(list(runs.values()), folder / "comparison.html")
    areas = {
        name: summary.area_under_curve(files.read_lines(path / "cycles.jsonl")[0])
        for name, path in runs.items()
    }
    return areas, page


def begin(workdir: Path, planned: Mapping[str, Any], run: Path) -> None:
    """Begins a run that replays another with its embeddings, so that they are not computed again."""
    if not (held := workdir / embeddings.NAME).exists() or (run / embeddings.NAME).exists():
        return
    with directory.opened(run, dict(planned), environment(local_mesh(planned))):
        files.write(run / embeddings.NAME, files.read(held))


def plan(config: Mapping[str, Any], acquire: str, labels: Path, count: int, trials: int) -> dict[str, Any]:
    """Returns the config of a study on `count` labels, in which the strategy `acquire` is labeled."""
    budget = max(1, count // ROUNDS)
    subset_size = max(budget + 1, count // 2)
    return {
        **config,
        "dataset": {**config["dataset"], "labels": str(labels.absolute())},
        "oracle": "dataset",
        "trials": trials,
        "budget": budget,
        "subset_size": subset_size,
        "cycles": (count - subset_size) // budget + 1,
        "acquire": acquire,
        "compare": (),
        "validation_fraction": 0.0,
    }
