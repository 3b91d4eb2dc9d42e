"""Judging the models of a trial without the test set: held-out images, folds, stable predictions.

Shapes: n labeled images, B in a batch.
"""

import jax
import numpy as np

from aljax.experiment.fit import fit
from aljax.experiment.monitor import Monitor
from aljax.experiment.study import Study, capacity, chunk, key_of
from aljax.records.files import Record
from aljax.runtime import mesh
from aljax.scenarios import pool, stopping
from aljax.training.predict import log_probs_of
from aljax.training.step import TrainState


def draw_holdout(key: jax.Array, batch: np.ndarray, fraction: float, labeled: int, before: int) -> np.ndarray:
    """Draws images of a new batch to hold out for good, so that `fraction` of all labeled images are.

    Args:
      key: a key.
      batch: indices, [B].
      fraction: in [0, 1).
      labeled: counts the labeled images, the batch included.
      before: counts the images that are held out already.

    Returns:
      Some of the batch, at random, [round(fraction labeled) - before] int32.
    """
    count = max(0, round(fraction * labeled) - before)
    return np.asarray(jax.random.permutation(key, batch), np.int32)[:count]


def folds(key: jax.Array, labeled: np.ndarray, count: int) -> list[np.ndarray]:
    """Splits the labeled images [n] at random into `count` parts whose sizes differ by one at most."""
    return np.array_split(np.asarray(jax.random.permutation(key, labeled), np.int32), count)


def extended_holdout(study: Study, pools: list[pool.Pool], holdout: np.ndarray, trial: int) -> np.ndarray:
    """Returns the held-out images, with some of the newest batch; synthesized images are never held out.

    Args:
      study: the study.
      pools: the pool before the first cycle, and after each cycle's labels.
      holdout: the images held out before, [v].
      trial: names the key.
    """
    fraction = study.config["validation_fraction"]
    if not fraction:
        return holdout
    labeled = pools[-1].labeled
    real = labeled < len(study.ids)
    batch = labeled[real & (np.arange(len(labeled)) >= len(pools[-2].labeled))]
    key = key_of(study, trial, len(pools) - 1, "validation")
    return np.concatenate([holdout, draw_holdout(key, batch, fraction, int(real.sum()), len(holdout))])


def trained_on(pools: list[pool.Pool], holdout: np.ndarray) -> list[pool.Pool]:
    """Returns the pools that the models of the cycles are trained on: without the held-out images."""
    return [without(images, holdout) for images in pools[1:]]


def without(images: pool.Pool, holdout: np.ndarray) -> pool.Pool:
    """Returns the pool as if the held-out images were not labeled, in the order of labeling."""
    return images._replace(labeled=images.labeled[~np.isin(images.labeled, holdout)])


def judge(
    study: Study,
    state: TrainState,
    pools: list[pool.Pool],
    holdout: np.ndarray,
    before: np.ndarray | None,
    trial: int,
    monitor: Monitor,
) -> Record:
    """Measures what the rules of `stopping` ask of a cycle's model.

    Args:
      study: the study.
      state: the model.
      pools: the pool after each cycle's labels.
      holdout: the labeled images that the model was not trained on, [v].
      before: the previous model's predictions of the stop set; None without a previous model.
      trial: names the keys.
      monitor: sees the epochs of cross-validation.

    Returns:
      `validation_accuracy`, on the held-out images or by cross-validation, and `stability`, the
      kappa of this model and the one before on the stop set; each where it is asked for.
    """
    judged: Record = {}
    if study.config["validation_fraction"]:
        judged["validation_accuracy"] = hits(study, state, holdout) / len(holdout)
    if study.config["validation_folds"]:
        judged["validation_accuracy"] = cross_validated(study, pools, trial, monitor)
    if study.config["stop"]["stability"]:
        now = predicted(study, state, stop_set(study, trial))
        judged["stability"] = None if before is None else stopping.kappa(before, now)
    return judged


def cross_validated(study: Study, pools: list[pool.Pool], trial: int, monitor: Monitor) -> float:
    """Returns the cross-validated accuracy: of each fold, by a model trained on the others."""
    cycle, labeled = len(pools), pools[-1].labeled
    parts = folds(key_of(study, trial, cycle, "folds"), labeled, study.config["validation_folds"])
    right = 0
    for number, part in enumerate(parts, start=1):
        others = [without(images, part) for images in pools]
        progress = fit(study, others, trial, monitor, part=f"-fold-{number}")
        right += hits(study, progress.state, part)
    return right / len(labeled)


def stop_set(study: Study, trial: int) -> np.ndarray:
    """Draws as many images as a sub-pool has, the same in all cycles of a trial; needs no labels."""
    shuffled = jax.random.permutation(key_of(study, trial, 0, "stop set"), len(study.ids))
    return np.asarray(shuffled, np.int32)[: study.config["subset_size"]]


def hits(study: Study, state: TrainState, rows: np.ndarray) -> int:
    """Counts the images that the model classifies correctly."""
    return int(np.sum(predicted(study, state, rows) == np.asarray(study.train_set.labels)[rows]))


def predicted(study: Study, state: TrainState, rows: np.ndarray) -> np.ndarray:
    """Predicts the classes of images, [n] int32; compiled once for all `rows` [n]."""
    log_probs = log_probs_of(
        state,
        study.train_set,
        rows,
        max(capacity(study), study.config["subset_size"]),
        networks=study.networks,
        chunk=chunk(study),
        sharding=mesh.spread(study.mesh),
    )
    return log_probs.argmax(-1).astype(np.int32)
