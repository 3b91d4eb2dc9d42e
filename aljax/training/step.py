"""Training the classifier and its loss predictor: the state, a step, an epoch.

An epoch is one compiled call: shuffling, augmentation and every step run on the device,
over images that stay there as uint8. The labeled set grows from cycle to cycle, but its
array is as long as it will ever be, so each function compiles once.

Shapes: N images in the dataset, H x W pixels, C channels, L the most images ever labeled, B examples in
a batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aljax import losses, models
from aljax.ops import batch_norm
from aljax.ops.batch_norm import PARTS
from aljax.training import optimizers, schedules
from aljax.training.augment import augment, standardize
from aljax.training.recipe import Recipe, share_of

DROPOUT = np.uint32(2**31)  # folded into a step's key for networks that draw; no image has this number


class Networks(NamedTuple):
    """The two modules that are trained together."""

    backbone: nn.Module
    predictor: nn.Module


class Examples(NamedTuple):
    """Images on the device, and what standardizes them."""

    images: jax.Array  # [N, H, W, C] uint8, or embeddings [N, D] float16 or float32
    labels: jax.Array  # [N] int32
    mean: jax.Array  # [C], in units of 0..255, or [D]
    std: jax.Array  # [C] or [D]


class TrainState(NamedTuple):
    """All that a step changes."""

    params: Any  # {"backbone": ..., "predictor": ...}
    batch_stats: Any  # the backbone's
    optimizer: Any  # the optimizer's state


class EpochMetrics(NamedTuple):
    """Means over the steps of an epoch, in training mode; each a scalar."""

    cross_entropy: jax.Array
    ranking_loss: jax.Array
    accuracy: jax.Array
    bad_step: jax.Array  # the first step (from 1) whose loss or weights were not finite, or 0


Step = Callable[..., tuple[TrainState, EpochMetrics]]  # of state, examples, batch, share, key, known


def no_metrics() -> EpochMetrics:
    """Returns the metrics before the first step."""
    return EpochMetrics(jnp.float32(0), jnp.float32(0), jnp.float32(0), jnp.int32(0))


@partial(jax.jit, static_argnames=("networks", "recipe", "image_shape"))
def init(key: jax.Array, *, networks: Networks, recipe: Recipe, image_shape: tuple[int, ...]) -> TrainState:
    """Draws fresh weights from `key`, for images of `image_shape` (H, W, C) or (D,)."""
    backbone_key, predictor_key = jax.random.split(key)
    image = jnp.zeros((1, *image_shape))
    (_, stages), variables = models.initialized(networks.backbone, backbone_key, image)
    predictor = networks.predictor.init(predictor_key, stages)["params"]
    params = {"backbone": variables["params"], "predictor": predictor}
    return restarted(TrainState(params, variables.get("batch_stats", {}), None), recipe)


def restarted(state: TrainState, recipe: Recipe) -> TrainState:
    """Returns the state with its weights, and an optimizer that has taken no step."""
    with optimizers.named(recipe.optimizer):
        optimizer = optimizers.find(recipe.optimizer)(recipe.learning_rate, recipe)
        return state._replace(optimizer=optimizer.init(state.params))


@partial(jax.jit, static_argnames=("networks", "recipe", "sharding"), donate_argnames="state")
def train_epoch(
    state: TrainState,
    examples: Examples,
    labeled: jax.Array,
    num_labeled: jax.Array,
    epoch: jax.Array,
    epochs: jax.Array,
    key: jax.Array,
    *,
    networks: Networks,
    recipe: Recipe,
    sharding: NamedSharding | None,
) -> tuple[TrainState, EpochMetrics]:
    """Trains for one epoch: ceil(num_labeled / batch_size) steps.

    Args:
      state: donated.
      examples: the dataset.
      labeled: indices of the labeled images, the first `num_labeled` of them valid, [L] int32.
      num_labeled: a scalar, at least 1.
      epoch: counted from 0, a scalar.
      epochs: of the whole training, a scalar (see `recipe.epochs_of`).
      key: the trial's and cycle's key for shuffling and augmentation, the same in every epoch.
      networks, recipe: the modules and their hyperparameters.
      sharding: over which devices the batch is spread, if over any.

    Returns:
      The state and the metrics of the epoch.
    """
    order_key, augmentation_key = jax.random.split(key)
    order = batch_order(order_key, epoch, labeled.shape[0], num_labeled, recipe.batch_size)
    num_steps = (num_labeled + recipe.batch_size - 1) // recipe.batch_size
    epoch_key = jax.random.fold_in(augmentation_key, epoch)
    known = jnp.where(jnp.arange(labeled.shape[0]) < num_labeled, examples.labels[labeled], -1)
    take_step = step_over(sharding, networks, recipe)

    def body(step, carry):
        state, totals = carry
        batch = labeled[jax.lax.dynamic_index_in_dim(order, step, keepdims=False)]
        step_key = jax.random.fold_in(epoch_key, step)
        share = (epoch + step / num_steps) / epochs
        state, metrics = take_step(state, examples, batch, share, step_key, known)
        bad = jnp.where((totals.bad_step == 0) & (metrics.bad_step > 0), step + 1, totals.bad_step)
        totals = jax.tree.map(jnp.add, totals, metrics)
        return state, totals._replace(bad_step=bad)

    state, totals = jax.lax.fori_loop(0, num_steps, body, (state, no_metrics()))
    means = jax.tree.map(lambda total: total / num_steps, totals)
    # A step that spoils the weights shows in the next one's loss; the last has no next.
    learned = jax.tree.leaves((state.params, state.batch_stats))
    sound = jnp.stack([jnp.isfinite(leaf).all() for leaf in learned]).all()
    bad_step = jnp.where((totals.bad_step == 0) & ~sound, num_steps, totals.bad_step)
    return state, means._replace(bad_step=bad_step)


def step_over(sharding: NamedSharding | None, networks: Networks, recipe: Recipe) -> Step:
    """Returns `train_step` of these networks, with the batch spread over devices if over any.

    Left to XLA, the gradients of all parameters are summed one by one; between processes on CPUs each of
    these sums costs more than what it sums. So each device takes the gradients of its part of the batch, and
    they are summed as one vector. This holds for a network whose examples meet in aljax's `BatchNorm` alone,
    and that draws nothing: its class says so with `meet_in_batch_norm = True`. XLA spreads any other network.
    """

    def step(state, examples, batch, share, key, known):
        return train_step(state, examples, batch, share, key, networks, recipe, known)

    if sharding is None:
        return step
    said = vars(type(networks.backbone)).get("meet_in_batch_norm", False)  # a class does not inherit it
    if sharding.mesh.size == 1 or not said:
        return lambda state, examples, batch, *others: step(
            state, examples, jax.lax.with_sharding_constraint(batch, sharding), *others
        )
    part, same = PartitionSpec(PARTS), PartitionSpec()
    in_parts = jax.shard_map(
        step,
        mesh=Mesh(sharding.mesh.devices, PARTS),
        in_specs=(same, same, part, same, same, same),
        out_specs=same,
        check_vma=False,
    )
    own_mesh = NamedSharding(sharding.mesh, same)  # else the next epoch would find another one, and be traced
    return lambda *arguments: jax.lax.with_sharding_constraint(in_parts(*arguments), own_mesh)


def train_step(
    state: TrainState,
    examples: Examples,
    batch: jax.Array,
    share: jax.Array | float,
    key: jax.Array,
    networks: Networks,
    recipe: Recipe,
    known: jax.Array | None = None,
) -> tuple[TrainState, EpochMetrics]:
    """Takes one step of the optimizer on the images `batch` [B].

    Args:
      state, examples, networks, recipe: as in `train_epoch`.
      batch: indices of images, [B]; a part of them within a `jax.shard_map` over `PARTS`.
      share: of the training that is behind, a scalar in [0, 1).
      key: for the augmentation, and for dropout where a network has it.
      known: the classes of all labeled images, for balanced class weights; -1 does not count, [L].

    Returns:
      The state, and the metrics of this step.
    """
    parts = batch_norm.parts()
    number = jax.lax.axis_index(PARTS) if parts > 1 else 0
    keys = jax.random.split(key, (parts, *batch.shape))[number]
    images = jax.vmap(partial(augment, pad=recipe.pad, flip=recipe.flip))(keys, examples.images[batch])
    images = standardize(images, examples.mean, examples.std)
    labels = examples.labels[batch]
    detached = share >= share_of(recipe.detach_epoch, recipe) - schedules.ROUNDING

    def objective(params):
        (logits, stages), updated = networks.backbone.apply(
            {"params": params["backbone"], "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.fold_in(key, DROPOUT)},
        )
        stages = [jnp.where(detached, jax.lax.stop_gradient(stage), stage) for stage in stages]
        predicted = networks.predictor.apply({"params": params["predictor"]}, stages)
        true_loss = losses.cross_entropy(logits, labels)
        learned = losses.cross_entropy(logits, labels, recipe.label_smoothing)
        if recipe.class_weights == "balanced":
            assert known is not None
            learned *= losses.class_weights(known, logits.shape[-1])[labels]
        of_each = predicted, true_loss, learned, logits.argmax(-1) == labels
        if parts > 1:
            of_each = _of_whole_batch(jnp.stack(of_each), number)
        predicted, true_loss, learned, right = of_each
        ranking = losses.ranking_loss(predicted, true_loss, recipe.margin)
        loss = learned.mean() + recipe.ranking_weight * ranking
        metrics = EpochMetrics(true_loss.mean(), ranking, right.mean(), ~jnp.isfinite(loss))
        return loss, (updated.get("batch_stats", {}), metrics)

    gradients, (batch_stats, metrics) = jax.grad(objective, has_aux=True)(state.params)
    if parts > 1:
        own, unraveled = ravel_pytree(gradients)
        gradients = unraveled(jax.lax.psum(own, PARTS))
    rate = recipe.learning_rate * schedules.find(recipe.schedule)(share, recipe)
    with optimizers.named(recipe.optimizer):
        optimizer = optimizers.find(recipe.optimizer)(rate, recipe)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
    return TrainState(params, batch_stats, optimizer_state), metrics


def _of_whole_batch(values: jax.Array, number: jax.Array) -> jax.Array:
    """Returns values of all examples of a batch, [V, parts * B], from those [V, B] of the part of a `number`.

    A gradient flows into the values of this part alone: the gradients of all parts are summed later.
    """
    of_all = jax.lax.all_gather(jax.lax.stop_gradient(values), PARTS, axis=1, tiled=True)
    return jax.lax.dynamic_update_slice_in_dim(of_all, values, number * values.shape[1], axis=1)


def batch_order(
    key: jax.Array, epoch: jax.Array, capacity: int, num_labeled: jax.Array, batch_size: int
) -> jax.Array:
    """Returns the positions of the labeled set in the batches of an epoch.

    The epoch's own shuffle comes first; what the last batch lacks is taken from the next
    epoch's shuffle (and, where the whole set is smaller than a batch, from those after it).

    Args:
      key: the cycle's key.
      epoch: counted from 0, a scalar.
      capacity: the length L of the array of labeled indices, at least `num_labeled`.
      num_labeled: how many of its positions are valid, a scalar, at least 1.
      batch_size: B.

    Returns:
      Positions below `num_labeled`, [ceil(L / B), B] int32. Rows from ceil(num_labeled / B)
      on are not part of the epoch.
    """

    def shuffle(epoch):
        draws = jax.random.uniform(jax.random.fold_in(key, epoch), (capacity,))
        return jnp.argsort(jnp.where(jnp.arange(capacity) < num_labeled, draws, 2.0))

    rows = -(-capacity // batch_size)
    place = jnp.arange(rows * batch_size)
    turn, offset = place // num_labeled, place % num_labeled

    def fill(turn_index, order):
        return jnp.where(turn == turn_index, shuffle(epoch + turn_index)[offset], order)

    num_steps = (num_labeled + batch_size - 1) // batch_size
    turns = (num_steps * batch_size + num_labeled - 1) // num_labeled
    order = jax.lax.fori_loop(0, turns, fill, jnp.zeros_like(place))
    return order.reshape(rows, batch_size)
