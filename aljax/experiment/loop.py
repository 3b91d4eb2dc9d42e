"""The study: trials of active learning, in each cycle of which two strategies are compared.

One cycle: draw the sub-pool, let both strategies select from it with the model of the cycle
before, record how far they agree, label the uncertainty batch (or what `config.acquire` says),
train afresh on all labels, evaluate. In cycle 1 there is no model, and all selections are random.
"""

import math
import time
from collections.abc import Callable, Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aljax import agreement, metrics
from aljax.config import budget_of, check
from aljax.errors import InvalidInputError, NonFiniteError, RunError
from aljax.experiment import candidates, diagnose, resume, roles, sanity, trackers, validation
from aljax.experiment.fit import fit
from aljax.experiment.monitor import Monitor, monitoring
from aljax.experiment.study import (
    Study,
    check_training,
    chunk,
    environment,
    key_of,
    local_mesh,
    prepare,
    steps_of,
)
from aljax.experiment.view import view_of
from aljax.records import (
    checkpoints,
    chosen,
    directory,
    files,
    ledger,
    lock,
    manifest,
    places,
    selections,
)
from aljax.report import make, terminal
from aljax.runtime import ahead, mesh, processes
from aljax.scenarios import pool, stopping
from aljax.strategies import registry
from aljax.strategies.base import ties_at_cut
from aljax.training import predict

LATE = (  # what the end of a cycle, and of a run, imports
    *("scipy.stats", "jinja2", "aljax.report.render", "aljax.report.figures"),
    *("matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg"),
)


def run(config: Mapping[str, Any], workdir: str | Path) -> None:
    """Runs the study, or what is left of it, and prints its table.

    Args:
      config: nested dictionaries, as `get_config().to_dict()` of a file in configs/ gives them.
      workdir: the run directory; see the README for what it holds.

    Raises:
      InvalidInputError: if the config, the data or the workdir cannot be used; nothing is lost.
      RunError: if a result cannot be written or is not a finite number; what was complete stays.
      Interrupted: after SIGINT or SIGTERM, once a checkpoint is written.
    """
    check(config)
    config = {**config, "compare": registry.expanded(config["compare"])}
    registry.check(config)
    workdir = Path(workdir).absolute()  # whatever a user's own code does to the working directory
    devices = local_mesh(config)
    check_training(config)
    trackers.check(config["tracker"])
    plan = places.plan(config)
    versions = environment(devices)
    processes.agree(versions["versions"] | {"device": devices.local_devices[0].device_kind})
    with processes.entered(directory.opened(workdir, dict(config), versions)):
        lines = processes.shared(partial(directory.completed, workdir, plan))
        finished = len(lines) == len(places.shortened(plan, lines))
        damaged = processes.shared(partial(resume.damaged, workdir, lines, finished))
        if damaged or not finished:
            processes.shared(partial(manifest.begin, workdir))
            study = prepare(config, workdir, devices)
            names = processes.shared(partial(manifest.lasting, workdir))
            processes.shared(partial(manifest.enter, workdir, names))
            refresh = make.Refresher(workdir)
            track = partial(trackers.begin, config, workdir)
            with (
                monitoring(partial(steps_of, study), plan, lines, workdir, track) as monitor,
                ahead.importing(*LATE) as import_ahead,
                ledger.kept(workdir) as kept,
            ):
                monitor.listener = lambda share: import_ahead()
                for trial in places.trials(config):
                    done = [line for line in lines if line["trial"] == trial]
                    run_trial(study, trial, done, monitor, kept, refresh, damaged)
        processes.shared(partial(finish, workdir, anew=not finished))


def finish(workdir: Path, anew: bool) -> None:
    """Makes the report of a run that has come to its end, and shows its table; see `make.report`."""
    if not manifest.finished(workdir):
        make.report(workdir, anew=anew)
        manifest.write(workdir)
    terminal.show(workdir)


