"""The images that a cycle selects from: drawn from a pool, arriving in a stream, or synthesized.

In cycle 1, which has no model, every scenario draws from the pool.

Shapes: M candidates in a cycle, B the budget, Q <= B images queried.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from aljax import scenarios
from aljax.config import budget_of
from aljax.errors import RunError
from aljax.experiment.study import Study, key_of
from aljax.records import arrays, files, manifest, selections
from aljax.records.selections import Selections
from aljax.scenarios import pool, stream, synthesis
from aljax.strategies import registry
from aljax.strategies.base import NO_SCORES, Selection, View, restricted

Arrays = dict[str, np.ndarray]


class Candidates(NamedTuple):
    """The images that a cycle selects from."""

    study: Study  # whose images hold the candidates
    rows: np.ndarray  # their rows among these, [M] int32
    names: np.ndarray  # their numbers in the records: the same, or those of proposals, [M] int32
    recipes: synthesis.Recipe | None  # of the proposals


def draw(study: Study, images: pool.Pool, holdout: np.ndarray, trial: int, cycle: int) -> Candidates:
    """Draws the sub-pool of a cycle, or synthesizes images instead.

    Args:
      study: the study.
      images: the pool; images are synthesized from its labeled ones.
      holdout: labeled images that judge the models, and serve as no source, [v].
      trial, cycle: name the keys.
    """
    size = study.config["subset_size"]
    if scenarios.of_cycle(study.config, cycle) != "synthesis":
        subset = pool.draw_subset(key_of(study, trial, cycle, "subset"), images, size)
        return Candidates(study, subset, subset, None)
    sources = np.setdiff1d(images.labeled[images.labeled < len(study.ids)], holdout)
    padded = np.pad(sources, (0, budget_of(study.config, 1) - len(sources)))
    recipes = synthesis.propose(
        key_of(study, trial, cycle, "proposals"),
        study.train_set.labels,
        padded,
        np.int32(len(sources)),
        synthesis.Limits(**study.config["synthesis"]),
        count=size,
    )
    recipes = jax.device_get(recipes)
    places = {name: np.searchsorted(sources, getattr(recipes, name)) for name in ("source", "other")}
    made = synthesis.render(study.train_set.images[padded], recipes._replace(**places))
    first = len(study.train_set.labels) - size
    study = with_images(study, first, made, study.train_set.labels[recipes.source])
    rows = np.arange(first, first + size, dtype=np.int32)
    return Candidates(study, rows, np.arange(size, dtype=np.int32), recipes)


def choose(
    study: Study,
    names: Mapping[str, str],
    candidates: Candidates,
    view: View,
    trial: int,
    cycle: int,
) -> tuple[dict[str, Selection], Arrays]:
    """Lets every strategy choose from the candidates; a stream passes only once.

    Args:
      study: the study.
      names: of the strategies, by role.
      candidates: the images to choose from.
      view: of the candidates.
      trial, cycle: name the keys.

    Returns:
      The selections by role, as positions among the candidates, and details for the records. In a
      stream, "uncertainty" is the images queried, in the order of arrival, and the other roles
      choose as many of the images that had arrived until the budget was spent, without scores.

    Raises:
      RunError: as `registry.select`; or if a stream's strategy gives no scores.
    """
    budget = budget_of(study.config, cycle)

    def select(role: str, view: View, budget: int) -> Selection:
        return registry.select(names[role], key_of(study, trial, cycle, role), view, budget)

    if scenarios.of_cycle(study.config, cycle) != "stream":
        return {role: select(role, view, budget) for role in names}, {}
    scores = select("uncertainty", view, budget).scores
    scale = registry.scale_of(registry.find(names["uncertainty"]))
    if scale is None or not len(scores):
        raise RunError(f"strategy {names['uncertainty']!r} gives no scores, as a stream needs")
    arrivals = np.asarray(jax.random.permutation(key_of(study, trial, cycle, "arrivals"), len(scores)))
    settings = study.config["stream"]
    passage = stream.query(
        scores[arrivals],
        np.int32(budget),
        stream.Settings(settings["threshold"], settings["step"], settings["window"]),
        policy=settings["policy"],
        scale=scale,
    )
    seen = arrivals[: stream.seen(passage, budget)]
    queried = seen[np.asarray(passage.queried)[: len(seen)]].astype(np.int32)
    of_seen = restricted(view, seen)

    def of_role(role: str) -> Selection:
        if role == "uncertainty":
            return Selection(queried, scores)
        if len(queried) in (0, len(seen)):  # nothing to choose
            return Selection(queried, NO_SCORES)
        selection = select(role, of_seen, len(queried))
        return selection._replace(chosen=seen[selection.chosen].astype(np.int32), scores=NO_SCORES)

    details = {"arrivals": candidates.names[seen], "thresholds": np.asarray(passage.thresholds)[: len(seen)]}
    return {role: of_role(role) for role in names}, details


def recipes_of(candidates: Candidates, acquired: np.ndarray) -> Arrays:
    """Returns the recipes of the proposals, and those acquired as images [B, H, W, C]; {} without any."""
    if candidates.recipes is None:
        return {}
    images = np.asarray(candidates.study.train_set.images[candidates.rows[acquired]])
    return {**candidates.recipes._asdict(), "images": images}


def stream_fields(study: Study, chosen: Selections) -> files.Record:
    """Returns the fields that only a stream's record has: the images seen and queried."""
    if study.config["scenario"] != "stream":
        return {}
    return {"seen": selections.offered(chosen), "queried": len(chosen.acquired)}


