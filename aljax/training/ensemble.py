"""Several networks trained on the same labels; the study's ensemble has one member.

The members are dealt out to the devices where that is even, each device training its own in
turn; else all devices share the batches of one member after the other. What asks for one model gets the first
member, whose weights and batches are those of an ensemble of one.

One compiled call trains for several epochs: a small head's takes less time than a call does.

Shapes: E members, L the most images ever labeled, as in `step`; A the most epochs of a call.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from aljax.training import step
from aljax.training.recipe import Recipe
from aljax.training.step import EpochMetrics, Examples, Networks, TrainState, no_metrics

AT_ONCE = 64  # A
BRIEFLY = {"xla_backend_optimization_level": 1}  # in a third of the time, for what runs once a training


@partial(jax.jit, static_argnames=("networks", "recipe", "image_shape"), compiler_options=BRIEFLY)
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
def epochs(
    state: TrainState,
    examples: Examples,
    labeled: jax.Array,
    num_labeled: jax.Array,
    begin: jax.Array,
    count: jax.Array,
    total: jax.Array,
    keys: jax.Array,
    *,
    networks: Networks,
    recipe: Recipe,
    sharding: NamedSharding,
) -> tuple[TrainState, EpochMetrics]:
    """Trains every member for some epochs, as `step.train_epoch` does one for an epoch.

    Args:
      state: [E, ...], donated.
      examples, labeled, num_labeled: as there.
      begin: the first of the epochs, counted from 0, a scalar.
      count: how many they are, a scalar of at most `AT_ONCE`; another number compiles nothing anew.
      total: the epochs of the whole training, a scalar.
      keys: each member's key for shuffling and augmentation, [E]; equal keys give equal batches.
      networks, recipe: as there.
      sharding: over which devices the members, or else the batches, are spread.

    Returns:
      The state, which does not depend on how a training is cut into calls, and the first member's metrics of
      each epoch, [A], of which the first `count` are valid; `bad_step` is the first of any member's.
    """
    size, mesh = keys.shape[0], sharding.mesh
    dealt_out = size > 1 and size % mesh.size == 0

    def of_one(state: TrainState, key: jax.Array, shared: Any) -> tuple[TrainState, EpochMetrics]:
        examples, labeled, num_labeled, begin, count, total = shared
        options: Any = {"networks": networks, "recipe": recipe, "sharding": None if dealt_out else sharding}

        def body(i, carry):
            state, found = carry
            state, metrics = step.train_epoch(
                state, examples, labeled, num_labeled, begin + i, total, key, **options
            )
            return state, jax.tree.map(lambda values, value: values.at[i].set(value), found, metrics)

        none = jax.tree.map(lambda value: jnp.zeros(AT_ONCE, value.dtype), no_metrics())
        return jax.lax.fori_loop(0, count, body, (state, none))

    def in_turn(state, keys, shared):  # vmap would make grouped convolutions, which are slow everywhere
        return jax.lax.map(lambda own: of_one(*own, shared), (state, keys))

    train_all = in_turn
    if dealt_out:
        own, same = sharding.spec, PartitionSpec()
        train_all = jax.shard_map(
            in_turn, mesh=mesh, in_specs=(own, own, same), out_specs=own, check_vma=False
        )
    state, metrics = train_all(state, keys, (examples, labeled, num_labeled, begin, count, total))
    bad = metrics.bad_step
    first_bad = jnp.where(bad > 0, bad, jnp.iinfo(jnp.int32).max).min(axis=0)
    metrics = jax.tree.map(lambda values: values[0], metrics)
    return state, metrics._replace(bad_step=jnp.where((bad > 0).any(axis=0), first_bad, 0))


@jax.jit
def member(state: TrainState, number: jax.Array | int) -> TrainState:
    """Returns the state of one member, out of [E, ...]."""
    return jax.tree.map(lambda values: jax.lax.dynamic_index_in_dim(values, number, keepdims=False), state)


def first(state: TrainState) -> TrainState:
    """Returns the first member's state, out of [E, ...]."""
    return member(state, 0)
