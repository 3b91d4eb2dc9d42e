"""Judging the models of a trial without the test set: held-out images, folds, stable predictions.

Shapes: n labeled images, B in a batch.
"""

import jax
import numpy as np

from aljax.experiment import monitor
from aljax.experiment.fit import fit
from aljax.experiment.study import Study, capacity, chunk, key_of
from aljax.records.files import Record
from aljax.runtime import mesh
from aljax.scenarios import pool, stopping
from aljax.training.predict import classes_of
from aljax.training.step import TrainState


def hold_out(key: jax.Array, batch: np.ndarray, fraction: float, labeled: int, held: int) -> np.ndarray:
    """Which images of a new batch are held out, for good: so many that `fraction` of all labeled ones are.

    Args:
      key: a key.
      batch: indices, [B].
      fraction: in [0, 1).
      labeled: how many images are labeled, the batch included.
      held: how many of those before it are held out.

    Returns:
      Some of the batch, at random, [round(fraction labeled) - held] int32.
    """
    count = max(0, round(fraction * labeled) - held)
    return np.asarray(jax.random.permutation(key, batch), np.int32)[:count]


def folds(key: jax.Array, labeled: np.ndarray, count: int) -> list[np.ndarray]:
    """The labeled images [n], at random, in `count` parts whose sizes differ by one at most."""
    return np.array_split(np.asarray(jax.random.permutation(key, labeled), np.int32), count)


def held_out(study: Study, pools: list[pool.Pool], held: np.ndarray, trial: int) -> np.ndarray:
    """The held-out images, with some of the newest batch; images that were made are never held out.

    Args:
      study: the study.
      pools: the pool before the first cycle, and after each cycle's labels.
      held: the images held out before, [v].
      trial: names the key.
    """
    fraction = study.config["validation_fraction"]
    if not fraction:
        return held
    labeled = pools[-1].labeled
    real = labeled < len(study.ids)
    batch = labeled[real & (np.arange(len(labeled)) >= len(pools[-2].labeled))]
    key = key_of(study, trial, len(pools) - 1, "validation")
    return np.concatenate([held, hold_out(key, batch, fraction, int(real.sum()), len(held))])


def trained_on(pools: list[pool.Pool], held: np.ndarray) -> list[pool.Pool]:
    """What the model of each cycle is trained on: the pools after its labels, without those held out."""
    return [without(images, held) for images in pools[1:]]


def without(images: pool.Pool, held: np.ndarray) -> pool.Pool:
    """The pool as if the images held out were not labeled, in the order of labeling."""
    return images._replace(labeled=images.labeled[~np.isin(images.labeled, held)])


def judge(
    study: Study,
    state: TrainState,
    pools: list[pool.Pool],
    held: np.ndarray,
    before: np.ndarray | None,
    trial: int,
    watch: monitor.Watch,
) -> Record:
    """What the config asks to know of a cycle's model, for the rules of `stopping`.

    Args:
      study: the study.
      state: the model.
      pools: the pool after each cycle's labels.
      held: the labeled images that the model was not trained on, [v].
      before: what the model before predicts of the stop set; None where there is no such model.
      trial: names the keys.
      watch: sees the epochs of cross-validation.

    Returns:
      `validation_accuracy`, on the held-out images or by cross-validation, and `stability`, the
      kappa of this model and the one before on the stop set; each where it is asked for.
    """
    judged: Record = {}
    if study.config["validation_fraction"]:
        judged["validation_accuracy"] = hits(study, state, held) / len(held)
    if study.config["validation_folds"]:
        judged["validation_accuracy"] = cross_validated(study, pools, trial, watch)
    if study.config["stop"]["stability"]:
        now = predicted(study, state, stop_set(study, trial))
        judged["stability"] = None if before is None else stopping.kappa(before, now)
    return judged


def cross_validated(study: Study, pools: list[pool.Pool], trial: int, watch: monitor.Watch) -> float:
    """The share of labeled images that models get right which were trained on the other folds."""
    cycle, labeled = len(pools), pools[-1].labeled
    parts = folds(key_of(study, trial, cycle, "folds"), labeled, study.config["validation_folds"])
    right = 0
    for number, part in enumerate(parts, start=1):
        others = [without(images, part) for images in pools]
        progress = fit(study, others, trial, watch, part=f"-fold-{number}")
        right += hits(study, progress.state, part)
    return right / len(labeled)


def stop_set(study: Study, trial: int) -> np.ndarray:
    """As many images of the data set as a sub-pool has, the same in all cycles of a trial; no labels."""
    shuffled = jax.random.permutation(key_of(study, trial, 0, "stop set"), len(study.ids))
    return np.asarray(shuffled, np.int32)[: study.config["subset_size"]]


def hits(study: Study, state: TrainState, rows: np.ndarray) -> int:
    """How many images' classes a model predicts."""
    return int(np.sum(predicted(study, state, rows) == np.asarray(study.train_set.labels)[rows]))


def predicted(study: Study, state: TrainState, rows: np.ndarray) -> np.ndarray:
    """The classes that a model predicts of images, [n] int32; compiled once for all `rows` [n]."""
    size = max(capacity(study), study.config["subset_size"])
    classes = classes_of(
        state,
        study.train_set,
        np.pad(rows, (0, size - len(rows))),
        np.int32(len(rows)),
        networks=study.networks,
        chunk=chunk(study),
        sharding=mesh.spread(study.mesh),
    )
    return np.asarray(classes, np.int32)[: len(rows)]