def run_trial(
    study: Study,
    trial: int,
    lines: list[files.Record],
    monitor: Monitor,
    kept: ledger.Ledger,
    refresh: Callable[[], None],
    damaged: Set[str] = frozenset(),
) -> None:
    """Runs the cycles of one trial after those whose `lines` stand in the records.

    Args:
      study: the study.
      trial: from 0.
      lines: of the trial's complete cycles.
      monitor: sees every epoch and cycle.
      kept: enters what every cycle writes.
      refresh: makes the page of the run again.
      damaged: names of files of these cycles to make again.
    """
    history = list(lines)
    pools = [pool.unlabeled(len(study.ids))]
    holdout = np.empty(0, np.int32)  # labeled images that are not trained on
    progress = None
    for cycle in range(1, study.config["cycles"] + 1):
        clock = Clock()
        path = selections.path_of(study.workdir, trial, cycle)
        folders = {name.split("/")[0] for name in damaged if places.is_of(name, trial, cycle)}
        selected = None if "gallery" in folders else processes.shared(partial(selections.load, path))
        if selected is None:
            if cycle > 1 and progress is None:
                training = validation.trained_on(pools, holdout)
                accepts = partial(accept, study, trial, cycle - 1, Clock(), {})
                progress = fit(study, training, trial, monitor, accept=accepts)
                clock.lap("recover")
            selected = select(study, pools[-1], holdout, progress, trial, cycle, clock)
            if cycle <= len(lines):
                resume.check_made_again(path, lines[cycle - 1], selected)
            processes.shared(partial(store, study, selected, path))
        elif "selections" in folders:
            processes.shared(partial(candidates.write_images, study, selected, path.with_suffix("")))
        digest = processes.shared(partial(selections.digest, path))
        try:
            study, images = candidates.label(study, pools[-1], selected, cycle)
            names, acquired = roles.names_of(study.config, cycle), roles.acquired(study.config, cycle)
            if processes.is_first() and (
                "chosen" in folders or not chosen.path_of(study.workdir, trial, cycle).exists()
            ):
                chosen.save(study.workdir, trial, cycle, selected, names, acquired, study.ids)
        except (ValueError, IndexError) as error:
            raise InvalidInputError(f"{path}: {error}; accepted: the file of this run") from error
        pools.append(images)
        holdout = validation.extended_holdout(study, pools, holdout, trial)
        if cycle <= len(lines):
            resume.check_recorded(path, lines[cycle - 1], compared(path, selected), digest)
            progress = None
        else:
            if processes.is_first():
                kept.enter(manifest.of_place(study.workdir, trial, cycle))
            clock.lap("record")
            training = validation.trained_on(pools, holdout)
            measured: files.Record = {}
            accepts = partial(accept, study, trial, cycle, clock, measured)
            progress = fit(study, training, trial, monitor, before=progress, accept=accepts)
            before = selected.details.get("stop_predictions")
            judged = validation.judge(study, progress.state, training, holdout, before, trial, monitor)
            if judged:
                clock.lap("validate")
            line = {
                "trial": trial,
                "cycle": cycle,
                "labeled": len(pools[-1].labeled),
                "budget": budget_of(study.config, cycle),
                "subset_size": study.config["subset_size"],
                **compared(path, selected)._asdict(),
                **roles.recorded(study.config, cycle),
                "ties": selections.ties(selected),
                "selections_sha256": digest,
                **measured,
                **candidates.stream_fields(study, selected),
                **judged,
            }
            history.append(with_doubts(study, directory.plain(line), training[-1], selected))
            history[-1] = processes.shared(partial(record, study, history, selected, clock))
            if processes.is_first():
                kept.enter()
            monitor.cycle_done(history[-1])
            if processes.is_first():
                refresh()
        if history[cycle - 1].get("stopped"):
            return


def compared(path: Path, selected: selections.Selections) -> agreement.Agreement:
    """Compares the uncertainty selection and the diversity selection of a cycle.

    Raises:
      InvalidInputError: if they cannot be compared, naming their file.
    """
    try:
        return agreement.measured(selected.uncertainty, selected.diversity, selections.offered(selected))
    except ValueError as error:
        raise InvalidInputError(f"{path}: {error}; accepted: the file of this run") from error


def with_doubts(
    study: Study, line: files.Record, trained: pool.Pool, selected: selections.Selections
) -> files.Record:
    """Returns a cycle's line with its `doubts`, each also logged; without any, the line as it is."""
    labels, num_classes = np.asarray(study.train_set.labels), len(study.class_names)
    labeled, test = (
        np.bincount(of, minlength=num_classes)
        for of in (labels[trained.labeled], np.asarray(study.test_set.labels))
    )
    positions = np.flatnonzero(np.isin(selected.subset, selected.uncertainty))
    drawn, _ = ties_at_cut(selected.scores, positions)
    found = sanity.doubts(line, labeled, test, drawn)
    for doubt in found:
        logging.warning("trial %d, cycle %d: %s", line["trial"], line["cycle"], doubt)
    return {**line, "doubts": found} if found else line


def evaluate(study: Study, progress: checkpoints.Progress) -> files.Record:
    """Measures the trained model on the test set."""
    accuracy, test_loss, log_probs = predict.evaluate(
        progress.state,
        study.test_set,
        networks=study.networks,
        chunk=chunk(study),
        sharding=mesh.spread(study.mesh),
    )
    further = {}
    if names := study.config["metrics"]:
        labels = np.asarray(study.test_set.labels)
        further = metrics.measured(names, np.asarray(log_probs), labels, study.class_names)
    return {"accuracy": accuracy, "test_loss": test_loss, **trained_fields(progress), **further}


def accept(
    study: Study,
    trial: int,
    cycle: int,
    clock: "Clock",
    measured: files.Record,
    progress: checkpoints.Progress,
) -> None:
    """Enters what is measured on the test set into `measured`.

    Raises:
      NonFiniteError: if the loss there is not finite.
    """
    clock.lap("train")
    measured |= evaluate(study, progress)
    clock.lap("evaluate")
    if not math.isfinite(measured["test_loss"]):
        raise NonFiniteError(f"trial {trial}, cycle {cycle}: test_loss is {measured['test_loss']}")


