"""The view of a cycle's sub-pool: those outputs of the last model that its strategies need."""

from collections.abc import Set

import jax.numpy as jnp
import numpy as np

from aljax.errors import RunError
from aljax.experiment.study import Study, capacity, chunk
from aljax.runtime import mesh
from aljax.scenarios import pool
from aljax.strategies import View
from aljax.training.predict import outputs_of
from aljax.training.step import TrainState


def view_of(
    study: Study, images: pool.Pool, subset: np.ndarray, state: TrainState | None, wanted: Set[str]
) -> View:
    """Computes the view of a sub-pool.

    Args:
      study: the study.
      images: the pool, for the labeled images.
      subset: indices of the sub-pool, [M].
      state: the ensemble trained on them, or None while there is none.
      wanted: fields of the view.

    Returns:
      The view, of which the other fields are None.

    Raises:
      RunError: if an output is not finite.
    """
    view = View(len(subset), study.mesh, len(images.labeled))
    if state is None:
        return view
    outputs = outputs_of(
        state,
        study.train_set,
        subset,
        pool.padded(images, capacity(study)),
        len(images.labeled),
        networks=study.networks,
        wanted=frozenset(wanted),
        chunk=chunk(study),
        sharding=mesh.spread(study.mesh),
    )
    for name, values in outputs.items():
        if not jnp.isfinite(values).all():
            raise RunError(f"{name} of the sub-pool are not finite")
    return view._replace(**outputs)
