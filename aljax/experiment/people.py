"""A run that people label: in each cycle two strategies select from one sub-pool, and a person is asked.

One cycle: draw the sub-pool, let both strategies select from it with the model of the cycle before, record
how far they agree, ask a person for the classes of the uncertainty batch (or what `config.acquire` says),
train afresh on all labels, evaluate. Cycle 1 is random. Where there is no test set, a share of each batch is
drawn at random to judge the models, from images that are kept from the strategies and from training.

Between two starts of the command images may come, go and change their names, classes be added and labels be
corrected: an image is known by its file's name and content (see `collection`).
"""

import contextlib
import math
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from absl import logging

from aljax import agreement, metrics, oracles
from aljax.config import check, embedded, flatten, images_in
from aljax.data import dataset as data
from aljax.errors import Interrupted, InvalidInputError, NonFiniteError
from aljax.experiment import collection, inputs, loop, questions, roles, saved, trackers
from aljax.experiment.collection import Known
from aljax.experiment.fit import fit
from aljax.experiment.loop import Clock
from aljax.experiment.monitor import Monitor, monitoring
from aljax.experiment.study import (
    Study,
    assembled,
    check_training,
    environment,
    local_mesh,
    steps_of,
)
from aljax.models import encoders
from aljax.oracles import Oracle, Progress, Session, Setting
from aljax.oracles.files import take_all
from aljax.records import (
    answers,
    checkpoints,
    chosen,
    directory,
    files,
    inventory,
    journal,
    lock,
    manifest,
    places,
    selections,
    stored_config,
    summary,
)
from aljax.records.selections import Selections
from aljax.report import make, terminal
from aljax.scenarios import pool
from aljax.strategies import registry

# Fields that may change when a run goes on.
FREE = (
    *("cycles", "budget", "oracle", "page.port", "devices", "checkpoint_minutes", "tracker"),
    *("dataset.data_dir", "dataset.images_dir", "dataset.labels", "dataset.class_names"),
    *("dataset.skip_unreadable", "dataset.cache"),
)


ENOUGH = 50  # images that judge a model, from which on its accuracy is compared with chance


class World(NamedTuple):
    """All that a start of the command finds."""

    study: Study
    dataset: data.Dataset
    judges: np.ndarray  # images that judge the models, [N] bool; none where there is a test set
    monitor: Monitor


def run(config: Mapping[str, Any], workdir: str | Path, oracle: Oracle | None = None) -> None:
    """Runs the cycles that are left, each once its questions are answered, and prints their table.

    Args:
      config: nested dictionaries, as `get_config().to_dict()` of a file in configs/ gives them.
      workdir: the run directory.
      oracle: who answers; by default whom the config names.

    Raises:
      InvalidInputError: if the config, the images or the workdir cannot be used; nothing is lost.
      RunError: if a result cannot be written or is not a finite number; what was complete stays.
      Waiting: if answers come later.
      Interrupted: after SIGINT or SIGTERM; answers are kept.
    """
    check(config)
    config = {**config, "compare": registry.expanded(config["compare"])}
    registry.check(config)
    workdir = Path(workdir)
    oracle = oracle or oracles.find(config["oracle"])
    devices = local_mesh(config)
    check_training(config)
    trackers.check(config["tracker"])
    path = workdir / stored_config.NAME
    before = stored_config.flat(path) if path.exists() else {}
    with directory.opened(workdir, dict(config), environment(devices), FREE):
        lines = directory.completed(workdir, planned(config, workdir))
        if not embedded(config["dataset"]) and not encoders.installed():
            logging.warning("no pretrained network: one is trained on the images alone; %s", encoders.INSTALL)
        dataset = inputs.load(config, workdir, unknown=True)
        check_files(config, dataset)
        study = assembled(config, workdir, devices, dataset)
        judges = judges_of(study, dataset)
        take_stock(study, dataset, judges, before, len(lines) + 1)
        track = partial(trackers.begin, config, workdir)
        with monitoring(partial(steps_of, study), places.plan(config), lines, workdir, track) as monitor:
            world = World(study, dataset, judges, monitor)
            if len(lines) < config["cycles"]:
                manifest.begin(workdir)
                summary.remove(workdir)  # of fewer cycles
                manifest.enter(workdir, manifest.lasting(workdir))
                with conversation(oracle, study) as session:
                    run_cycles(world, lines, session)
                make.report(workdir, anew=True)
                if len(directory.completed(workdir, planned(config, workdir))) >= config["cycles"]:
                    manifest.write(workdir)
            else:
                learn_again(world, len(lines))
        terminal.show(workdir)


