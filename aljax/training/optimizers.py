"""Optimizers by name: functions (rate, recipe) -> optax.GradientTransformation.

`rate` is the learning rate of this step, a scalar that may be traced.
"""

import contextlib
from collections.abc import Callable, Iterator

import jax
import optax

from aljax import registry
from aljax.errors import InvalidInputError, RunError
from aljax.training.recipe import Recipe

Optimizer = Callable[[jax.Array | float, Recipe], optax.GradientTransformation]


def sgd(rate: jax.Array | float, recipe: Recipe) -> optax.GradientTransformation:
    """Returns SGD with momentum, weight decay added to the gradient.

        b <- momentum * b + (g + weight_decay * p);   p <- p - rate * b

    Source: Sutskever et al., ICML 2013, equations 1 to 4; as in PyTorch, the rate is outside of b.
    """
    return optax.chain(
        optax.add_decayed_weights(recipe.weight_decay),
        optax.sgd(rate, recipe.momentum, recipe.nesterov),
    )


def adamw(rate: jax.Array | float, recipe: Recipe) -> optax.GradientTransformation:
    """Returns Adam with decoupled weight decay (b1 0.9, b2 0.999).

    Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
    """
    return optax.adamw(rate, weight_decay=recipe.weight_decay)


ACCEPTED = "accepted: a function that gives an optax.GradientTransformation"
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": sgd,
    "adamw": adamw,
}


def check(recipe: Recipe) -> None:
    """Raises InvalidInputError if there is no such optimizer, or a user's own gives none of optax's."""
    field = f"config.train.optimizer={recipe.optimizer!r}"
    try:
        made = find(recipe.optimizer)(recipe.learning_rate, recipe)
    except InvalidInputError:
        raise
    except Exception as error:  # a user's own may raise anything
        raise InvalidInputError(f"{field}: it raised {registry.complaint(error)}; {ACCEPTED}") from error
    if not isinstance(made, optax.GradientTransformation):
        raise InvalidInputError(f"{field}: it gives a {type(made).__name__}; {ACCEPTED}")


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Names a user's own optimizer in whatever one of its steps raises; raises RunError in its place."""
    try:
        yield
    except Exception as error:
        if name in OPTIMIZERS:
            raise
        raise RunError(f"config.train.optimizer={name!r}: it raised {registry.complaint(error)}") from error


def find(name: str) -> Optimizer:
    """Returns the optimizer of a name, or a user's own of "path/to/file.py:function"."""
    return registry.find(name, OPTIMIZERS, "config.train.optimizer", ("rate", "recipe"))
