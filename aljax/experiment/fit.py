"""Training the networks of one cycle, through interruptions and training that goes astray."""

import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from aljax.errors import Interrupted, NonFiniteError
from aljax.experiment import monitor
from aljax.experiment.study import Study, capacity, key_of
from aljax.records import checkpoints
from aljax.records.checkpoints import Progress
from aljax.runtime import mesh
from aljax.scenarios import pool
from aljax.training import ensemble
from aljax.training import step as train


def fit(
    study: Study,
    pools: Sequence[pool.Pool],
    trial: int,
    watch: monitor.Watch,
    before: Progress | None = None,
    part: str = "",
) -> Progress:
    """Trains on all labels of a cycle, or on from the cycle's newest checkpoint where there is one.

    The weights are fresh; with `config.warm_start` they are those of the cycle before. Where
    training goes astray it begins again with other fresh weights, `config.retries` times.

    Args:
      study: the study.
      pools: the pool after each cycle's labels; the last one's cycle is trained.
      trial: from 0.
      watch: sees every epoch.
      before: the cycle before, if it is at hand; where it is needed and is not, it is trained again.
      part: names a training beside the main one, with keys and checkpoints of its own.
    """
    cycle = len(pools)
    folder = study.workdir / "checkpoints" / f"trial-{trial:02d}{part}"
    fresh = fresh_weights(study, trial, cycle, 0, part)
    progress = checkpoints.latest(folder, cycle, like=fresh)
    if progress is None and study.config["warm_start"] and cycle > 1:
        before = before or fit(study, pools[:-1], trial, watch)
        momentum = jax.tree.map(jnp.zeros_like, before.state.momentum)
        progress = fresh._replace(state=before.state._replace(momentum=momentum))
    progress = progress or fresh
    while True:
        try:
            return fit_on(study, pools[-1], trial, cycle, watch, folder, progress, part)
        except NonFiniteError as error:
            if progress.attempt == study.config["retries"]:
                raise
            logging.warning("%s; trying again with other weights", error)
            progress = fresh_weights(study, trial, cycle, progress.attempt + 1, part)


def fresh_weights(study: Study, trial: int, cycle: int, attempt: int, part: str = "") -> Progress:
    """Where training begins: each attempt and each member of the ensemble has other weights."""
    name = "weights" if attempt == 0 else f"weights of attempt {attempt}"
    state = ensemble.fresh(
        keys_of_members(study, trial, cycle, name + part),
        networks=study.networks,
        image_shape=study.train_set.images.shape[1:],
    )
    return Progress(attempt, 0, state, train.no_metrics())


def keys_of_members(study: Study, trial: int, cycle: int, name: str) -> jax.Array:
    """A key of its own for each member of the ensemble; the first has that of an ensemble of one."""
    others = [f"{name}, member {member}" for member in range(1, study.config["ensemble"])]
    return jnp.stack([key_of(study, trial, cycle, own) for own in (name, *others)])


def fit_on(
    study: Study,
    images: pool.Pool,
    trial: int,
    cycle: int,
    watch: monitor.Watch,
    folder: Path,
    start: Progress,
    part: str = "",
) -> Progress:
    """Trains on from `start` to the last epoch, with checkpoints in `folder`."""
    everywhere = mesh.everywhere(study.mesh)
    labeled, num_labeled = jax.device_put(
        (pool.padded(images, capacity(study)), np.int32(len(images.labeled))), everywhere
    )
    keys = keys_of_members(study, trial, cycle, f"batches{part}")
    if study.config["shared_batches"]:
        keys = jnp.broadcast_to(keys[:1], keys.shape)
    progress = start._replace(state=jax.device_put(start.state, everywhere))
    told, saved = start.epoch, time.monotonic()

    def tell() -> None:
        nonlocal told
        if progress.epoch > told:
            watch.epoch_done(trial, cycle, progress.epoch, progress.metrics, part)
            told = progress.epoch

    for epoch in range(start.epoch, study.recipe.epochs):
        state, metrics = ensemble.epoch(
            progress.state,
            study.train_set,
            labeled,
            num_labeled,
            np.int32(epoch),
            keys,
            networks=study.networks,
            recipe=study.recipe,
            sharding=mesh.spread(study.mesh),
        )
        tell()  # of the epoch before this one, so that the device never waits for the host
        progress = Progress(start.attempt, epoch + 1, state, metrics)
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
