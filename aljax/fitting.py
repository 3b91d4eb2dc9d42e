"""Training the networks of one cycle, through interruptions and training that goes astray."""

import time
from pathlib import Path

import jax
import numpy as np
from absl import logging

from aljax import checkpoints, mesh, monitor, pool, train
from aljax.errors import Interrupted, NotFinite
from aljax.study import Study, key_of


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
