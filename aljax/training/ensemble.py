"""Several networks trained on the same labels; the study's ensemble has one member.

The members are dealt out to the devices where that is even, each device training its own in
turn; else all devices share the batches of one member after the other. What asks for one model gets the first
member, whose weights and batches are those of an ensemble of one.

Shapes: E members, L the most images ever labeled, as in `step`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from aljax.training import step
from aljax.training.recipe import Recipe
from aljax.training.step import EpochMetrics, Examples, Networks, TrainState


@partial(jax.jit, static_argnames=("networks", "recipe", "image_shape"))
def fresh(keys: jax.Array, *, networks: Networks, recipe: Recipe, image_shape: tuple[int, ...]) -> TrainState:
    """Draws fresh weights, each member's from its own key.

    Args:
      keys: [E].
      networks, recipe: the modules and their hyperparameters.
      image_shape: (H, W, C) of the images, or (D,) of embeddings.

    Returns:
      The state, each of its arrays [E, ...].
    """
    return jax.lax.map(partial(step.init, networks=networks, recipe=recipe, image_shape=image_shape), keys)


@partial(jax.jit, static_argnames="recipe")
def restarted(state: TrainState, *, recipe: Recipe) -> TrainState:
    """Returns every member's weights [E, ...], with an optimizer that has taken no step."""
    return jax.lax.map(partial(step.restarted, recipe=recipe), state)


@partial(jax.jit, static_argnames=("networks", "recipe", "sharding"), donate_argnames="state")
def epoch(
    state: TrainState,
    examples: Examples,
    labeled: jax.Array,
    num_labeled: jax.Array,
    number: jax.Array,
    epochs: jax.Array,
    keys: jax.Array,
    *,
    networks: Networks,
    recipe: Recipe,
    sharding: NamedSharding,
) -> tuple[TrainState, EpochMetrics]:
    """Trains every member for an epoch, as `step.train_epoch` does one.

    Args:
      state: [E, ...], donated.
      examples, labeled, num_labeled, epochs: as there.
      number: of the epoch, counted from 0, a scalar.
      keys: each member's key for shuffling and augmentation, [E]; equal keys give equal batches.
      networks, recipe: as there.
      sharding: over which devices the members, or else the batches, are spread.

    Returns:
      The state, and the first member's metrics; `bad_step` is the first of any member's.
    """
    size, mesh = keys.shape[0], sharding.mesh
    dealt_out = size > 1 and size % mesh.size == 0

    def of_one(state: TrainState, key: jax.Array, shared: Any) -> Any:
        options: Any = {"networks": networks, "recipe": recipe, "sharding": None if dealt_out else sharding}
        return step.train_epoch(state, *shared, key, **options)

    def in_turn(state, keys, shared):  # vmap would make grouped convolutions, which are slow everywhere
        return jax.lax.map(lambda own: of_one(*own, shared), (state, keys))

    train_all = in_turn
    if dealt_out:
        own, same = sharding.spec, PartitionSpec()
        train_all = jax.shard_map(
            in_turn, mesh=mesh, in_specs=(own, own, same), out_specs=own, check_vma=False
        )
    state, metrics = train_all(state, keys, (examples, labeled, num_labeled, number, epochs))
    bad = metrics.bad_step.astype(jnp.int32)
    first_bad = jnp.where(bad > 0, bad, jnp.iinfo(jnp.int32).max).min()
    metrics = jax.tree.map(lambda values: values[0], metrics)
    return state, metrics._replace(bad_step=jnp.where((bad > 0).any(), first_bad, 0))


@jax.jit
def member(state: TrainState, number: jax.Array | int) -> TrainState:
    """Returns the state of one member, out of [E, ...]."""
    return jax.tree.map(lambda values: values[number], state)


def first(state: TrainState) -> TrainState:
    """Returns the first member's state, out of [E, ...]."""
    return member(state, 0)
