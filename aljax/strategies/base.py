"""The parts that all query strategies share: the view of a sub-pool, a selection, the drawing of ties.

Shapes: M images in the sub-pool, L the most images ever labeled, B the budget, K classes,
D features (of the model's and of the given space each its own), E models of the ensemble,
S samples of dropout on the features.
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from aljax.errors import RunError
from aljax.scoring import Scale

ROWS = 512  # that are divided by their lengths at a time, within the processor's cache


class Output(NamedTuple):
    """Declares how a field of a view depends on the images and the models."""

    image_axis: int | None = 0  # the axis of the sub-pool's images; None: it describes other images
    # the first "model", its last layer under "dropout", every model of the "ensemble", or the "data" alone
    source: str = "model"


OF_LABELED = Output(image_axis=None)
OF_ENSEMBLE = Output(image_axis=1, source="ensemble")
OF_DROPOUT = Output(source="dropout")
OF_DATA = Output(source="data")
OF_LABELED_DATA = Output(image_axis=None, source="data")


class View(NamedTuple):
    """Holds what a strategy may read; an output that no strategy needs is None.

    `indices`, `labels`, `num_classes` and `cycle` are always there; `given` only where the data are
    embeddings. The first `num_labeled` rows of what describes labeled images are valid, in the order of
    labeling.
    """

    subset_size: int  # M
    mesh: Mesh  # the devices to spread over
    num_labeled: int = 0
    log_probs: Annotated[jax.Array | None, Output()] = None  # [M, K]
    predicted_loss: Annotated[jax.Array | None, Output()] = None  # [M]
    features: Annotated[jax.Array | None, Output()] = None  # [M, D]
    labeled_features: Annotated[jax.Array | None, OF_LABELED] = None  # [L, D]
    member_log_probs: Annotated[jax.Array | None, OF_ENSEMBLE] = None  # [E, M, K]
    dropout_classes: Annotated[jax.Array | None, OF_DROPOUT] = None  # of S samples, [M, S] int32
    indices: Annotated[np.ndarray | None, OF_DATA] = None  # of the images in the data set, [M] int32
    labels: Annotated[np.ndarray | None, OF_LABELED_DATA] = None  # -1 in rows that are not valid, [L] int32
    given: Annotated[jax.Array | None, OF_DATA] = None  # embeddings as the file holds them, [M, D] float32
    given_labeled: Annotated[jax.Array | None, OF_LABELED_DATA] = None  # [L, D]
    num_classes: int = 2  # K
    cycle: int = 1  # the selecting one, from 1
    space: str = "model"  # of the features that a strategy sees: "model", or "given" in their place


OUTPUTS: dict[str, Output] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(View, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}
GIVEN = {"features": "given", "labeled_features": "given_labeled"}  # what config.space = "given" sees


def outputs_from(*sources: str) -> frozenset[str]:
    """Returns the names of a view's outputs from some of "model", "dropout", "ensemble" and "data"."""
    return frozenset(name for name, output in OUTPUTS.items() if output.source in sources)


class Selection(NamedTuple):
    """Holds what a strategy chose."""

    chosen: np.ndarray  # positions in the sub-pool in the order of choice, [B] int32
    scores: np.ndarray  # of the whole sub-pool, higher is chosen first, [M] float32; or [0]
    note: str = ""  # a remark for the reader of the result, such as a time limit that was reached
    ties: int = 0  # images with the lowest chosen score, where not all of them were chosen; else 0


Strategy = Callable[[jax.Array, View, int], Selection]
Function = TypeVar("Function", bound=Callable[..., Any])
NO_SCORES = np.empty(0, np.float32)


def needs(*outputs: str, space: str = "") -> Callable[[Function], Function]:
    """Declares the outputs of a view that a strategy reads; others need not be computed.

    Args:
      outputs: their names.
      space: "model" where the features must be those under the model's last layer, whatever
        config.space says.
    """

    def declare(function: Function) -> Function:
        setattr(function, "needs", frozenset(outputs))  # noqa: B010 (a function has no such attribute)
        setattr(function, "space", space)  # noqa: B010
        return function

    return declare


def scored(scale: Scale) -> Callable[[Function], Function]:
    """Declares that a strategy scores each image by itself, and the scale of its scores.

    A stream needs such a strategy; its `variable` policy reads the scale.
    """

    def declare(function: Function) -> Function:
        setattr(function, "scale", scale)  # noqa: B010 (a function has no such attribute)
        return function

    return declare


def restricted(view: View, positions: np.ndarray) -> View:
    """Returns the view of some images of the sub-pool alone.

    Args:
      view: of the sub-pool.
      positions: of m of its M images, [m].
    """
    outputs: dict[str, Any] = {}
    for name, output in OUTPUTS.items():
        values = getattr(view, name)
        if values is not None and output.image_axis is not None:
            take = np.take if isinstance(values, np.ndarray) else jnp.take
            outputs[name] = take(values, positions, axis=output.image_axis)
    return view._replace(subset_size=len(positions), **outputs)


@partial(jax.jit, static_argnames=("score", "image_axis"))
def each(score: Callable[[jax.Array], jax.Array], values: Any, image_axis: int = 0) -> jax.Array:
    """Returns the score of every image [M], where `image_axis` of the values counts the images."""
    return jax.vmap(score, in_axes=image_axis)(values)


