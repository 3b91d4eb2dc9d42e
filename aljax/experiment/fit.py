"""Training the networks of one cycle, through interruptions and training that diverges."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from aljax.errors import Interrupted, NonFiniteError
from aljax.experiment.monitor import Monitor
from aljax.experiment.study import Study, capacity, keys_of, places
from aljax.records import checkpoints
from aljax.records.checkpoints import Progress
from aljax.runtime import mesh, processes
from aljax.scenarios import pool
from aljax.training import ensemble, statistics
from aljax.training.feed import gathered
from aljax.training.recipe import epochs_of
from aljax.training.step import EpochMetrics, no_metrics

BRISK = 0.25  # seconds: a call that takes fewer is followed by one of twice as many epochs
WORTH = 1 / 6  # minutes: a training that took fewer is done again rather than saved at its end


def fit(
    study: Study,
    pools: Sequence[pool.Pool],
    trial: int,
    monitor: Monitor,
    before: Progress | None = None,
    part: str = "",
    accept: Callable[[Progress], object] = lambda progress: None,
) -> Progress:
    """Trains on all labels of a cycle, from the cycle's newest checkpoint on where there is one.

    The weights are fresh; with `config.warm_start` they are those of the cycle before, and the optimizer
    is fresh. Training that diverges, or whose model is not accepted, begins again with other fresh weights,
    `config.retries` times.

    Args:
      study: the study.
      pools: the pool after each cycle's labels; the last one's cycle is trained.
      trial: from 0.
      monitor: sees every epoch.
      before: the cycle before, if it is at hand; where it is needed and is not, it is trained again.
      part: names a training beside the main one, with keys and checkpoints of its own.
      accept: raises NonFiniteError if a trained model is not to be used.
    """
    cycle = len(pools)
    folder = study.workdir / "checkpoints" / f"trial-{trial:02d}{part}"
    fresh = fresh_weights(study, trial, cycle, 0, part)
    owner = checkpoints.training(study.identity, folder, cycle, pools[-1].labeled)
    progress = newest(folder, owner, fresh)
    if progress is None and study.config["warm_start"] and cycle > 1:
        before = before or fit(study, pools[:-1], trial, monitor, accept=accept)
        progress = fresh._replace(state=ensemble.restarted(before.state, recipe=study.recipe))
    progress = progress or fresh
    while True:
        try:
            trained = fit_on(study, pools[-1], trial, cycle, monitor, folder, progress, part)
            accept(trained)
            return trained
        except NonFiniteError as error:
            if progress.attempt == study.config["retries"]:
                raise
            logging.warning("%s; trying again with other weights", error)
            progress = fresh_weights(study, trial, cycle, progress.attempt + 1, part)


def fresh_weights(study: Study, trial: int, cycle: int, attempt: int, part: str = "") -> Progress:
    """Returns where training begins: each attempt and each member of the ensemble has other weights."""
    name = "weights" if attempt == 0 else f"weights of attempt {attempt}"
    state = ensemble.fresh(
        keys_of_members(study, trial, cycle, name + part),
        networks=study.networks,
        recipe=study.recipe,
        image_shape=study.train_set.images.shape[1:],
    )
    return Progress(attempt, 0, state, no_metrics())


def keys_of_members(study: Study, trial: int, cycle: int, name: str) -> jax.Array:
    """Returns each member's own key; the first has that of an ensemble of one."""
    others = [f"{name}, member {member}" for member in range(1, study.config["ensemble"])]
    return keys_of(study, trial, cycle, (name, *others))


def fit_on(
    study: Study,
    images: pool.Pool,
    trial: int,
    cycle: int,
    monitor: Monitor,
    folder: Path,
    start: Progress,
    part: str = "",
) -> Progress:
    """Trains on from `start` to the last epoch in effect, with checkpoints in `folder`.

    The compiled function is called for one epoch, then for two, and so on as long as that takes no time to
    speak of: a small head is not kept waiting for its caller, and a large network stops where it is asked to.

    A checkpoint holds what training left; where the statistics of batch normalization are recomputed, they
    are whenever it is read.
    """
    owner = checkpoints.training(study.identity, folder, cycle, images.labeled)
    everywhere = mesh.everywhere(study.mesh)
    room = places(study, len(images.labeled))
    examples = gathered(study.train_set, images.labeled, room, everywhere)
    labeled = np.minimum(np.arange(capacity(study), dtype=np.int32), room - 1)  # their places there
    labeled, num_labeled = mesh.put((labeled, np.int32(len(images.labeled))), everywhere)
    keys = keys_of_members(study, trial, cycle, f"batches{part}")
    if study.config["shared_batches"]:
        keys = jnp.broadcast_to(keys[:1], keys.shape)
    progress = start._replace(state=mesh.put(start.state, everywhere))
    epochs = epochs_of(study.recipe, len(images.labeled))
    at_once, saved = 1, time.monotonic()
    while progress.epoch < epochs:
        began, count = time.monotonic(), min(at_once, epochs - progress.epoch)
        state, metrics = ensemble.epochs(
            progress.state,
            examples,
            labeled,
            num_labeled,
            np.int32(progress.epoch),
            np.int32(count),
            np.int32(epochs),
            keys,
            networks=study.networks,
            recipe=study.recipe,
            sharding=mesh.spread(study.mesh),
        )
        of_epochs = jax.device_get(mesh.here(metrics))
        for of_epoch in zip(*(values[:count] for values in of_epochs), strict=True):
            progress = Progress(start.attempt, progress.epoch + 1, state, EpochMetrics(*of_epoch))
            monitor.epoch_done(trial, cycle, progress.epoch, epochs, progress.metrics, part)
        now, most = time.monotonic(), study.config["checkpoint_minutes"]
        overdue = now - saved > 60 * (min(WORTH, most) if progress.epoch == epochs else most)
        stop, any_overdue, any_slow = processes.highest(monitor.stop_requested, overdue, now - began >= BRISK)
        if not any_slow:
            at_once = min(2 * at_once, ensemble.AT_ONCE)
        if stop or any_overdue:
            save(folder, owner, progress)
            saved = time.monotonic()
        if stop:
            raise Interrupted(
                stop,
                f"stopped in trial {trial}, cycle {cycle}, after epoch {progress.epoch}; "
                "the same command goes on from there",
            )
    if not study.recipe.precise_bn:
        return progress
    state = statistics.recomputed(
        progress.state,
        examples,
        labeled,
        num_labeled,
        keys[0],
        networks=study.networks,
        recipe=study.recipe,
        sharding=mesh.spread(study.mesh),
    )
    return progress._replace(state=state)


def save(folder: Path, owner: checkpoints.Training, progress: Progress) -> None:
    """Writes a checkpoint, as `checkpoints.save`; of several processes, the first one does."""
    whole = mesh.here(progress)
    processes.shared(partial(checkpoints.save, folder, owner, whole))


def newest(folder: Path, owner: checkpoints.Training, like: Progress) -> Progress | None:
    """Loads the newest checkpoint, as `checkpoints.latest`; several processes have it from the first."""
    structure = jax.tree.structure(like)

    def leaves() -> list[np.ndarray] | None:
        found = checkpoints.latest(folder, owner, like=like)
        return None if found is None else jax.tree.leaves(jax.device_get(found))

    if processes.count() == 1:
        return checkpoints.latest(folder, owner, like=like)
    found = processes.shared(leaves)
    return None if found is None else jax.tree.unflatten(structure, found)
