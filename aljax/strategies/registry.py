"""Query strategies by name: which images of a sub-pool to label next.

A strategy is a function of a key, a view of the sub-pool and a budget. To add one, write it
here with the fields of the view that it `needs`, and name it in `STRATEGIES`; nothing else
changes. A user's own is named in the config, as "module:function" or "path/to/file.py:function".

Shapes: M images in the sub-pool, L the most images ever labeled, B the budget, K classes,
D features, E models of the ensemble.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from aljax import scoring
from aljax.errors import InvalidInputError, RunError
from aljax.kcenter import k_center_greedy
from aljax.runtime.mesh import of_own_memory
from aljax.strategies import badge as gradients
from aljax.strategies import probcover as covering
from aljax.strategies import robust_core_set as robust
from aljax.strategies import typiclust as typical
from aljax.strategies import user as custom


class View(NamedTuple):
    """What a strategy may look at; a field that no strategy asked for is None."""

    subset_size: int  # M
    mesh: Mesh  # the devices to spread over
    num_labeled: int = 0  # so many rows of labeled_features are valid
    log_probs: jax.Array | None = None  # [M, K]
    predicted_loss: jax.Array | None = None  # [M]
    features: jax.Array | None = None  # [M, D]
    labeled_features: jax.Array | None = None  # [L, D]
    member_log_probs: jax.Array | None = None  # of each model of the ensemble, [E, M, K]


class Selection(NamedTuple):
    """What a strategy chose."""

    chosen: np.ndarray  # positions in the sub-pool in the order of choice, [B] int32
    scores: np.ndarray  # of the whole sub-pool, higher is wanted more, [M] float32; or [0]
    note: str = ""  # what a reader of the result should know, such as a time limit that was met


Strategy = Callable[[jax.Array, View, int], Selection]
Function = TypeVar("Function", bound=Callable[..., Any])

OF_ONE_MODEL = frozenset({"log_probs", "predicted_loss", "features", "labeled_features"})
OF_ANY_MODEL = OF_ONE_MODEL | {"member_log_probs"}
NO_SCORES = np.empty(0, np.float32)


def needs(*fields: str) -> Callable[[Function], Function]:
    """Declares which fields of the view a strategy reads; what nobody reads is not computed."""

    def declare(function: Function) -> Function:
        setattr(function, "needs", frozenset(fields))  # noqa: B010 (a function has no such attribute)
        return function

    return declare


@needs()
def random(key: jax.Array, view: View, budget: int) -> Selection:
    """A uniform draw without replacement; needs no model."""
    return highest(jax.random.uniform(key, (view.subset_size,)), budget)


@needs("log_probs")
def least_confidence(key: jax.Array, view: View, budget: int) -> Selection:
    """The images whose likeliest class is least likely. Source: Settles, 2009, section 3.1."""
    return highest(_each(scoring.least_confidence, view.log_probs), budget)


@needs("log_probs")
def margin(key: jax.Array, view: View, budget: int) -> Selection:
    """The images whose two likeliest classes are closest. Source: Settles, 2009, section 3.1."""
    return highest(_each(scoring.margin, view.log_probs), budget)


@needs("log_probs")
def entropy(key: jax.Array, view: View, budget: int) -> Selection:
    """The images whose class is most open. Source: Settles, 2009, section 3.1."""
    return highest(_each(scoring.entropy, view.log_probs), budget)


@needs("predicted_loss")
def learning_loss(key: jax.Array, view: View, budget: int) -> Selection:
    """The images of highest predicted loss. Source: Yoo & Kweon, CVPR 2019, section 3.1."""
    return highest(view.predicted_loss, budget)


@needs("member_log_probs")
def bald(key: jax.Array, view: View, budget: int) -> Selection:
    """The images whose class says most about the model. Source: Houlsby et al., 2011, equation 2."""
    return highest(_each(scoring.bald, view.member_log_probs, axis=1), budget)


@needs("member_log_probs")
def vote_entropy(key: jax.Array, view: View, budget: int) -> Selection:
    """The images on whose class the models vote most apart. Source: Dagan & Engelson, ICML 1995."""
    return highest(_each(scoring.vote_entropy, view.member_log_probs, axis=1), budget)


@needs("features", "labeled_features")
def core_set(key: jax.Array, view: View, budget: int) -> Selection:
    """Greedy k-center around all labeled images; no scores.

    Source: Sener & Savarese, ICLR 2018, algorithm 1.
    """
    assert view.features is not None
    assert view.labeled_features is not None
    features = jax.numpy.concatenate([view.features, view.labeled_features])
    row = np.arange(len(features))
    chosen = k_center_greedy(
        features,
        is_center=(row >= view.subset_size) & (row < view.subset_size + view.num_labeled),
        is_candidate=row < view.subset_size,
        budget=budget,
        mesh=of_own_memory(view.mesh),
    )
    return Selection(np.asarray(chosen), NO_SCORES)


@needs("features", "labeled_features")
def robust_core_set(key: jax.Array, view: View, budget: int) -> Selection:
    """Centers of the smallest radius that covers all but a few outliers, around all labeled images.

    With time enough the answer depends on the features alone; the note says where it ran out.

    Source: Sener & Savarese, ICLR 2018, section 4 and algorithm 2.
    """
    candidates, labeled = _features(view)
    cover = robust.robust_k_center(candidates, labeled, budget, of_own_memory(view.mesh))
    note = cover.unsolved and (
        f"the best feasible answer, of radius {cover.radius:.6g} where the greedy one has "
        f"{cover.greedy_radius:.6g} and none less than {cover.bound:.6g}: {cover.unsolved}"
    )
    return Selection(cover.chosen, NO_SCORES, note)


@needs("log_probs", "features")
def badge(key: jax.Array, view: View, budget: int) -> Selection:
    """k-means++ on the gradients of the last layer; no scores. Source: Ash et al., ICLR 2020."""
    assert view.log_probs is not None
    assert view.features is not None
    factors = gradients.gradient_factors(view.log_probs, view.features)
    if not all(np.isfinite(factor).all() for factor in factors):
        raise ValueError("a gradient is not finite")
    return Selection(np.asarray(gradients.k_means_plus_plus(key, *factors, budget, view.mesh)), NO_SCORES)


@needs("features", "labeled_features")
def typiclust(key: jax.Array, view: View, budget: int) -> Selection:
    """The most typical image of each cluster without a label, on features of length 1; no scores.

    Source: Hacohen, Dekel & Weinshall, ICML 2022.
    """
    candidates, labeled = map(_of_length_one, _features(view))
    return Selection(typical.most_typical(candidates, labeled, budget, _seed(key)), NO_SCORES)


@needs("log_probs", "features", "labeled_features")
def probcover(key: jax.Array, view: View, budget: int) -> Selection:
    """The balls that cover the most images, on features of length 1; no scores.

    Of the log probabilities it takes the number of classes only. Once all images are covered,
    the rest of the budget is drawn uniformly from `key`.

    Source: Yehuda, Dekel, Hacohen & Weinshall, NeurIPS 2022.
    """
    assert view.log_probs is not None
    candidates, labeled = map(_of_length_one, _features(view))
    num_classes = view.log_probs.shape[-1]
    chosen, radius = covering.most_covering(candidates, labeled, budget, num_classes, _seed(key))
    if len(chosen) == budget:
        return Selection(chosen, NO_SCORES)
    order = np.asarray(jax.random.permutation(key, view.subset_size))
    rest = order[~np.isin(order, chosen)][: budget - len(chosen)]
    note = f"{len(chosen)} balls of radius {radius:.6g} cover all images; the other {len(rest)} are random"
    return Selection(np.append(chosen, rest), NO_SCORES, note)


STRATEGIES: dict[str, Strategy] = {
    "random": random,
    "least_confidence": least_confidence,
    "margin": margin,
    "entropy": entropy,
    "learning_loss": learning_loss,
    "bald": bald,
    "vote_entropy": vote_entropy,
    "core_set": core_set,
    "robust_core_set": robust_core_set,
    "badge": badge,
    "typiclust": typiclust,
    "probcover": probcover,
}


def find(name: str, field: str = "strategy", others: str = "") -> Strategy:
    """The strategy of a name, or a user's own.

    Args:
      name: a key of `STRATEGIES`, "module:function" or "path/to/file.py:function".
      field: what names it, for the error.
      others: what else the field accepts, for the error.

    Returns:
      The strategy.

    Raises:
      InvalidInputError: if there is no such strategy, if it does not take (key, view, budget), or if it
        needs a field that a view does not have.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    own = 'or your own as "module:function" or "path/to/file.py:function", a function of (key, view, budget)'
    accepted = f"{others}one of {', '.join(STRATEGIES)}, {own}"
    if not all(name.rpartition(":")):
        raise InvalidInputError(f"{field}={name!r}: accepted: {accepted}")
    try:
        strategy = custom.load(name, ("key", "view", "budget"))
    except ValueError as error:
        raise InvalidInputError(f"{field}={name!r}: {error}; accepted: {accepted}") from error
    unknown = sorted(needs_of(strategy) - OF_ANY_MODEL)
    if unknown:
        raise InvalidInputError(
            f"{field}={name!r}: it needs {', '.join(unknown)}; accepted: {', '.join(sorted(OF_ANY_MODEL))}"
        )
    return strategy