def label(study: Study, images: pool.Pool, chosen: Selections, cycle: int) -> tuple[Study, pool.Pool]:
    """Labels the acquired batch; returns the study with synthesized images stored, and the new pool.

    Raises:
      ValueError: as `pool.label`, or if the selections lack the synthesized images.
    """
    if scenarios.of_cycle(study.config, cycle) != "synthesis":
        return study, pool.label(images, chosen.acquired)
    shape = (len(chosen.acquired), *study.train_set.images.shape[1:])
    if "source" not in chosen.details or chosen.details.get("images", np.empty(0)).shape != shape:
        raise ValueError("the images that were made are missing")
    batch = np.arange(images.size, images.size + len(chosen.acquired), dtype=np.int32)
    labels = study.train_set.labels[chosen.details["source"][chosen.acquired]]
    study = with_images(study, images.size, chosen.details["images"], labels)
    return study, pool.label(images._replace(size=images.size + len(batch)), batch)


def with_images(study: Study, first: int, images: Any, labels: Any) -> Study:
    """Returns the study with other images and labels from row `first` on."""
    train_set = study.train_set
    after = first + len(images)

    def replaced(rows: Any, new: Any) -> np.ndarray:
        return np.concatenate([rows[:first], new, rows[after:]])

    return study._replace(
        train_set=train_set._replace(
            images=replaced(train_set.images, images), labels=replaced(train_set.labels, labels)
        )
    )


def write_images(study: Study, chosen: Selections, folder: Path) -> None:
    """Writes synthesized images that were queried as PNG, and queries.jsonl with the recipe of each."""
    if "images" not in chosen.details:
        return
    lines, labels = [], np.asarray(study.train_set.labels)
    for number, proposal in enumerate(chosen.acquired):
        recipe = {name: chosen.details[name][proposal].item() for name in synthesis.Recipe._fields}
        file = f"{number:03d}.png"
        manifest.put(study.workdir, folder / file, arrays.png(chosen.details["images"][number]))
        lines.append(
            {
                "file": file,
                "proposal": int(proposal),
                "class": study.class_names[int(labels[recipe["source"]])],
                "source_id": study.ids[recipe["source"]],
                "other_id": study.ids[recipe["other"]],
                **{name: round(x, 4) if type(x) is float else x for name, x in recipe.items()},
            }
        )
    manifest.put(study.workdir, folder / "queries.jsonl", b"".join(map(files.encoded, lines)))
