"""The study: trials of active learning, in each cycle of which two strategies are compared.

One cycle: draw the sub-pool, let both strategies select from it with the model of the cycle
before, record how far they agree, label the uncertainty batch, train afresh on all labels,
evaluate. In cycle 1 there is no model, and both selections are random.
"""

import importlib.metadata
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh

import aljax
from aljax import (
    agreement,
    checkpoints,
    data,
    mesh,
    models,
    monitor,
    pool,
    records,
    report,
    scoring,
    strategies,
    train,
)
from aljax import config as fields
from aljax.errors import Interrupted, NotFinite, Refused, RunFailed


class Study(NamedTuple):
    """What stays the same over all trials and cycles."""

    config: Mapping[str, Any]
    workdir: Path
    networks: train.Networks
    recipe: train.Recipe
    mesh: Mesh
    train_set: train.Examples
    test_set: train.Examples
    key: jax.Array


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


def prepare(config: Mapping[str, Any], workdir: Path, devices: Mesh) -> Study:
    """Loads the data set and puts it on the devices."""
    dataset = data.load(**config["dataset"])
    fields.check_fits(config, dataset)
    records.check_same_data(workdir, data.digest(dataset))
    mean, std = data.channel_statistics(dataset.train.images)
    train_set, test_set = (
        train.Examples(*jax.device_put((split.images, split.labels, mean, std), mesh.everywhere(devices)))
        for split in (dataset.train, dataset.test)
    )
    dtype = config["model"]["dtype"]
    if dtype == "auto":
        dtype = "float32" if devices.devices.flat[0].platform == "cpu" else "bfloat16"
    backbone = models.ResNet18(len(dataset.class_names), config["model"]["width"], jnp.dtype(dtype))
    return Study(
        config=config,
        workdir=workdir,
        networks=train.Networks(backbone, models.LossPredictor()),
        recipe=train.Recipe(**{**config["train"], "milestones": tuple(config["train"]["milestones"])}),
        mesh=devices,
        train_set=train_set,
        test_set=test_set,
        key=jax.random.key(config["seed"]),
    )


def run_trial(study: Study, trial: int, lines: list[records.Record], watch: monitor.Watch) -> None:
    """Runs the cycles of one trial after those whose `lines` stand in the records."""
    images = pool.unlabeled(len(study.train_set.labels))
    progress = None
    for cycle in range(1, study.config["cycles"] + 1):
        path = records.selections_path(study.workdir, trial, cycle)
        selections = records.load_selections(path)
        clock = Clock()
        if selections is None:
            if cycle > 1 and progress is None:
                progress = fit(study, images, trial, cycle - 1, watch)
                clock.lap("recover")
            selections = select(study, images, progress, trial, cycle, clock)
            records.save_selections(path, selections)
        try:
            compared = agreement.compare(
                selections.uncertainty, selections.diversity, study.config["subset_size"]
            )
            images = pool.label(images, selections.uncertainty)
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
        records.append(study.workdir / "timings.jsonl", {"trial": trial, "cycle": cycle, **clock.seconds})
        records.append(study.workdir / "cycles.jsonl", line)
        watch.cycle_done(line)


def select(
    study: Study,
    images: pool.Pool,
    progress: checkpoints.Progress | None,
    trial: int,
    cycle: int,
    clock: "Clock",
) -> records.Selections:
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
    return records.Selections(
        subset, subset[uncertainty.chosen], subset[diversity.chosen], uncertainty.scores
    )


