"""The view of a cycle's sub-pool: what its strategies need of the data and of the last model."""

from collections.abc import Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aljax.errors import RunError
from aljax.experiment.study import Study, capacity, chunk
from aljax.runtime import mesh
from aljax.scenarios import pool
from aljax.strategies import View
from aljax.strategies.base import outputs_from
from aljax.training.predict import outputs_of
from aljax.training.step import TrainState


def view_of(
    study: Study,
    images: pool.Pool,
    subset: np.ndarray,
    state: TrainState | None,
    wanted: Set[str],
    cycle: int,
    space: str,
    key: jax.Array,
) -> View:
    """Computes the view of a sub-pool.

    Args:
      study: the study.
      images: the pool, for the labeled images.
      subset: indices of the sub-pool, [M].
      state: the ensemble trained on them, or None while there is none.
      wanted: outputs of the view.
      cycle: the selecting one.
      space: of the features that strategies see.
      key: draws the features that dropout leaves.

    Returns:
      The view, of which the other outputs are None, but for the indices and labels.

    Raises:
      RunError: if an output is not finite.
    """
    labeled = pool.padded(images, capacity(study))
    view = View(
        len(subset),
        study.mesh,
        len(images.labeled),
        indices=subset,
        labels=pool.known_labels(images, np.asarray(study.train_set.labels), len(labeled)),
        num_classes=len(study.class_names),
        cycle=cycle,
        space=space,
    )
    if "given" in wanted:
        view = view._replace(given=_given(study, subset))
    if "given_labeled" in wanted:
        view = view._replace(given_labeled=_given(study, labeled))
    if state is None:
        return view
    outputs: dict[str, Any] = outputs_of(
        state,
        study.train_set,
        subset,
        labeled,
        len(images.labeled),
        key,
        networks=study.networks,
        wanted=frozenset(wanted & outputs_from("model", "dropout", "ensemble")),
        chunk=chunk(study),
        sharding=mesh.spread(study.mesh),
    )
    for name, sound in jax.device_get(_finite(outputs)).items():
        if not sound:
            raise RunError(f"{name} of the sub-pool are not finite")
    return view._replace(**outputs)


@jax.jit
def _finite(outputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Tells of each output whether all its numbers are finite."""
    return {name: jnp.isfinite(values).all() for name, values in outputs.items()}


def _given(study: Study, rows: np.ndarray) -> jax.Array:
    """Returns the embeddings of some images as they were given, [n, D] float32."""
    return jnp.asarray(study.train_set.images[rows], jnp.float32)
