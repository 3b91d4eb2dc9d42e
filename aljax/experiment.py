"""The study: trials of active learning, in each cycle of which two strategies are compared.

One cycle: draw the sub-pool, let both strategies select from it with the model of the cycle
before, record how far they agree, label the uncertainty batch (or what `config.acquire` says),
train afresh on all labels, evaluate. In cycle 1 there is no model, and all selections are random.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aljax import (
    agreement,
    checkpoints,
    ensemble,
    files,
    mesh,
    monitor,
    notes,
    pairs,
    pool,
    records,
    report,
    scenarios,
    selections,
    stopping,
    strategies,
    train,
    validation,
)
from aljax import config as fields
from aljax.errors import Refused, RunFailed
from aljax.fitting import fit
from aljax.study import Study, chunk, environment, local_mesh, prepare
from aljax.views import view_of


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
        if len(lines) < len(records.shortened(plan, lines)):
            study = prepare(config, workdir, devices)
            refresh = report.Refresher(workdir)
            with monitor.watching(study.recipe.epochs, plan, lines, workdir) as watch:
                for trial in range(first, first + config["trials"]):
                    done = [line for line in lines if line["trial"] == trial]
                    run_trial(study, trial, done, watch, refresh)
            lines = records.completed(workdir, plan)
        report.finish(workdir, lines)


def run_trial(
    study: Study,
    trial: int,
    lines: list[files.Record],
    watch: monitor.Watch,
    refresh: Callable[[], None],
) -> None:
    """Runs the cycles of one trial after those whose `lines` stand in the records."""
    rules = stopping.Rules(**study.config["stop"])
    history = list(lines)
    pools = [pool.unlabeled(len(study.ids))]
    held = np.empty(0, np.int32)  # labeled images that are not trained on
    progress = None
    for cycle in range(1, study.config["cycles"] + 1):
        path = selections.path_of(study.workdir, trial, cycle)
        chosen = selections.load(path)
        clock = Clock()
        if chosen is None:
            if cycle > 1 and progress is None:
                progress = fit(study, validation.trained_on(pools, held), trial, watch)
                clock.lap("recover")
            chosen = select(study, pools[-1], held, progress, trial, cycle, clock)
            if "images" in chosen.details:
                scenarios.show(study, chosen, path.with_suffix(""))
            selections.save(path, chosen)
        try:
            offered = scenarios.offered(chosen)
            compared = agreement.measured(chosen.uncertainty, chosen.diversity, offered)
            study, images = scenarios.label(study, pools[-1], chosen, cycle)
            pools.append(images)
        except ValueError as error:
            raise Refused(f"{path}: {error}; accepted: the file of this run") from error
        held = validation.held_out(study, pools, held, trial)
        if cycle <= len(lines):
            recorded = lines[cycle - 1].get("overlap")
            if recorded != compared.overlap:
                raise Refused(
                    f"{path}: the selections share {compared.overlap} images, and cycles.jsonl says "
                    f"{recorded}; accepted: the file of this run"
                )
            if lines[cycle - 1].get("stopped"):
                return
            progress = None
            continue
        of_pairs = pairs.compare(chosen.compared, chosen.compared_scores, offered)
        clock.lap("record")

        training = validation.trained_on(pools, held)
        progress = fit(study, training, trial, watch, before=progress)
        clock.lap("train")
        accuracy, test_loss = train.evaluate(
            ensemble.first(progress.state),
            study.test_set,
            networks=study.networks,
            chunk=chunk(study),
            sharding=mesh.spread(study.mesh),
        )
        clock.lap("evaluate")
        before = chosen.details.get("stop_predictions")
        judged = validation.judge(study, progress.state, training, held, before, trial, watch)
        if judged:
            clock.lap("validate")
        names = names_of(study.config, cycle)
        place = {"trial": trial, "cycle": cycle}
        line = {
            **place,
            "labeled": len(pools[-1].labeled),
            "budget": study.config["budget"],
            "subset_size": study.config["subset_size"],
            **compared._asdict(),
            "uncertainty": names["uncertainty"],
            "diversity": names["diversity"],
            "acquired": names[acquired(study.config, cycle)],
            "accuracy": accuracy,
            "test_loss": test_loss,
            "train_loss": progress.metrics.cross_entropy,
            "retries": progress.attempt,
            **scenarios.passed(study, chosen),
            **judged,
        }
        line = records.plain(line)
        history.append(line)
        if stopping.asked_for(rules):
            line["stopped"] = stopping.reason(history, rules, study.config["cycles"])
        files.append(study.workdir / "timings.jsonl", {**place, **clock.seconds})
        if of_pairs:
            files.append(study.workdir / "pairs.jsonl", *({**place, **pair} for pair in of_pairs))
        files.append(study.workdir / "cycles.jsonl", line)  # last, as it makes the cycle complete
        watch.cycle_done(line)
        refresh()
        if line.get("stopped"):
            return


def select(
    study: Study,
    images: pool.Pool,
    held: np.ndarray,
    progress: checkpoints.Progress | None,
    trial: int,
    cycle: int,
    clock: "Clock",
) -> selections.Selections:
    """Draws the sub-pool of a cycle, and lets every strategy select from it.

    The scenario says what stands for the sub-pool, and what for the uncertainty strategy's choice.
    """
    config = study.config
    state = progress.state if progress else None
    offer = scenarios.offer(study, images, held, trial, cycle)
    names = names_of(config, cycle)
    wanted = {field for name in names.values() for field in strategies.needs_of(strategies.find(name))}
    wanted |= notes.NEEDS
    try:
        view = view_of(offer.study, images, offer.rows, state, wanted)
        clock.lap("score")
        made, details = scenarios.choose(study, names, offer, view, trial, cycle)
    except RunFailed as error:
        raise RunFailed(f"trial {trial}, cycle {cycle}: {error}") from error
    for role, selection in made.items():
        if selection.note:
            logging.warning("trial %d, cycle %d, %s: %s", trial, cycle, names[role], selection.note)
    clock.lap("select")
    notes.write(offer.study, view, offer.rows, made["uncertainty"], made["diversity"], trial, cycle)
    clock.lap("diagnose")
    chosen = {role: offer.names[selection.chosen] for role, selection in made.items()}
    details |= scenarios.recipes_of(offer, made[acquired(config, cycle)].chosen)
    if state is not None and config["stop"]["stability"]:
        details["stop_predictions"] = validation.predicted(study, state, validation.stop_set(study, trial))
    compared = {name: role_of(config, name) for name in config["compare"]}
    return selections.Selections(
        subset=offer.names,
        uncertainty=chosen["uncertainty"],
        diversity=chosen["diversity"],
        acquired=chosen[acquired(config, cycle)],
        scores=made["uncertainty"].scores,
        compared={name: chosen[role] for name, role in compared.items()},
        compared_scores={name: made[role].scores for name, role in compared.items()},
        details=details,
    )


def names_of(config: Mapping[str, Any], cycle: int) -> dict[str, str]:
    """The strategies of a cycle by their roles; without a model, in cycle 1, all are random.

    A strategy that acquires or is compared has a role of its own where
    it is neither the uncertainty nor the diversity strategy.
    """
    names = {"uncertainty": config["uncertainty"], "diversity": config["diversity"]}
    for name in (config["acquire"], *config["compare"]):
        names.setdefault(role_of(config, name), name)
    return dict.fromkeys(names, "random") if cycle == 1 else names


def role_of(config: Mapping[str, Any], name: str) -> str:
    """The role that a strategy plays, or the role itself."""
    for role in ("uncertainty", "diversity"):
        if name in (role, config[role]):
            return role
    return f"strategy {name}"


def acquired(config: Mapping[str, Any], cycle: int) -> str:
    """The role whose selection is labeled; in cycle 1 the same whatever acquires later on."""
    return "uncertainty" if cycle == 1 else role_of(config, config["acquire"])


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
