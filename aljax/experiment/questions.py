"""The questions of a cycle that people answer: which images are selected, and how they are asked about.

The selections of such a cycle are stored by the images' names and contents, so that they outlast a folder
that changes: an index is a place in `details/files`, first the sub-pool and then the random share.

Shapes: N images, M in the sub-pool, B in a strategy's batch, J in the random share, K classes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from aljax.config import budget_of
from aljax.data import Split
from aljax.experiment import loop, roles
from aljax.experiment.candidates import Candidates
from aljax.experiment.collection import Known
from aljax.experiment.loop import Clock
from aljax.experiment.study import Study, capacity, chunk, key_of
from aljax.oracles import Batch, Question
from aljax.records import selections
from aljax.records.checkpoints import Progress
from aljax.records.selections import Selections
from aljax.runtime import mesh
from aljax.scenarios import pool
from aljax.training.predict import log_probs_of

RANDOM = "random"  # why an image was asked about that judges the models


def select(
    study: Study, images: Split, known: Known, progress: Progress | None, cycle: int, clock: Clock
) -> Selections | None:
    """Draws the sub-pool and the images that judge, and lets every strategy select from the sub-pool.

    Images that were skipped are not asked about again; those of which a person was unsure may be.

    Args:
      study: the study.
      images: the N images, with their files.
      known: what is known of them.
      progress: the model of the cycle before; None without one.
      cycle: names the keys.
      clock: counts the seconds of each phase.

    Returns:
      The selections; None if no image is left to ask about.
    """
    config = study.config
    closed = known.labeled | known.skipped
    judges, others = (np.flatnonzero(of & ~closed) for of in (known.judges, ~known.judges))
    planned = budget_of(config, cycle)
    share = min(round(config["validation_fraction"] * planned), len(judges))
    random = drawn(study, judges, share, cycle, "judges")
    rows = drawn(study, others, min(config["subset_size"], len(others)), cycle, "subset")
    budget = min(planned - share, len(rows))
    if not budget and not share:
        return None
    by_chance = (progress is None and cycle > 1) or budget == len(rows)
    of_cycle = study._replace(
        config={**config, "initial": {**config["initial"], "budget": budget}, "budget": budget}
        | {"subset_size": len(rows)},
        train_set=study.train_set._replace(labels=labels_of(study, known)),
    )
    selected = nothing()
    if budget:
        names = named_by(config, cycle, by_chance)
        candidates = Candidates(of_cycle, rows, np.arange(len(rows), dtype=np.int32), None)
        labeled = pool.Pool(len(images.ids), known.trained)
        selected = loop.select_from(of_cycle, names, candidates, labeled, progress, 0, cycle, clock)
    named = np.concatenate([rows, random])
    guess, probability = guesses(study, progress, np.concatenate([rows[selected.acquired], random]))
    details = {
        "files": np.array([images.ids[row] for row in named]),
        "file_sha256": np.array([images.files[row].sha256 for row in named]),
        "guess": guess,
        "probability": probability,
        "by_chance": np.array(by_chance),
    }
    return selected._replace(details={**selected.details, **details})


def drawn(study: Study, rows: np.ndarray, count: int, cycle: int, name: str) -> np.ndarray:
    """Draws `count` of some rows, in rising order, [count] int32."""
    among = pool.draw_subset(key_of(study, 0, cycle, name), pool.unlabeled(len(rows)), count)
    return rows[among].astype(np.int32)


def nothing() -> Selections:
    """Returns the selections of a cycle in which no strategy selects."""
    none = np.empty(0, np.int32)
    return Selections(none, none, none, none, np.empty(0, np.float32), {}, {}, {})


def names_of(study: Study, selected: Selections, cycle: int) -> dict[str, str]:
    """Returns the strategies of a cycle by role; all were random where there was no model, or no choice."""
    return named_by(study.config, cycle, bool(selected.details["by_chance"]))


def named_by(config: Mapping[str, Any], cycle: int, by_chance: bool) -> dict[str, str]:
    """Returns the strategies of a cycle by role, or random for all of them."""
    names = roles.names_of(config, cycle)
    return dict.fromkeys(names, "random") if by_chance else names


def labels_of(study: Study, known: Known) -> np.ndarray:
    """Returns the labels of the images and of the room behind them, 0 for those that are unknown."""
    return np.pad(np.maximum(known.labels, 0), (0, capacity(study) - len(known.labels)))


def guesses(study: Study, progress: Progress | None, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the likeliest class of each image by name, [n] str, and its probability, [n] float32."""
    if progress is None:
        return np.full(len(rows), ""), np.zeros(len(rows), np.float32)
    log_probs = predicted(study, progress, rows)
    return np.array(study.class_names)[log_probs.argmax(-1)], np.exp(log_probs.max(-1)).astype(np.float32)


def predicted(study: Study, progress: Progress, rows: np.ndarray) -> np.ndarray:
    """Returns the log-probabilities of images, [n, K]; compiled once for all `rows` [n]."""
    return log_probs_of(
        progress.state,
        study.train_set,
        rows,
        capacity(study),
        networks=study.networks,
        chunk=chunk(study),
        sharding=mesh.spread(study.mesh),
    )


def batch_of(images: Split, selected: Selections, strategy: str, cycle: int) -> Batch:
    """Returns the questions of a cycle: the strategy's in its order, and the random share spread among them.

    An image that was renamed is asked about by its new name; one that is no longer there is left out.
    """
    named = list(zip(images.ids, images.files, strict=True))
    by_content = {file.sha256: (id, file) for id, file in named}
    by_name = {(id, file.sha256): (id, file) for id, file in named}
    asked = list(selections.asked(selected).items())
    batch = len(selected.acquired)
    scores = selected.scores[selected.acquired] if len(selected.scores) else np.zeros(batch)
    questions = []
    for place, (name, sha256) in enumerate(asked):
        found = by_name.get((name, sha256)) or by_content.get(sha256)
        if found is None:
            logging.warning("%s: was to be asked about in cycle %d, and is no longer there", name, cycle)
            continue
        of_batch = place < batch
        question = Question(
            file=found[0],
            path=Path(found[1].path),
            sha256=sha256,
            rank=0,
            score=float(scores[place]) if of_batch else 0.0,
            guess=str(selected.details["guess"][place]),
            probability=float(selected.details["probability"][place]),
            reason=strategy if of_batch else RANDOM,
        )
        share = (place + 0.5) / batch if of_batch else (place - batch + 0.5) / (len(asked) - batch)
        questions.append((share, place, question))
    in_order = [question for _, _, question in sorted(questions, key=lambda one: one[:2])]
    return Batch(cycle, tuple(one._replace(rank=rank) for rank, one in enumerate(in_order, start=1)))
