"""Diagnostics of two selections: their distance from the labeled images, their difficulty, their classes.

Measured on the host when a selection is made, and stored for the report.

Shapes: M images in the sub-pool, B in a selection, n labeled images, D features, K classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aljax import agreement
from aljax.records import arrays, places

NEITHER, UNCERTAINTY, DIVERSITY, BOTH = range(4)  # who selected an image
SHOWN = 12  # images of each group that a gallery keeps


class Geometry(NamedTuple):
    """The sub-pool among the labeled images, in the space of the features."""

    features: np.ndarray  # [M, D] float32
    distance: np.ndarray  # to the nearest labeled image, [M]


class Gallery(NamedTuple):
    """A cycle's images as the report shows them, without the data set."""

    coordinates: np.ndarray  # of the sub-pool, along its first two principal components, [M, 2] float32
    distance: np.ndarray  # to the nearest labeled image, [M] float32
    scores: np.ndarray  # the uncertainty strategy's, [M] float32; or [0]
    labels: np.ndarray  # [M] int32
    group: np.ndarray  # who selected it: NEITHER, UNCERTAINTY, DIVERSITY or BOTH, [M] uint8
    shown: np.ndarray  # positions of the images that are kept, in the order of choice, [S] int32
    images: np.ndarray  # [S, H, W, C] uint8
    class_names: np.ndarray  # [K] str


KINDS = {  # of the arrays of a gallery, as `arrays.check` takes them
    **dict.fromkeys(("distance", "scores"), ("f", 1)),
    **dict.fromkeys(("labels", "group", "shown"), ("iu", 1)),
    "coordinates": ("f", 2),
    "images": ("u", 4),
    "class_names": ("U", 1),
}


def geometry(features: np.ndarray, centers: np.ndarray) -> Geometry:
    """Measures the Euclidean distances to the nearest center.

    Args:
      features: of the sub-pool, [M, D].
      centers: features of the labeled images, [n, D], n at least 1.
    """
    from aljax.ops.distances import nearest_on_host  # which imports JAX, and what reads a run does without

    features = np.asarray(features, np.float32)
    return Geometry(features, nearest_on_host(features, centers))


def distances(space: Geometry, batches: Mapping[str, np.ndarray]) -> dict[str, dict[str, float | None]]:
    """Measures the distances of batches, and the coverage once they are labeled.

    Args:
      space: the geometry.
      batches: positions in the sub-pool, [B] each, by name.

    Returns:
      "distance": the mean over each batch of the distance to the nearest labeled image, and under
      "pool" the mean over the sub-pool, which a random batch has on average. "radius": the largest
      distance in the sub-pool to the nearest labeled image, "before" any batch and after each.
    """
    from aljax.ops.distances import nearest_on_host

    distance: dict[str, float | None] = {"pool": float(space.distance.mean())}
    radius: dict[str, float | None] = {"before": float(space.distance.max())}
    for name, batch in batches.items():
        if not len(batch):  # a stream may query nothing
            distance[name], radius[name] = None, radius["before"]
            continue
        distance[name] = float(space.distance[batch].mean())
        to_batch = nearest_on_host(space.features, space.features[batch])
        radius[name] = float(np.minimum(space.distance, to_batch).max())
    return {"distance": distance, "radius": radius}


def balance(labels: np.ndarray, batches: Mapping[str, np.ndarray], num_classes: int) -> dict[str, Any]:
    """Counts the images of each class in the sub-pool and in each batch, and returns the entropy of each.

    Args:
      labels: of the sub-pool, [M].
      batches: positions in the sub-pool, [B] each, by name.
      num_classes: K.

    Returns:
      "classes": K counts for the "pool" and each batch; "entropy": of their shares, in nats.
    """
    counts = {
        name: np.bincount(held, minlength=num_classes)
        for name, held in {"pool": labels, **{name: labels[batch] for name, batch in batches.items()}}.items()
    }
    return {
        "classes": {name: count.tolist() for name, count in counts.items()},
        "entropy": {name: _entropy(count) if count.any() else None for name, count in counts.items()},
    }


def _entropy(counts: np.ndarray) -> float:
    """Returns the entropy of the shares of counts, in nats."""
    shares = counts[counts > 0] / counts.sum()  # by hand, as scipy takes longer to import than all of this
    return float(-(shares * np.log(shares)).sum()) + 0.0