def run_cycles(world: World, lines: Sequence[files.Record], session: Session) -> None:
    """Runs the cycles after those whose `lines` stand in the records, until no image is left to ask about."""
    study = world.study
    refresh = make.Refresher(study.workdir)
    if any(line["epochs"] for line in lines) and not saved.identity(study.workdir):
        make_model(world, len(lines))
    history = list(lines)
    progress = None
    for cycle in range(len(lines) + 1, study.config["cycles"] + 1):
        clock = Clock()
        path = selections.path_of(study.workdir, 0, cycle)
        selected = selections.load(path)
        if selected is None:
            known = known_now(world)
            if progress is None and cycle > 1:
                progress = trained(world, known, cycle - 1)
                clock.lap("recover")
            selected = questions.select(study, world.dataset.train, known, progress, cycle, clock)
            if selected is None:
                logging.info("no image is left to ask about")
                break
            lock.check_held(study.workdir)
            manifest.put(study.workdir, path, selections.content(selected))
        names = questions.names_of(study, selected, cycle)
        acquired = roles.acquired(study.config, cycle)
        chosen.save(study.workdir, 0, cycle, selected, names, acquired, selected.details["files"].tolist())
        manifest.enter(study.workdir, manifest.of_place(study.workdir, 0, cycle))
        clock.lap("record")
        batch = questions.batch_of(world.dataset.train, selected, names[acquired], cycle)
        session.report(progress_of(history, "asking", cycle, known_now(world)))
        with interruptible(world.monitor):
            session.ask(batch)
        clock.lap("ask")
        known = known_now(world)
        world.monitor.listener = partial(report_training, session, history, cycle, known)
        world.monitor.listener(0.0)
        progress = trained(world, known, cycle)
        clock.lap("train")
        measured = evaluate(world, known, progress)
        clock.lap("evaluate")
        if progress is not None:
            saved.save(study, progress, identity_of(world, known))
        line = {
            "trial": 0,
            "cycle": cycle,
            "labeled": int(known.labeled.sum()),
            "budget": study.config["budget"],
            "subset_size": len(selected.subset),
            **agreement.measured(selected.uncertainty, selected.diversity, len(selected.subset))._asdict(),
            "uncertainty": names["uncertainty"],
            "diversity": names["diversity"],
            "acquired": names[acquired],
            "ties": selections.ties(selected),
            "selections_sha256": selections.digest(path),
            **measured,
            **answers_of(study.workdir, selected, cycle),
        }
        history.append(with_doubts(world, directory.plain(line), known, selected))
        loop.record(study, history, selected, clock)
        world.monitor.cycle_done(history[-1])
        refresh()
    session.report(progress_of(history, "finished", len(history), known_now(world)))


def learn_again(world: World, cycle: int) -> None:
    """Trains the model of a finished run again if labels, classes or images are not those it learned."""
    known, workdir = known_now(world), world.study.workdir
    if saved.identity(workdir) != identity_of(world, known):
        make_model(world, cycle)
    make.report(workdir)
    if not manifest.finished(workdir):  # it was killed while the report was made
        manifest.write(workdir)
        return
    written = (stored_config.NAME, inventory.NAME, inventory.CHANGES, saved.NAME)
    there = [name for name in written if (workdir / name).exists()]
    manifest.leave(workdir, there)
    manifest.enter(workdir, there)


def make_model(world: World, cycle: int) -> None:
    """Trains the model of a cycle again on what is known now, and saves it."""
    known, workdir = known_now(world), world.study.workdir
    if saved.identity(workdir):
        logging.info("labels have changed since the last cycle: its model is trained again")
    else:
        logging.warning("%s: missing or damaged; it is trained again", workdir / saved.NAME)
    if (progress := trained(world, known, cycle, "-again")) is not None:
        saved.save(world.study, progress, identity_of(world, known))
        forget(workdir, "-again")


def planned(config: Mapping[str, Any], workdir: Path) -> list[places.Place]:
    """Returns the places of the cycles that are planned or recorded: `config.cycles` may become smaller."""
    recorded, _ = files.read_lines(workdir / "cycles.jsonl")
    return places.plan({**config, "cycles": max(config["cycles"], len(recorded))})