def digest(names: Iterable[str]) -> str:
    """The SHA-256 of the files of a user's own strategies among `names`, in hexadecimal digits; or ""."""
    own = sorted({name for name in names if name not in STRATEGIES})
    total = hashlib.sha256(b"".join(name.encode() + custom.source(find(name)) for name in own))
    return total.hexdigest() if own else ""


def needs_of(strategy: Strategy) -> frozenset[str]:
    """The fields of the view that a strategy reads; all that one model gives if it does not say."""
    return getattr(strategy, "needs", OF_ONE_MODEL)


def select(name: str, key: jax.Array, view: View, budget: int) -> Selection:
    """Lets a strategy choose, and checks what it chose.

    Args:
      name: as for `find`.
      key: a key.
      view: the sub-pool, with the fields that the strategy needs.
      budget: how many to choose, B.

    Returns:
      The selection: B positions, no two alike.

    Raises:
      InvalidInputError: as `find`.
      RunError: if the strategy raises, or returns anything else than a selection.
    """
    strategy = find(name)
    absent = [field for field in sorted(needs_of(strategy)) if getattr(view, field) is None]
    if absent:
        raise RunError(f"strategy {name!r} needs {', '.join(absent)}, which there is not")
    expected = ValueError if name in STRATEGIES else (Exception, SystemExit)
    try:
        answer = strategy(key, view, budget)
    except RunError:
        raise
    except expected as error:
        raise RunError(f"strategy {name!r} raised {custom.complaint(error)}") from error
    try:
        return _checked(answer, view.subset_size, budget)
    except ValueError as error:
        raise RunError(f"strategy {name!r} returned {error}") from error