def measure(
    labels: np.ndarray,
    batches: Mapping[str, np.ndarray],
    num_classes: int,
    *,
    space: Geometry | None = None,
    scores: np.ndarray | None = None,
    true_loss: np.ndarray | None = None,
) -> dict[str, Any]:
    """Returns the measures of one cycle's line in diagnostics.jsonl.

    Args:
      labels: of the sub-pool, [M].
      batches: positions in the sub-pool, [B] each: "uncertainty", "diversity" and "random".
      num_classes: K.
      space: the geometry; None while there is no model.
      scores: the uncertainty strategy's (for Learning Loss the predicted loss), [M]; or [0].
      true_loss: the cross-entropy of each image of the sub-pool, [M].

    Returns:
      See `distances` and `balance`; "spearman": of the scores with "loss", with "distance" and with the
      "length" of the features.
      A measure that needs a model or scores is None without.
    """
    others = {"loss": true_loss, "distance": None, "length": None}
    if space is not None:
        others |= {"distance": space.distance, "length": np.linalg.norm(space.features, axis=1)}
    spearman = {
        name: None if scores is None or other is None else agreement.spearman(scores, other)
        for name, other in others.items()
    }
    empty = {"distance": None, "radius": None}
    chosen = {name: batch for name, batch in batches.items() if name != "random"}
    return {
        **(empty if space is None else distances(space, batches)),
        "spearman": spearman,
        **balance(labels, chosen, num_classes),
    }


def gallery(
    labels: np.ndarray,
    uncertainty: np.ndarray,
    diversity: np.ndarray,
    class_names: Sequence[str],
    *,
    space: Geometry,
    scores: np.ndarray,
) -> Gallery:
    """Collects the gallery of a cycle; its `images`, those at `shown`, are still to be added
    (where there are any: embeddings have none).

    Args:
      labels: of the sub-pool, [M].
      uncertainty, diversity: positions in the sub-pool in the order of choice, [B] each.
      class_names: K names.
      space: the geometry.
      scores: [M] or [0].
    """
    group = np.full(len(labels), NEITHER, np.uint8)
    group[uncertainty] += UNCERTAINTY
    group[diversity] += DIVERSITY
    shown = [
        order[group[order] == who][:SHOWN]
        for order, who in ((uncertainty, BOTH), (uncertainty, UNCERTAINTY), (diversity, DIVERSITY))
    ]
    return Gallery(
        coordinates=plane(space.features),
        distance=space.distance.astype(np.float32),
        scores=np.asarray(scores, np.float32),
        labels=np.asarray(labels, np.int32),
        group=group,
        shown=np.concatenate(shown).astype(np.int32),
        images=np.empty((0,), np.uint8),
        class_names=np.array(list(class_names), np.str_),
    )


def plane(features: np.ndarray) -> np.ndarray:
    """Projects features [M, D] on their first two principal components, [M, 2] float32."""
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    components = min(2, *features.shape)
    solver = "full" if 2 * len(features) < features.shape[1] else "covariance_eigh"  # whichever is quick
    # One thread, as several wait for each other; all features may be the same.
    with threadpool_limits(1), np.errstate(invalid="ignore"):
        found = PCA(components, svd_solver=solver).fit_transform(features)
    return np.pad(found, ((0, 0), (0, 2 - components))).astype(np.float32)


def path_of(workdir: Path, trial: int, cycle: int) -> Path:
    """Returns the path of the gallery of one cycle."""
    return places.file_of(workdir / "gallery", trial, cycle)


def packed(kept: Gallery) -> bytes:
    """Returns a gallery as the content of its file; equal galleries give equal bytes."""
    return arrays.packed(kept._asdict(), compressed=True)


def unpacked(path: Path) -> Gallery:
    """Loads a gallery from its file.

    Raises:
      ValueError: if it is damaged.
    """
    try:
        stored = arrays.unpacked(path)
        kept = Gallery(*(stored[name] for name in Gallery._fields))
        seen = {name: array for name, array in stored.items() if name != "images" or array.size}
        arrays.check(seen, KINDS)  # embeddings have no images
        _check_sizes(kept)
        return kept
    except (ValueError, KeyError) as error:
        raise ValueError(f"damaged ({error})") from error


def _check_sizes(kept: Gallery) -> None:
    size = len(kept.labels)
    alike = {size, len(kept.coordinates), len(kept.distance), len(kept.group)} == {size}
    if not alike or kept.coordinates.shape[1] != 2 or len(kept.scores) not in (0, size):
        raise ValueError("its arrays are of different lengths")
    if len(kept.images) not in (0, len(kept.shown)):  # embeddings have none
        raise ValueError("it does not hold the images that it shows")
    limits = (len(kept.class_names), BOTH + 1, size)
    for values, limit in zip((kept.labels, kept.group, kept.shown), limits, strict=True):
        if len(values) and not 0 <= values.min() <= values.max() < limit:
            raise ValueError(f"it holds an index that is not below {limit}")