def fit(
    study: Study, images: pool.Pool, trial: int, cycle: int, watch: monitor.Watch
) -> checkpoints.Progress:
    """Trains afresh on all labels; from the cycle's newest checkpoint where there is one.

    Where training goes astray it begins again with other weights, `config.retries` times.
    """
    folder = study.workdir / "checkpoints" / f"trial-{trial:02d}"

    def fresh(attempt: int) -> checkpoints.Progress:
        name = "weights" if attempt == 0 else f"weights of attempt {attempt}"
        state = train.init(
            key_of(study, trial, cycle, name),
            networks=study.networks,
            image_shape=study.train_set.images.shape[1:],
        )
        return checkpoints.Progress(attempt, 0, state, train.no_metrics())

    first = fresh(0)
    progress = checkpoints.latest(folder, cycle, like=first) or first
    while True:
        try:
            return fit_on(study, images, trial, cycle, watch, folder, progress)
        except NotFinite as error:
            if progress.attempt == study.config["retries"]:
                raise
            logging.warning("%s; trying again with other weights", error)
            progress = fresh(progress.attempt + 1)


def fit_on(
    study: Study,
    images: pool.Pool,
    trial: int,
    cycle: int,
    watch: monitor.Watch,
    folder: Path,
    start: checkpoints.Progress,
) -> checkpoints.Progress:
    """Trains on from `start` to the last epoch, with checkpoints in `folder`."""
    everywhere = mesh.everywhere(study.mesh)
    capacity = study.config["cycles"] * study.config["budget"]
    labeled, num_labeled = jax.device_put(
        (pool.padded(images, capacity), np.int32(len(images.labeled))), everywhere
    )
    batches_key = key_of(study, trial, cycle, "batches")
    progress = start._replace(state=jax.device_put(start.state, everywhere))
    told, saved = start.epoch, time.monotonic()

    def tell() -> None:
        nonlocal told
        if progress.epoch > told:
            watch.epoch_done(trial, cycle, progress.epoch, progress.metrics)
            told = progress.epoch

    for epoch in range(start.epoch, study.recipe.epochs):
        state, metrics = train.train_epoch(
            progress.state,
            study.train_set,
            labeled,
            num_labeled,
            np.int32(epoch),
            batches_key,
            networks=study.networks,
            recipe=study.recipe,
            sharding=mesh.spread(study.mesh),
        )
        tell()  # of the epoch before this one, so that the device never waits for the host
        progress = checkpoints.Progress(start.attempt, epoch + 1, state, metrics)
        stop = watch.stop_requested
        overdue = time.monotonic() - saved > 60 * study.config["checkpoint_minutes"]
        if stop or (overdue and progress.epoch < study.recipe.epochs):
            tell()
            checkpoints.save(folder, cycle, progress)
            saved = time.monotonic()
        if stop:
            raise Interrupted(
                stop,
                f"stopped in trial {trial}, cycle {cycle}, after epoch {progress.epoch}; "
                "the same command goes on from there",
            )
    if progress.epoch > start.epoch:
        tell()
        checkpoints.save(folder, cycle, progress)
    return progress


def key_of(study: Study, trial: int, cycle: int, name: str) -> jax.Array:
    """The key of one use of randomness: each trial, cycle and name has its own."""
    key = jax.random.fold_in(study.key, np.uint32(zlib.crc32(name.encode())))
    return jax.random.fold_in(jax.random.fold_in(key, trial), cycle)


def strategy_names(study: Study, cycle: int) -> tuple[str, str]:
    """The names of the uncertainty and the diversity strategy; without a model, both are random."""
    if cycle == 1:
        return "random", "random"
    return study.config["uncertainty"], study.config["diversity"]


def chunk(study: Study) -> int:
    """Images scored in one pass; a multiple of the number of devices, as the batch is."""
    return 4 * study.recipe.batch_size


def local_mesh(config: Mapping[str, Any]) -> Mesh:
    """The devices of this host that the config asks for."""
    try:
        return mesh.local(config["devices"], config["train"]["batch_size"])
    except ValueError as error:
        raise Refused(
            f"config.devices={config['devices']}: {error}; accepted: 0 for all, or fewer"
        ) from error


def environment(devices: Mesh) -> records.Record:
    """What a run's numbers depend on beside its config."""
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")}
    kind = devices.devices.flat[0].device_kind
    return {"versions": {**versions, "aljax": aljax.__version__}, "device": f"{devices.size} x {kind}"}


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
