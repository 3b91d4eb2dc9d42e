"""The statistics of batch normalization in evaluation, computed anew after training ("precise BN").

The running averages of training lag behind the weights, and see augmented images. Here the layers
normalize batches of the labeled images as they are, and keep the mean over all batches.

Source: Wu & Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding

from aljax.training.augment import standardize
from aljax.training.recipe import Recipe
from aljax.training.step import Examples, Networks, TrainState, batch_order


@partial(jax.jit, static_argnames=("networks", "recipe", "sharding"))
def recomputed(
    state: TrainState,
    examples: Examples,
    labeled: jax.Array,
    num_labeled: jax.Array,
    key: jax.Array,
    *,
    networks: Networks,
    recipe: Recipe,
    sharding: NamedSharding,
) -> TrainState:
    """Returns the ensemble with the statistics of its labeled images.

    Args:
      state: the ensemble, [E, ...].
      examples: the dataset.
      labeled: indices of the labeled images, the first `num_labeled` of them valid, [L] int32.
      num_labeled: a scalar, at least 1.
      key: shuffles the images into batches; every image is in one, and the last batch is filled up.
      networks, recipe: the modules and their hyperparameters.
      sharding: over which devices a batch is spread.
    """
    order = batch_order(key, jnp.int32(0), labeled.shape[0], num_labeled, recipe.batch_size)
    num_batches = (num_labeled + recipe.batch_size - 1) // recipe.batch_size

    def of_member(member: TrainState) -> TrainState:
        def add(i, totals):
            batch = labeled[jax.lax.dynamic_index_in_dim(order, i, keepdims=False)]
            batch = jax.lax.with_sharding_constraint(batch, sharding)
            images = standardize(examples.images[batch], examples.mean, examples.std)
            own = _of_batch(member, images, jax.random.fold_in(key, i), networks)
            squares = {path: own[path] ** 2 for path in own if path[-1] == "mean"}
            return jax.tree.map(jnp.add, totals, (own, squares))

        zeros = jax.tree.map(jnp.zeros_like, flatten_dict(member.batch_stats))
        start = zeros, {path: zeros[path] for path in zeros if path[-1] == "mean"}
        totals = jax.lax.fori_loop(0, num_batches, add, start)
        means, squares = jax.tree.map(lambda total: total / num_batches, totals)
        for path, square in squares.items():  # the variance over all: that within batches and that between
            means[(*path[:-1], "var")] += jnp.maximum(square - means[path] ** 2, 0)
        return member._replace(batch_stats=unflatten_dict(means))

    return jax.lax.map(of_member, state)


def _of_batch(
    member: TrainState, images: jax.Array, key: jax.Array, networks: Networks
) -> dict[tuple[str, ...], jax.Array]:
    """Returns mean and variance of one batch in every layer, by their paths.

    A layer updates its statistics s to m s + (1 - m) x, with the batch's x: from s = 0 and s = 1
    follow both m and x.
    """

    def started_at(value: float) -> dict[tuple[str, ...], jax.Array]:
        start = jax.tree.map(lambda leaf: jnp.full_like(leaf, value), member.batch_stats)
        variables = {"params": member.params["backbone"], "batch_stats": start}
        rngs = {"dropout": key}  # for the networks that draw
        _, updated = networks.backbone.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs=rngs
        )
        return flatten_dict(updated.get("batch_stats", {}))

    of_zero, of_one = started_at(0.0), started_at(1.0)
    return {path: of_zero[path] / (1 - (of_one[path] - of_zero[path])) for path in of_zero}
