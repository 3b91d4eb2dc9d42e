"""The study: trials of active learning, in each cycle of which two strategies are compared.

One cycle: draw the sub-pool, let both strategies select from it with the model of the cycle
before, record how far they agree, label the uncertainty batch, train afresh on all labels,
evaluate. In cycle 1 there is no model, and both selections are random.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from aljax import (
    agreement,
    checkpoints,
    files,
    mesh,
    monitor,
    pool,
    records,
    report,
    scoring,
    selections,
    strategies,
    train,
)
from aljax import config as fields
from aljax.errors import Refused, RunFailed
from aljax.fitting import fit
from aljax.study import Study, chunk, environment, key_of, local_mesh, prepare


def run(config: Mapping[str, Any], workdir: str | Path) -> None:
    """Runs the study, or what is left of it, and prints its table.

    Args:
      config: nested dictionaries, as `get_config().to_dict()` of a file in configs/ gives them.
      workdir: the run directory; see the README for what it holds.

    Raises:
      Refused: if the config, the data or the workdir cannot be used; nothing is lost.
      RunFailed: if a result cannot be written or is not a finite number; what was complete stays.
      Interrupted: after SIGINT or SIGTERM, once a checkpoint is written.
    """
    fields.check(config)
    workdir = Path(workdir)
    devices = local_mesh(config)
    first = config["first_trial"]
    plan = [
        (trial, cycle)
        for trial in range(first, first + config["trials"])
        for cycle in range(1, config["cycles"] + 1)
    ]
    with records.opened(workdir, dict(config), environment(devices)):
        lines = records.completed(workdir, plan)
        if len(lines) < len(plan):
            study = prepare(config, workdir, devices)
            with monitor.watching(study.recipe.epochs, plan, lines, workdir) as watch:
                for trial in range(first, first + config["trials"]):
                    run_trial(study, trial, [line for line in lines if line["trial"] == trial], watch)
            lines = records.completed(workdir, plan)
        report.finish(workdir, lines)


def run_trial(study: Study, trial: int, lines: list[files.Record], watch: monitor.Watch) -> None:
    """Runs the cycles of one trial after those whose `lines` stand in the records."""
    images = pool.unlabeled(len(study.train_set.labels))
    progress = None
    for cycle in range(1, study.config["cycles"] + 1):
        path = selections.path_of(study.workdir, trial, cycle)
        chosen = selections.load(path)
        clock = Clock()
        if chosen is None:
            if cycle > 1 and progress is None:
                progress = fit(study, images, trial, cycle - 1, watch)
                clock.lap("recover")
            chosen = select(study, images, progress, trial, cycle, clock)
            selections.save(path, chosen)
        try:
            compared = agreement.compare(chosen.uncertainty, chosen.diversity, study.config["subset_size"])
            images = pool.label(images, chosen.uncertainty)
        except ValueError as error:
            raise Refused(f"{path}: {error}; accepted: the file of this run") from error
        clock.lap("record")
        if cycle <= len(lines):
            recorded = lines[cycle - 1].get("overlap")
            if recorded != compared.overlap:
                raise Refused(
                    f"{path}: the selections share {compared.overlap} images, and cycles.jsonl says "
                    f"{recorded}; accepted: the file of this run"
                )
            progress = None
            continue

        progress = fit(study, images, trial, cycle, watch)
        clock.lap("train")
        accuracy, test_loss = train.evaluate(
            progress.state,
            study.test_set,
            networks=study.networks,
            chunk=chunk(study),
            sharding=mesh.spread(study.mesh),
        )
        line = {
            "trial": trial,
            "cycle": cycle,
            "labeled": len(images.labeled),
            "budget": study.config["budget"],
            "subset_size": study.config["subset_size"],
            **compared._asdict(),
            "uncertainty": strategy_names(study, cycle)[0],
            "diversity": strategy_names(study, cycle)[1],
            "accuracy": accuracy,
            "test_loss": test_loss,
            "train_loss": progress.metrics.cross_entropy,
            "retries": progress.attempt,
        }
        line = records.plain(line)
        clock.lap("evaluate")
        files.append(study.workdir / "timings.jsonl", {"trial": trial, "cycle": cycle, **clock.seconds})
        files.append(study.workdir / "cycles.jsonl", line)
        watch.cycle_done(line)


def select(
    study: Study,
    images: pool.Pool,
    progress: checkpoints.Progress | None,
    trial: int,
    cycle: int,
    clock: "Clock",
) -> selections.Selections:
    """Draws the sub-pool of a cycle, and lets both strategies select from it."""
    config = study.config
    subset = pool.draw_subset(key_of(study, trial, cycle, "subset"), images, config["subset_size"])
    view = strategies.View(len(subset), study.mesh, len(images.labeled))
    if progress is not None:
        capacity = config["cycles"] * config["budget"]
        outputs = scoring.outputs_of(
            progress.state,
            study.train_set,
            np.concatenate([subset, pool.padded(images, capacity)]),
            len(subset) + len(images.labeled),
            networks=study.networks,
            chunk=chunk(study),
            sharding=mesh.spread(study.mesh),
        )
        for name, values in outputs._asdict().items():
            if not jnp.isfinite(values).all():
                raise RunFailed(f"trial {trial}, cycle {cycle}: {name} of the sub-pool are not finite")
        view = view._replace(
            log_probs=outputs.log_probs[: len(subset)],
            predicted_loss=outputs.predicted_loss[: len(subset)],
            features=outputs.features[: len(subset)],
            labeled_features=outputs.features[len(subset) :],
        )
    clock.lap("score")
    try:
        uncertainty, diversity = (
            strategies.select(name, key_of(study, trial, cycle, role), view, config["budget"])
            for role, name in zip(("uncertainty", "diversity"), strategy_names(study, cycle), strict=True)
        )
    except RunFailed as error:
        raise RunFailed(f"trial {trial}, cycle {cycle}: {error}") from error
    clock.lap("select")
    return selections.Selections(
        subset, subset[uncertainty.chosen], subset[diversity.chosen], uncertainty.scores
    )


def strategy_names(study: Study, cycle: int) -> tuple[str, str]:
    """The names of the uncertainty and the diversity strategy; without a model, both are random."""
    if cycle == 1:
        return "random", "random"
    return study.config["uncertainty"], study.config["diversity"]


class Clock:
    """Seconds spent in each phase of a cycle."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, phase: str) -> None:
        """Counts the time since the last lap towards `phase`."""
        now = time.monotonic()
        self.seconds[phase] = round(self.seconds.get(phase, 0.0) + now - self._last, 4)
        self._last = now
