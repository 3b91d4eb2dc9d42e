"""Training the classifier and its loss predictor; prediction and evaluation.

An epoch is one compiled call: shuffling, augmentation and every step run on the device,
over images that stay there as uint8. The labeled set grows from cycle to cycle, but its
array is as long as it will ever be, so each function compiles once.

Shapes: N images in the dataset, H x W pixels, C channels, K classes, F features, L the most
images ever labeled, B examples in a batch.
"""

from collections.abc import Collection
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from aljax import losses
from aljax.models.resnet18 import LossPredictor, ResNet18, pooled


class Networks(NamedTuple):
    """The two modules that are trained together."""

    backbone: ResNet18
    predictor: LossPredictor


class Recipe(NamedTuple):
    """How to train; epochs count from 1 here. Source: Yoo & Kweon, CVPR 2019, section 4.1."""

    epochs: int
    batch_size: int
    learning_rate: float
    milestones: tuple[int, ...]  # after each of these epochs the rate is multiplied by decay
    decay: float
    momentum: float
    weight_decay: float
    ranking_weight: float
    margin: float
    detach_epoch: int  # after this epoch the ranking loss leaves the backbone alone
    pad: int  # pixels
    flip: bool
    one_cycle: float = 0.0  # share of the epochs in which the rate rises, to fall to 0 after; or 0
    label_smoothing: float = 0.0
    nesterov: bool = False


class Examples(NamedTuple):
    """Images on the device, and what standardizes them."""

    images: jax.Array  # [N, H, W, C] uint8
    labels: jax.Array  # [N] int32
    mean: jax.Array  # [C], in units of 0..255
    std: jax.Array  # [C]


class TrainState(NamedTuple):
    """All that a step changes."""

    params: Any  # {"backbone": ..., "predictor": ...}
    batch_stats: Any  # the backbone's
    momentum: Any  # optimizer state, as params


class EpochMetrics(NamedTuple):
    """Means over the steps of an epoch, in training mode; each a scalar."""

    cross_entropy: jax.Array
    ranking_loss: jax.Array
    accuracy: jax.Array
    bad_step: jax.Array  # the first step (from 1) whose loss or weights were not finite, or 0


def no_metrics() -> EpochMetrics:
    """The metrics before the first step."""
    return EpochMetrics(jnp.float32(0), jnp.float32(0), jnp.float32(0), jnp.int32(0))


OUTPUTS = ("log_probs", "predicted_loss", "features")  # [n, K], [n] and [n, F]


@partial(jax.jit, static_argnames=("networks", "image_shape"))
def init(key: jax.Array, *, networks: Networks, image_shape: tuple[int, int, int]) -> TrainState:
    """Fresh weights, drawn from `key`, for images of `image_shape` (H, W, C)."""
    backbone_key, predictor_key = jax.random.split(key)
    image = jnp.zeros((1, *image_shape))
    variables = networks.backbone.init(backbone_key, image, train=False)
    _, stages = networks.backbone.apply(variables, image, train=False)
    predictor = networks.predictor.init(predictor_key, stages)["params"]
    params = {"backbone": variables["params"], "predictor": predictor}
    return TrainState(params, variables["batch_stats"], _optimizer(0.0, 0.0, False).init(params))