def setting_of(study: Study) -> Setting:
    """Returns what an oracle knows of the run."""
    config = study.config
    return Setting(
        workdir=study.workdir,
        images=images_in(config["dataset"]),
        class_names=study.class_names,
        port=config["page"]["port"],
        strategy=roles.names_of(config, cycle=2)[roles.acquired(config, cycle=2)],
    )


@contextlib.contextmanager
def conversation(oracle: Oracle, study: Study) -> Iterator[Session]:
    """Yields an oracle's session; raises InvalidInputError if a user's own gives none."""
    field = f"config.oracle={study.config['oracle']!r}"
    given = oracle(setting_of(study))
    if not isinstance(given, contextlib.AbstractContextManager):
        raise InvalidInputError(
            f"{field}: returns {given!r}; accepted: a context manager that yields a session"
        )
    with given as session:
        if not all(callable(getattr(session, name, None)) for name in Session._fields):
            raise InvalidInputError(f"{field}: yields {session!r}; accepted: one with ask and report")
        yield session


def check_files(config: Mapping[str, Any], dataset: data.Dataset) -> None:
    """Raises InvalidInputError if the images of a data set are no files that a person can be shown."""
    if not dataset.train.files:
        raise InvalidInputError(
            f"config.dataset.source={config['dataset']['source']!r}: accepted with "
            f"config.oracle={config['oracle']!r}: 'unlabeled', a folder of images, or 'embeddings' with "
            "config.dataset.images_dir"
        )


def take_stock(
    study: Study, dataset: data.Dataset, judges: np.ndarray, before: Mapping[str, Any], cycle: int
) -> None:
    """Enters the labels that the images came with, and what has changed since the last start.

    Args:
      study: the study.
      dataset: the images as they are now.
      judges: those that judge the models, [N] bool.
      before: the config of the last start, by dotted names; {} at the first.
      cycle: the one that is next.
    """
    workdir, time = study.workdir, journal.now()
    answers.read(workdir)  # before anything is changed
    directory.repaired(workdir / journal.NAME, journal.CHECKSUM)
    directory.repaired(workdir / inventory.CHANGES)
    of_images = inventory.update(workdir, collection.listed(dataset, judges))
    if of_images:
        logging.info("images have changed since the last start: %s", inventory.in_words(of_images))
    take_all(workdir, study.class_names)
    given = journal.read(workdir)
    if new := collection.imported(dataset, given, time):
        journal.append(workdir, *new)
    now = stored_config.flat(workdir / stored_config.NAME)
    found = [*collection.of_fields(before, now, FREE), *of_images]
    if found:
        path = workdir / inventory.CHANGES
        if not path.exists():
            files.write(path, b"")
        directory.record(workdir, path.name, *({"cycle": cycle, "time": time, **one} for one in found))
    stands = journal.standing(given).values()
    for name in sorted({one.label for one in stands if one.answer == "label"} - {*study.class_names}):
        logging.warning("labels %r do not count: the classes are %s", name, ", ".join(study.class_names))
    of_image: dict[str, journal.Answer] = {}
    for one in (one for one in stands if one.answer == "label"):
        if (other := of_image.setdefault(one.sha256, one)).label != one.label:
            told = (other.file, one.file, other.label, one.label)
            logging.warning("%s and %s are the same image, and have the labels %r and %r", *told)


def judges_of(study: Study, dataset: data.Dataset) -> np.ndarray:
    """Marks the images that judge the models, [N] bool: none where there is a test set."""
    fraction = 0.0 if len(dataset.test.labels) else study.config["validation_fraction"]
    return collection.judging(dataset.train, study.config["seed"], fraction)


def known_now(world: World) -> Known:
    """Returns what the journal says now."""
    answers = journal.read(world.study.workdir)
    return collection.known(world.dataset.train, world.study.class_names, answers, world.judges)


