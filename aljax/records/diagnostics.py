"""What two selections are like: how far from the labeled images, how hard, of which classes.

Measured on the host when a selection is made, and stored for the report.

Shapes: M images in the sub-pool, B in a selection, n labeled images, D features, K classes.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import entropy
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances_argmin_min

from aljax import pairs

NEITHER, UNCERTAINTY, DIVERSITY, BOTH = range(4)  # who selected an image
SHOWN = 12  # images of each group that a gallery keeps


class Geometry(NamedTuple):
    """How the sub-pool lies around the labeled images, in the space of the features."""

    features: np.ndarray  # [M, D] float32
    distance: np.ndarray  # to the nearest labeled image, [M]


class Gallery(NamedTuple):
    """What the report shows of a cycle's images, so that it needs no data set."""

    coordinates: np.ndarray  # of the sub-pool, along its first two principal components, [M, 2] float32
    distance: np.ndarray  # to the nearest labeled image, [M] float32
    scores: np.ndarray  # the uncertainty strategy's, [M] float32; or [0]
    labels: np.ndarray  # [M] int32
    group: np.ndarray  # who selected it: NEITHER, UNCERTAINTY, DIVERSITY or BOTH, [M] uint8
    shown: np.ndarray  # positions of the images that are kept, in the order of choice, [S] int32
    images: np.ndarray  # [S, H, W, C] uint8
    class_names: np.ndarray  # [K] str


def geometry(features: np.ndarray, centers: np.ndarray) -> Geometry:
    """Euclidean distances to the nearest center.

    Args:
      features: of the sub-pool, [M, D].
      centers: features of the labeled images, [n, D], n at least 1.
    """
    features, centers = (np.asarray(x, np.float32) for x in (features, centers))
    return Geometry(features, pairwise_distances_argmin_min(features, centers)[1])


def distances(space: Geometry, batches: Mapping[str, np.ndarray]) -> dict[str, dict[str, float | None]]:
    """Distances of batches, and what they cover once they are labeled.

    Args:
      space: the geometry.
      batches: positions in the sub-pool, [B] each, by name.

    Returns:
      "distance": the mean over each batch of the distance to the nearest labeled image, and under
      "pool" the mean over the sub-pool, which a random batch has on average. "radius": the largest
      distance in the sub-pool to the nearest labeled image, "before" any batch and after each.
    """
    distance: dict[str, float | None] = {"pool": float(space.distance.mean())}
    radius: dict[str, float | None] = {"before": float(space.distance.max())}
    for name, batch in batches.items():
        if not len(batch):  # a stream may query nothing
            distance[name], radius[name] = None, radius["before"]
            continue
        distance[name] = float(space.distance[batch].mean())
        to_batch = pairwise_distances_argmin_min(space.features, space.features[batch])[1]
        radius[name] = float(np.minimum(space.distance, to_batch).max())
    return {"distance": distance, "radius": radius}


def balance(labels: np.ndarray, batches: Mapping[str, np.ndarray], num_classes: int) -> dict[str, Any]:
    """How many images of each class the sub-pool and each batch hold, and the entropy of that.

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
        "entropy": {name: float(entropy(count)) if count.any() else None for name, count in counts.items()},
    }


def measure(
    labels: np.ndarray,
    batches: Mapping[str, np.ndarray],
    num_classes: int,
    *,
    space: Geometry | None = None,
    scores: np.ndarray | None = None,
    true_loss: np.ndarray | None = None,
) -> dict[str, Any]:
    """All that diagnostics.jsonl holds of one cycle.

    Args:
      labels: of the sub-pool, [M].
      batches: positions in the sub-pool, [B] each: "uncertainty", "diversity" and "random".
      num_classes: K.
      space: the geometry; None while there is no model.
      scores: the uncertainty strategy's (for Learning Loss the predicted loss), [M]; or [0].
      true_loss: the cross-entropy of each image of the sub-pool, [M].

    Returns:
      See `distances` and `balance`; "spearman": of the scores with "loss" and with "distance".
      What there is no model or no score for is None.
    """
    spearman = {
        name: None if scores is None or other is None else pairs.spearman(scores, other)
        for name, other in (("loss", true_loss), ("distance", None if space is None else space.distance))
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
    """What to keep of a cycle's images; `images` is empty yet, and belongs to `shown`.

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
    """The features [M, D] along their first two principal components, [M, 2] float32."""
    components = min(2, *features.shape)
    with np.errstate(invalid="ignore"):  # where all features are the same
        found = PCA(components, svd_solver="covariance_eigh").fit_transform(features)
    return np.pad(found, ((0, 0), (0, 2 - components))).astype(np.float32)


def path_of(workdir: Path, trial: int, cycle: int) -> Path:
    """Where the gallery of one cycle lies."""
    return workdir / "gallery" / f"trial-{trial:02d}" / f"cycle-{cycle:02d}.npz"


def packed(kept: Gallery) -> bytes:
    """A gallery as the content of its file; equal galleries give equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **kept._asdict())
    return buffer.getvalue()


def unpacked(path: Path) -> Gallery:
    """A gallery from its file.

    Raises:
      ValueError: if it is damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return Gallery(*(arrays[name] for name in Gallery._fields))
    except Exception as error:  # of a damaged archive, almost any kind
        raise ValueError(f"damaged ({error})") from error