@partial(jax.jit, static_argnames=("networks", "recipe", "sharding"), donate_argnames="state")
def train_epoch(
    state: TrainState,
    examples: Examples,
    labeled: jax.Array,
    num_labeled: jax.Array,
    epoch: jax.Array,
    key: jax.Array,
    *,
    networks: Networks,
    recipe: Recipe,
    sharding: NamedSharding | None,
) -> tuple[TrainState, EpochMetrics]:
    """One epoch: ceil(num_labeled / batch_size) steps.

    Args:
      state: donated.
      examples: the dataset.
      labeled: indices of the labeled images, the first `num_labeled` of them valid, [L] int32.
      num_labeled: a scalar, at least 1.
      epoch: counted from 0, a scalar.
      key: the trial's and cycle's key for shuffling and augmentation, the same in every epoch.
      networks, recipe: the modules and their hyperparameters.
      sharding: over which devices the batch is spread, if over any.
    """
    order_key, augmentation_key = jax.random.split(key)
    order = batch_order(order_key, epoch, labeled.shape[0], num_labeled, recipe.batch_size)
    num_steps = (num_labeled + recipe.batch_size - 1) // recipe.batch_size
    epoch_key = jax.random.fold_in(augmentation_key, epoch)

    def body(step, carry):
        state, totals = carry
        batch = labeled[jax.lax.dynamic_index_in_dim(order, step, keepdims=False)]
        if sharding is not None:
            batch = jax.lax.with_sharding_constraint(batch, sharding)
        step_key = jax.random.fold_in(epoch_key, step)
        part = step / num_steps
        state, metrics = train_step(state, examples, batch, epoch, step_key, networks, recipe, part)
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


