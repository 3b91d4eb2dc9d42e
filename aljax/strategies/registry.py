"""Query strategies by name.

A strategy is a function of a key, a view of the sub-pool and a budget. To add one, write it in a
file of this package with the outputs that it `needs` (and space="model", if its features must be those
under the model's last layer) and, if it scores each image by itself, the scale on which it is `scored`;
then name it in `STRATEGIES`. A user's own is named in the config, as
"path/to/file.py:function" or "module:function".
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from aljax import registry
from aljax.config import embedded
from aljax.errors import Interrupted, InvalidInputError, RunError
from aljax.scoring import LOGARITHM, Scale
from aljax.strategies.badge import badge
from aljax.strategies.base import GIVEN, OUTPUTS, Selection, Strategy, View, checked, outputs_from
from aljax.strategies.batchbald import batchbald
from aljax.strategies.cluster_margin import cluster_margin
from aljax.strategies.committee import bald, vote_entropy
from aljax.strategies.core_set import core_set, core_set_cosine
from aljax.strategies.dropquery import dropquery
from aljax.strategies.learning_loss import learning_loss
from aljax.strategies.maxherding import maxherding
from aljax.strategies.powerbald import powerbald
from aljax.strategies.probcover import probcover
from aljax.strategies.random import random
from aljax.strategies.robust_core_set import robust_core_set
from aljax.strategies.typiclust import typiclust
from aljax.strategies.uherding import uherding
from aljax.strategies.uncertainty import entropy, least_confidence, margin

STRATEGIES: dict[str, Strategy] = {
    "random": random,
    "least_confidence": least_confidence,
    "margin": margin,
    "entropy": entropy,
    "learning_loss": learning_loss,
    "bald": bald,
    "vote_entropy": vote_entropy,
    "powerbald": powerbald,
    "batchbald": batchbald,
    "core_set": core_set,
    "core_set_cosine": core_set_cosine,
    "robust_core_set": robust_core_set,
    "badge": badge,
    "typiclust": typiclust,
    "probcover": probcover,
    "maxherding": maxherding,
    "uherding": uherding,
    "dropquery": dropquery,
    "cluster_margin": cluster_margin,
}
PARAMETERS = ("key", "view", "budget")


def find(name: str, field: str = "strategy", others: str = "") -> Strategy:
    """Returns the strategy of a name, or a user's own.

    Args:
      name: a key of `STRATEGIES`, "path/to/file.py:function" or "module:function".
      field: the field that holds the name, for the error.
      others: what else the field accepts, for the error.

    Raises:
      InvalidInputError: if there is no such strategy, if it does not take (key, view, budget), or if it
        needs an output that a view does not have.
    """
    strategy = registry.find(name, STRATEGIES, field, PARAMETERS, others)
    unknown = sorted(needs_of(strategy) - OUTPUTS.keys())
    if unknown:
        raise InvalidInputError(
            f"{field}={name!r}: it needs {', '.join(unknown)}; accepted: {', '.join(sorted(OUTPUTS))}"
        )
    return strategy


def needs_of(strategy: Strategy, space: str = "model") -> frozenset[str]:
    """Returns the outputs that a strategy reads; all those of one model if it does not declare them.

    In the space "given" it reads the given embeddings in place of the features, but for a strategy that
    declares the model's space.
    """
    names = getattr(strategy, "needs", outputs_from("model"))
    if space == "given" and getattr(strategy, "space", "") != "model":
        return frozenset(GIVEN.get(name, name) for name in names)
    return names


def scale_of(strategy: Strategy) -> Scale | None:
    """Returns the scale on which a strategy scores each image; None if it scores none.

    A user's own that does not declare it is taken to score on a `LOGARITHM` scale.
    """
    return getattr(strategy, "scale", None if strategy in STRATEGIES.values() else LOGARITHM)


def digest(names: Iterable[str]) -> str:
    """Returns the SHA-256 of the files of a user's own strategies, in hexadecimal; "" if there are none."""
    own = sorted({name for name in names if name not in STRATEGIES})
    total = hashlib.sha256(b"".join(name.encode() + registry.source(find(name)) for name in own))
    return total.hexdigest() if own else ""


def expanded(names: Sequence[str]) -> tuple[str, ...]:
    """Returns names with "all" replaced by every other strategy, and without those marked by "-".

    ("all", "-badge") are all strategies but badge.

    Raises:
      InvalidInputError: if a strategy that is left out does not exist, or a single one remains.
    """
    left_out = [name.removeprefix("-") for name in names if name.startswith("-")]
    for name in left_out:
        find(name, "config.compare")
    wanted = [name for name in names if name not in ("all", *(f"-{name}" for name in left_out))]
    if "all" in names:
        wanted += [name for name in STRATEGIES if name not in (*wanted, *left_out)]
    if names and len(wanted) < 2:
        raise InvalidInputError(
            f"config.compare={tuple(names)!r}: names {len(wanted)} strategies; accepted: two or more, or ()"
        )
    return tuple(wanted)