def highest(key: jax.Array, scores: Any, budget: int) -> Selection:
    """Selects the `budget` highest of scores [M], highest first; ties are drawn from `key`.

    Raises:
      RunError: if a score is not finite.
    """
    values = np.asarray(scores, np.float32)
    if not np.isfinite(values).all():
        raise RunError(f"{np.sum(~np.isfinite(values))} of {len(values)} scores are not finite")
    order = tie_order(key, len(values))
    chosen = order[np.argsort(-values[order], kind="stable")[:budget]]
    return Selection(chosen, values, ties=ties_at_cut(values, chosen)[1])


def tie_order(key: jax.Array, size: int) -> np.ndarray:
    """Returns a random order of `size` images, [size] int32: of images that tie, the first one wins.

    The order is independent of what else is drawn from the same key.
    """
    return np.asarray(_permutation(key, size)).astype(np.int32)


@partial(jax.jit, static_argnames="size")
def _permutation(key: jax.Array, size: int) -> jax.Array:
    return jax.random.permutation(jax.random.fold_in(key, np.uint32(zlib.crc32(b"ties"))), size)


def ties_at_cut(scores: np.ndarray, chosen: np.ndarray) -> tuple[int, int]:
    """Counts the images whose score is the lowest chosen one: those chosen, and all of them.

    Args:
      scores: of the sub-pool, [M]; or [0], a strategy without scores.
      chosen: positions, [B].

    Returns:
      Both counts; (0, 0) without scores, or if all images of that score were chosen.
    """
    if not len(scores) or not len(chosen):
        return 0, 0
    cut = scores[chosen].min()
    drawn, tied = int(np.sum(scores[chosen] == cut)), int(np.sum(scores == cut))
    return (drawn, tied) if drawn < tied else (0, 0)


def features_of(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of the sub-pool [M, D] and of the images labeled so far, on the host.

    Raises:
      ValueError: if a feature is not finite.
    """
    return finite(view.features), finite(np.asarray(view.labeled_features)[: view.num_labeled])


def finite(features: Any) -> np.ndarray:
    """Returns features on the host.

    Raises:
      ValueError: if one is not finite.
    """
    values = np.asarray(features)
    if not np.isfinite(values).all():
        raise ValueError("features hold a value that is not finite")
    return values


def of_unit_length(features: np.ndarray) -> np.ndarray:
    """Divides each row [M, D] by its length, in float64; a row of zeros stays one."""
    divided = np.empty(features.shape, np.float32)
    for start in range(0, len(features), ROWS):
        rows = features[start : start + ROWS].astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        divided[start : start + ROWS] = rows / np.where(lengths > 0, lengths, 1)
    return divided


def seed_of(key: jax.Array) -> int:
    """Draws a seed for scikit-learn, from 0 to 2^31 - 2."""
    return int(jax.random.randint(key, (), 0, np.iinfo(np.int32).max))


def checked(answer: Any, subset_size: int, budget: int) -> Selection:
    """Returns a strategy's answer, a Selection or positions alone, as a Selection.

    Its ties are counted, and noted if more than half of the batch was drawn among them.

    Raises:
      ValueError: if it is anything else than `budget` different positions, with a finite score for
        every image or none.
    """
    accepted = f"accepted: budget={budget} positions from 0 to {subset_size - 1}, each once, as integers"
    selection = answer if isinstance(answer, Selection) else Selection(answer, NO_SCORES)
    try:
        chosen = np.asarray(selection.chosen)
    except Exception as error:  # a user's object, which may do anything when asked for an array
        raise ValueError(f"a {type(selection.chosen).__name__}; {accepted}") from error
    if chosen.dtype.kind not in "iu" and chosen.size:
        raise ValueError(f"a {type(selection.chosen).__name__} of {chosen.dtype}; {accepted}")
    if chosen.shape != (budget,):
        raise ValueError(f"positions of shape {chosen.shape}; {accepted}")
    outside = chosen[(chosen < 0) | (chosen >= subset_size)]
    if len(outside):
        raise ValueError(f"position {outside[0]}; {accepted}")
    values, counts = np.unique(chosen, return_counts=True)
    if len(values) < budget:
        raise ValueError(f"position {values[counts > 1][0]} {counts.max()} times; {accepted}")
    scores = _checked_scores(selection.scores, subset_size)
    if not isinstance(selection.note, str):
        raise ValueError(f"the note {selection.note!r}; accepted: a text")
    chosen = chosen.astype(np.int32)
    drawn, tied = ties_at_cut(scores, chosen)
    notes = [selection.note] if selection.note else []
    if 2 * drawn > budget:
        notes.append(f"{drawn} of the {budget} images were drawn among {tied} of equal score")
    return Selection(chosen, scores, "; ".join(notes), tied)


def _checked_scores(scores: Any, subset_size: int) -> np.ndarray:
    accepted = f"accepted: {subset_size} finite numbers, or none"
    try:
        values = np.asarray(scores, np.float32)
    except Exception as error:
        raise ValueError(f"scores that are a {type(scores).__name__}; {accepted}") from error
    if values.shape not in [(subset_size,), (0,)]:
        raise ValueError(f"scores of shape {values.shape}; {accepted}")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.sum(~np.isfinite(values))} scores that are not finite; {accepted}")
    return values
