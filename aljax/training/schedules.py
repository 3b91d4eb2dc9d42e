"""Schedules of the learning rate by name: functions (share, recipe) -> factor of the rate.

`share` in [0, 1) is the share of the training that is behind, a scalar that may be traced: a schedule
does not depend on how many steps a training has. Where the recipe has a `warmup`, the factor rises in a
straight line from 0 to 1 in that share of the training, and the schedule proper follows.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from aljax import registry
from aljax.errors import InvalidInputError
from aljax.training.recipe import Recipe, share_of

Schedule = Callable[[jax.Array | float, Recipe], jax.Array | float]

ROUNDING = 1e-6  # of a share in float32, so that a milestone is passed with its epoch, not a step later


def step(share: jax.Array | float, recipe: Recipe) -> jax.Array | float:
    """Returns the factor of a rate that is multiplied by `decay` after each of the milestones."""
    shares = [share_of(milestone, recipe) - recipe.warmup for milestone in recipe.milestones]
    drops = {own - ROUNDING: recipe.decay for own in shares}
    return _after_warmup(optax.piecewise_constant_schedule(1.0, drops), recipe)(share)


def cosine(share: jax.Array | float, recipe: Recipe) -> jax.Array | float:
    """Returns the factor of a rate that falls to 0 as half a cosine.

    Source: Loshchilov & Hutter, "SGDR", ICLR 2017, equation 5, without restarts.
    """
    return _after_warmup(optax.cosine_decay_schedule(1.0, 1 - recipe.warmup), recipe)(share)


def one_cycle(share: jax.Array | float, recipe: Recipe) -> jax.Array | float:
    """Returns the factor of a rate that falls to 0 in a straight line, as it rose in the warm-up.

    Source: Smith & Topin, "Super-Convergence", 2019, with straight lines.
    """
    return _after_warmup(optax.linear_schedule(1.0, 0.0, 1 - recipe.warmup), recipe)(share)


ACCEPTED = "accepted: a function that JAX can trace and that gives a factor, a scalar"
SCHEDULES: dict[str, Schedule] = {
    "step": step,
    "cosine": cosine,
    "one_cycle": one_cycle,
}


def check(recipe: Recipe) -> None:
    """Raises InvalidInputError if there is no such schedule, or a user's own gives no factor."""
    field = f"config.train.schedule={recipe.schedule!r}"
    schedule = find(recipe.schedule)

    def factor(share: jax.Array) -> jax.Array:
        return jnp.asarray(schedule(share, recipe), float)

    try:
        shape = jax.eval_shape(factor, jax.ShapeDtypeStruct((), jnp.float32)).shape
    except Exception as error:  # a user's own may raise anything
        raise InvalidInputError(f"{field}: it raised {registry.complaint(error)}; {ACCEPTED}") from error
    if shape:
        raise InvalidInputError(f"{field}: it gives an array of shape {shape}; {ACCEPTED}")


def find(name: str) -> Schedule:
    """Returns the schedule of a name, or a user's own of "path/to/file.py:function"."""
    return registry.find(name, SCHEDULES, "config.train.schedule", ("share", "recipe"))


def _after_warmup(schedule: optax.Schedule, recipe: Recipe) -> optax.Schedule:
    if not recipe.warmup:
        return schedule
    return optax.join_schedules([optax.linear_schedule(0.0, 1.0, recipe.warmup), schedule], [recipe.warmup])