def check(config: Mapping[str, Any]) -> None:
    """Checks that a config's strategies exist, and can run with its ensemble and its scenario.

    Args:
      config: nested dictionaries; its fields are there and of the right types.

    Raises:
      InvalidInputError: with one line that names the field, its value and what is accepted.
    """
    roles = ("uncertainty", "diversity")
    named = [(f"config.{role}", config[role], "") for role in roles]
    if config["acquire"] not in roles:
        named.append(("config.acquire", config["acquire"], f"{', '.join(roles)}, or "))
    named += [("config.compare", name, "") for name in config["compare"]]
    for field, name, others in named:
        if needs_of(find(name, field, others)) & outputs_from("ensemble") and config["ensemble"] < 2:
            raise InvalidInputError(
                f"config.ensemble={config['ensemble']}: accepted: at least 2, as {field}={name!r} asks "
                "several models"
            )
    _check_initial(config)
    if config["scenario"] == "stream" and scale_of(find(config["uncertainty"])) is None:
        scored = ", ".join(name for name, strategy in STRATEGIES.items() if scale_of(strategy))
        raise InvalidInputError(
            f"config.uncertainty={config['uncertainty']!r}: accepted: in a stream, one that scores each "
            f"image: {scored}"
        )


def _check_initial(config: Mapping[str, Any]) -> None:
    """Raises InvalidInputError if the strategy of cycle 1 needs a model, or embeddings that there are not."""
    name = config["initial"]["strategy"]
    field = f"config.initial.strategy={name!r}"
    of_data = outputs_from("data")
    needed = needs_of(find(name, "config.initial.strategy"), "given")
    if of_model := sorted(needed - of_data):
        others = [name for name, strategy in STRATEGIES.items() if needs_of(strategy, "given") <= of_data]
        raise InvalidInputError(
            f"{field}: needs {', '.join(of_model)} of a model; accepted: {', '.join(others)}, or your own"
        )
    if needed & {*GIVEN.values()} and not embedded(config["dataset"]):
        raise InvalidInputError(
            f"{field}: accepted: 'random', or with config.dataset.source='embeddings' or "
            "config.dataset.encoder"
        )


def select(name: str, key: jax.Array, view: View, budget: int) -> Selection:
    """Lets a strategy choose, and checks what it chose.

    Args:
      name: as for `find`.
      key: a key.
      view: the sub-pool, with the outputs that the strategy needs in the view's space.
      budget: how many to choose, B.

    Returns:
      The selection: B positions, no two alike.

    Raises:
      InvalidInputError: as `find`.
      RunError: if the strategy raises, or returns anything else than a selection.
    """
    strategy = find(name)
    needed = needs_of(strategy, view.space)
    absent = [output for output in sorted(needed) if getattr(view, output) is None]
    if absent:
        raise RunError(f"strategy {name!r} needs {', '.join(absent)}, which there is not")
    if needed != needs_of(strategy):
        view = view._replace(features=view.given, labeled_features=view.given_labeled)
    own = name not in STRATEGIES
    try:
        with _contained() if own else contextlib.nullcontext():
            answer = strategy(key, view, budget)
    except RunError as error:
        raise RunError(f"strategy {name!r}: {error}") from error
    except (KeyboardInterrupt, Interrupted):
        raise
    except BaseException as error:  # a user's code may raise whatever there is
        if not (own or isinstance(error, ValueError)):
            raise
        raise RunError(f"strategy {name!r} raised {registry.complaint(error)}") from error
    if any(isinstance(output, jax.Array) and output.is_deleted() for output in view):
        raise RunError(
            f"strategy {name!r} donated or deleted an output of the view; accepted: one that reads them"
        )
    try:
        return checked(answer, view.subset_size, budget)
    except ValueError as error:
        raise RunError(f"strategy {name!r} returned {error}") from error


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """Undoes what a user's code changes for the process: the working directory, and JAX's settings.

    A run that was stopped, and goes on behind the selection, would otherwise have other settings.
    """
    folder = os.open(".", os.O_RDONLY)
    settings = dict(jax.config.values)
    try:
        yield
    finally:
        os.fchdir(folder)
        os.close(folder)
        for name, value in settings.items():
            if jax.config.values[name] != value:
                jax.config.update(name, value)