def train_step(
    state: TrainState,
    examples: Examples,
    batch: jax.Array,
    epoch: jax.Array,
    key: jax.Array,
    networks: Networks,
    recipe: Recipe,
    part: jax.Array | float = 0.0,
) -> tuple[TrainState, EpochMetrics]:
    """One step of SGD with momentum on the images `batch` [B].

    `epoch` counts from 0; `part` of it, below 1, is behind.
    """
    keys = jax.random.split(key, batch.shape[0])
    images = jax.vmap(partial(augment, pad=recipe.pad, flip=recipe.flip))(keys, examples.images[batch])
    images = standardize(images, examples.mean, examples.std)
    labels = examples.labels[batch]
    detached = epoch >= recipe.detach_epoch

    def objective(params):
        (logits, stages), updated = networks.backbone.apply(
            {"params": params["backbone"], "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        stages = [jnp.where(detached, jax.lax.stop_gradient(stage), stage) for stage in stages]
        predicted = networks.predictor.apply({"params": params["predictor"]}, stages)
        true_loss = losses.cross_entropy(logits, labels)
        ranking = losses.ranking_loss(predicted, true_loss, recipe.margin)
        learned = losses.cross_entropy(logits, labels, recipe.label_smoothing)
        loss = learned.mean() + recipe.ranking_weight * ranking
        metrics = EpochMetrics(
            true_loss.mean(), ranking, (logits.argmax(-1) == labels).mean(), ~jnp.isfinite(loss)
        )
        return loss, (updated["batch_stats"], metrics)

    gradients, (batch_stats, metrics) = jax.grad(objective, has_aux=True)(state.params)
    optimizer = _optimizer(recipe.momentum, recipe.weight_decay, recipe.nesterov)
    updates, momentum = optimizer.update(gradients, state.momentum, state.params)
    rate = learning_rate(epoch, recipe, part)
    params = jax.tree.map(lambda param, update: param - rate * update, state.params, updates)
    return TrainState(params, batch_stats, momentum), metrics


def learning_rate(epoch: jax.Array, recipe: Recipe, part: jax.Array | float = 0.0) -> jax.Array:
    """The rate when `part` of `epoch` (from 0) is behind.

    Multiplied by `decay` once each milestone has been trained; or, with `one_cycle`, in a straight
    line from 0 up to the full rate and in another down to 0 at the end of the last epoch.

    Source of the cycle: Smith & Topin, "Super-Convergence", 2019, with straight lines.
    """
    if recipe.one_cycle:
        behind = (epoch + part) / recipe.epochs
        return recipe.learning_rate * jnp.minimum(
            behind / recipe.one_cycle, (1 - behind) / (1 - recipe.one_cycle)
        )
    passed = sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.learning_rate * recipe.decay ** jnp.asarray(passed, jnp.float32)


def batch_order(
    key: jax.Array, epoch: jax.Array, capacity: int, num_labeled: jax.Array, batch_size: int
) -> jax.Array:
    """Which position of the labeled set stands where in the batches of an epoch.

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


def augment(key: jax.Array, image: jax.Array, pad: int, flip: bool) -> jax.Array:
    """A random crop of one image, padded by `pad` black pixels, and perhaps its mirror image.

    Args:
      key: a key.
      image: [H, W, C].
      pad: pixels on each side; 0 leaves the image where it is.
      flip: whether to mirror it left to right half of the time.

    Returns:
      An image like it, [H, W, C].
    """
    crop_key, flip_key = jax.random.split(key)
    if pad:
        corner = jax.random.randint(crop_key, (2,), 0, 2 * pad + 1)
        padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        image = jax.lax.dynamic_slice(padded, (*corner, 0), image.shape)
    if flip:
        image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
    return image


def standardize(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Images [..., C] uint8 to float32 of about zero mean and unit variance per channel [C]."""
    return (images.astype(jnp.float32) - mean) / std


def predict(
    state: TrainState,
    examples: Examples,
    indices: jax.Array,
    count: jax.Array | int,
    *,
    networks: Networks,
    wanted: Collection[str],
    chunk: int,
    sharding: NamedSharding,
) -> dict[str, jax.Array]:
    """What the networks say of many images, in evaluation mode and without augmentation.

    Args:
      state: the trained state.
      examples: the dataset.
      indices: images, [n] int32.
      count: how many of them matter, a scalar; the outputs of later ones are unspecified,
        and whole chunks of them cost nothing.
      networks: the modules.
      wanted: which of `OUTPUTS`; nothing else is computed.
      chunk: images in one pass, a multiple of the number of devices.
      sharding: over which devices a chunk is spread.

    Returns:
      What is wanted, by name.
    """
    size = indices.shape[0]
    num_chunks = -(-size // chunk)
    padded = jnp.pad(indices, (0, num_chunks * chunk - size), mode="edge")

    def forward(batch):
        batch = jax.lax.with_sharding_constraint(batch, sharding)
        images = standardize(examples.images[batch], examples.mean, examples.std)
        variables = {"params": state.params["backbone"], "batch_stats": state.batch_stats}
        logits, stages = networks.backbone.apply(variables, images, train=False)
        predicted = networks.predictor.apply({"params": state.params["predictor"]}, stages)
        outputs = dict(zip(OUTPUTS, (jax.nn.log_softmax(logits), predicted, pooled(stages[-1])), strict=True))
        return {name: outputs[name] for name in wanted}

    def body(i, outputs):
        chunk_outputs = forward(jax.lax.dynamic_slice(padded, (i * chunk,), (chunk,)))
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, i * chunk, 0),
            outputs,
            chunk_outputs,
        )

    shapes = jax.eval_shape(forward, padded[:chunk])
    outputs = jax.tree.map(lambda part: jnp.zeros((num_chunks * chunk, *part.shape[1:]), part.dtype), shapes)
    outputs = jax.lax.fori_loop(0, (count + chunk - 1) // chunk, body, outputs)
    return jax.tree.map(lambda whole: whole[:size], outputs)


@partial(jax.jit, static_argnames=("networks", "chunk", "sharding"))
def evaluate(
    state: TrainState,
    examples: Examples,
    *,
    networks: Networks,
    chunk: int,
    sharding: NamedSharding,
) -> tuple[jax.Array, jax.Array]:
    """Accuracy in [0, 1] and mean cross-entropy in nats over all of `examples`, two scalars."""
    size = examples.labels.shape[0]
    log_probs = predict(
        state,
        examples,
        jnp.arange(size),
        jnp.int32(size),
        networks=networks,
        wanted=("log_probs",),
        chunk=chunk,
        sharding=sharding,
    )["log_probs"]
    correct = log_probs.argmax(-1) == examples.labels
    picked = jnp.take_along_axis(log_probs, examples.labels[:, None], axis=-1)
    return correct.mean(), -picked.mean()


def _optimizer(momentum: float, weight_decay: float, nesterov: bool) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.trace(momentum, nesterov))