def highest(scores: Any, budget: int) -> Selection:
    """The `budget` highest of scores [M], highest first, ties to the lowest position.

    Raises:
      RunError: if a score is not finite.
    """
    values = np.asarray(scores, np.float32)
    if not np.isfinite(values).all():
        raise RunError(f"{np.sum(~np.isfinite(values))} of {len(values)} scores are not finite")
    return Selection(np.argsort(-values, kind="stable")[:budget].astype(np.int32), values)


def _features(view: View) -> tuple[np.ndarray, np.ndarray]:
    """The features of the sub-pool [M, D] and of the images labeled so far, on the host."""
    features, labeled = np.asarray(view.features), np.asarray(view.labeled_features)[: view.num_labeled]
    for values in (features, labeled):
        if not np.isfinite(values).all():
            raise ValueError("features hold a value that is not finite")
    return features, labeled


def _of_length_one(features: np.ndarray) -> np.ndarray:
    """Each row divided by its length; a row of zeros stays one."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def _seed(key: jax.Array) -> int:
    """A seed for scikit-learn."""
    return int(jax.random.randint(key, (), 0, np.iinfo(np.int32).max))


def _each(score: Callable[[jax.Array], jax.Array], values: Any, axis: int = 0) -> jax.Array:
    """The score of every image, [M], where `axis` of the values counts the images."""
    return jax.vmap(score, in_axes=axis)(values)


def _checked(answer: Any, subset_size: int, budget: int) -> Selection:
    """A strategy's answer, positions alone or a Selection, as a Selection; ValueError says what is wrong."""
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
    return Selection(chosen.astype(np.int32), scores, selection.note)


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