def trained_fields(progress: checkpoints.Progress) -> files.Record:
    """Returns the fields of a cycle's line that describe its training."""
    return {
        "train_loss": progress.metrics.cross_entropy,
        "epochs": progress.epoch,
        "retries": progress.attempt,
    }


def store(study: Study, selected: selections.Selections, path: Path) -> None:
    """Writes the selections of a cycle, and the images that were made."""
    lock.check_held(study.workdir)
    candidates.write_images(study, selected, path.with_suffix(""))
    manifest.put(study.workdir, path, selections.content(selected))


def record(
    study: Study, history: list[files.Record], selected: selections.Selections, clock: "Clock"
) -> files.Record:
    """Appends the last line of a trial's history to the records; returns it, with why the trial stops."""
    line = history[-1]
    rules = stopping.Rules(**study.config["stop"], batch=study.config["budget"])
    if stopping.asked_for(rules):
        line["stopped"] = stopping.reason(history, rules, study.config["cycles"])
    place = {"trial": line["trial"], "cycle": line["cycle"]}
    of_pairs = agreement.compare_all(
        selected.compared, selected.compared_scores, selections.offered(selected)
    )
    directory.record(study.workdir, "timings.jsonl", {**place, **clock.seconds})
    if of_pairs:
        directory.record(study.workdir, "pairs.jsonl", *({**place, **pair} for pair in of_pairs))
    directory.record(study.workdir, "cycles.jsonl", line)  # last, as it makes the cycle complete
    return line


def select(
    study: Study,
    images: pool.Pool,
    holdout: np.ndarray,
    progress: checkpoints.Progress | None,
    trial: int,
    cycle: int,
    clock: "Clock",
) -> selections.Selections:
    """Draws the sub-pool of a cycle, and lets every strategy select from it."""
    drawn = candidates.draw(study, images, holdout, trial, cycle)
    names = roles.names_of(study.config, cycle)
    return select_from(study, names, drawn, images, progress, trial, cycle, clock)


def select_from(
    study: Study,
    names: Mapping[str, str],
    drawn: candidates.Candidates,
    images: pool.Pool,
    progress: checkpoints.Progress | None,
    trial: int,
    cycle: int,
    clock: "Clock",
) -> selections.Selections:
    """Lets every strategy select from the candidates of a cycle.

    Args:
      study: the study.
      names: of the strategies, by role.
      drawn: the candidates; the scenario defines them, and in a stream what the uncertainty strategy chose.
      images: the pool, for the labeled images.
      progress: the model of the cycle before; None while there is none.
      trial, cycle: name the keys.
      clock: counts the seconds of each phase.
    """
    config = study.config
    state = progress.state if progress else None
    space = roles.space_of(config, cycle)
    found = [registry.find(name) for name in names.values()]
    wanted = {output for strategy in found for output in registry.needs_of(strategy, space)}
    known = config["oracle"] == "dataset"  # the labels of the candidates: diagnostics compare with them
    wanted |= diagnose.NEEDS if known else set()
    try:
        key = key_of(study, trial, cycle, "dropout")
        view = view_of(drawn.study, images, drawn.rows, state, wanted, cycle, space, key)
        clock.lap("score")
        made, details = candidates.choose(study, names, drawn, view, trial, cycle)
    except RunError as error:
        raise RunError(f"trial {trial}, cycle {cycle}: {error}") from error
    for role, selection in made.items():
        if selection.note:
            logging.warning("trial %d, cycle %d, %s: %s", trial, cycle, names[role], selection.note)
    clock.lap("select")
    if known and processes.is_first():
        diagnose.write(drawn.study, view, drawn.rows, made["uncertainty"], made["diversity"], trial, cycle)
        clock.lap("diagnose")
    picked = {role: drawn.names[selection.chosen] for role, selection in made.items()}
    details |= {f"ties/{role}": np.array(selection.ties, np.int32) for role, selection in made.items()}
    details |= candidates.recipes_of(drawn, made[roles.acquired(config, cycle)].chosen)
    if state is not None and config["stop"]["stability"]:
        details["stop_predictions"] = validation.predicted(study, state, validation.stop_set(study, trial))
    compared = {name: roles.role_of(config, name) for name in config["compare"]}
    own = selections.Selections(
        subset=drawn.names,
        uncertainty=picked["uncertainty"],
        diversity=picked["diversity"],
        acquired=picked[roles.acquired(config, cycle)],
        scores=made["uncertainty"].scores,
        compared={name: picked[role] for name, role in compared.items()},
        compared_scores={name: made[role].scores for name, role in compared.items()},
        details=details,
    )
    return processes.shared(lambda: own)  # whatever the processors of the others make of the last digit


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
