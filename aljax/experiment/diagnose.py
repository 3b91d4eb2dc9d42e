"""Writes a cycle's diagnostics, and the first trial's gallery, for the report."""

import numpy as np

from aljax.config import budget_of
from aljax.experiment.study import Study, key_of
from aljax.records import diagnostics, directory, manifest
from aljax.strategies import STRATEGIES, Selection, View

NEEDS = frozenset({"log_probs", "features", "labeled_features"})  # of the view


def write(
    study: Study,
    view: View,
    subset: np.ndarray,
    uncertainty: Selection,
    diversity: Selection,
    trial: int,
    cycle: int,
) -> None:
    """Writes the diagnostics of a cycle, and in the first trial its gallery.

    One trial's images are enough to look at, and all trials' would make a large run directory.

    Args:
      study: the study.
      view: the strategies' view, with `NEEDS`; without any output while there is no model.
      subset: indices of the sub-pool, [M].
      uncertainty, diversity: the selections of both strategies.
      trial, cycle: name the line and the gallery.
    """
    labels = np.asarray(study.train_set.labels)[subset]
    budget = budget_of(study.config, cycle)
    random = STRATEGIES["random"](key_of(study, trial, cycle, "diagnostics"), view, budget)
    batches = {"uncertainty": uncertainty.chosen, "diversity": diversity.chosen, "random": random.chosen}
    space = true_loss = None
    if view.features is not None:
        centers = np.asarray(view.labeled_features)[: view.num_labeled]
        space = diagnostics.geometry(np.asarray(view.features), centers)
        true_loss = -np.asarray(view.log_probs)[np.arange(len(labels)), labels]
    scores = uncertainty.scores
    measured = diagnostics.measure(
        labels, batches, len(study.class_names), space=space, scores=scores, true_loss=true_loss
    )
    if space is not None and trial == study.config["first_trial"]:
        kept = diagnostics.gallery(
            labels, uncertainty.chosen, diversity.chosen, study.class_names, space=space, scores=scores
        )
        if study.train_set.images.ndim == 4:  # and no embeddings, of which there is nothing to see
            kept = kept._replace(images=np.asarray(study.train_set.images[subset[kept.shown]]))
        manifest.put(
            study.workdir, diagnostics.path_of(study.workdir, trial, cycle), diagnostics.packed(kept)
        )
    directory.put(study.workdir / directory.DIAGNOSTICS, {"trial": trial, "cycle": cycle, **measured})