@contextlib.contextmanager
def interruptible(monitor: Monitor | None = None) -> Iterator[None]:
    """Lets SIGINT and SIGTERM end the waiting for answers at once."""
    message = "stopped while questions were asked; answers are kept, and the same command goes on"
    if monitor and monitor.stop_requested:
        raise Interrupted(monitor.stop_requested, message)
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: Any) -> NoReturn:
        raise Interrupted(number, message)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def trained(world: World, known: Known, cycle: int, part: str = "") -> checkpoints.Progress | None:
    """Trains the model of a cycle on all labels; None without any. A `part` is as in `fit`."""
    study, images = world.study, world.dataset.train
    if not len(known.trained):
        logging.warning("cycle %d: no image has a label to train on", cycle)
        return None
    study = study._replace(
        train_set=study.train_set._replace(labels=questions.labels_of(study, known)),
        identity=identity_of(world, known),
    )
    pools = [pool.Pool(len(images.ids), known.trained)] * cycle
    return fit(study, pools, 0, world.monitor, part=part, accept=partial(accept, world, known, cycle))


def accept(world: World, known: Known, cycle: int, progress: checkpoints.Progress) -> None:
    """Raises NonFiniteError if the loss of a model on the images that judge it is not finite."""
    loss = evaluate(world, known, progress)["test_loss"]
    if loss is not None and not math.isfinite(loss):
        raise NonFiniteError(f"cycle {cycle}: test_loss is {loss}")


def forget(workdir: Path, part: str) -> None:
    """Removes the checkpoints of a training beside the run's own, which is done."""
    shutil.rmtree(workdir / "checkpoints" / f"trial-00{part}", ignore_errors=True)


def identity_of(world: World, known: Known) -> str:
    """Returns a digest of all that a training depends on, but for the devices."""
    study = world.study
    fields = {name: value for name, value in flatten(dict(study.config)).items() if name not in FREE}
    return collection.identity(repr(fields), world.dataset.train, study.class_names, known)


def evaluate(world: World, known: Known, progress: checkpoints.Progress | None) -> files.Record:
    """Measures a model on the test set, or on the labeled images that judge; None for what is unknown."""
    if progress is None:
        unknown = dict.fromkeys(("accuracy", "test_loss", "train_loss", "interval"))
        return {**unknown, "epochs": 0, "retries": 0, "judged": 0}
    count = len(world.dataset.test.labels)
    if count:
        measured = loop.evaluate(world.study, progress)
    else:
        count, rows = len(known.tested), known.tested
        log_probs, labels = questions.predicted(world.study, progress, rows), known.labels[rows]
        measured = {
            "accuracy": float(np.mean(log_probs.argmax(-1) == labels)) if count else None,
            "test_loss": float(-log_probs[np.arange(count), labels].mean()) if count else None,
            **loop.trained_fields(progress),
            **metrics.measured(world.study.config["metrics"], log_probs, labels, world.study.class_names),
        }
    interval = summary.wilson(float(measured["accuracy"]), count) if count else None
    return {**measured, "interval": interval, "judged": count}


def answers_of(workdir: Path, selected: Selections, cycle: int) -> files.Record:
    """Counts the images that a cycle asked about, and the answers of each kind to that."""
    asked = selections.asked(selected)
    hashes = set(asked.values())  # a file may have got another name since
    given = [one for one in journal.read(workdir) if one.sha256 in hashes and one.cycle == cycle]
    kinds = [one.answer for one in journal.standing(given).values()]
    return {"asked": len(asked), "answers": {kind: kinds.count(kind) for kind in journal.ANSWERS[:-1]}}


def with_doubts(world: World, line: files.Record, known: Known, selected: Selections) -> files.Record:
    """Returns a cycle's line with its `doubts`; an accuracy on few images is doubtful by its interval."""
    if line["judged"] < ENOUGH:
        return line
    study, tested = world.study, world.dataset.test.labels
    study = study._replace(
        train_set=study.train_set._replace(labels=known.labels),
        test_set=study.test_set._replace(labels=tested if len(tested) else known.labels[known.tested]),
    )
    return loop.with_doubts(study, line, pool.Pool(len(study.ids), known.trained), selected)


def progress_of(
    history: Sequence[files.Record], phase: str, cycle: int, known: Known, share: float = 0.0
) -> Progress:
    """Returns what an oracle may show while nobody is asked."""
    last: Mapping[str, Any] = history[-1] if history else {}
    interval = tuple(last["interval"]) if last.get("interval") else None
    return Progress(phase, cycle, int(known.labeled.sum()), last.get("accuracy"), interval, share)


def report_training(
    session: Session, history: Sequence[files.Record], cycle: int, known: Known, share: float
) -> None:
    """Reports the share of a training that is done."""
    session.report(progress_of(history, "training", cycle, known, share))
