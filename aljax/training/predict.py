"""Predictions of trained networks: of a data set or a sub-pool, by one model or all of an ensemble.

Shapes: N images in the dataset, K classes, D features, E models of an ensemble, M images of a sub-pool,
L the most images ever labeled, S samples of dropout.
"""

from collections.abc import Collection
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from aljax.models.layers import pooled
from aljax.training import dropout
from aljax.training.augment import standardize
from aljax.training.ensemble import first
from aljax.training.step import Examples, Networks, TrainState

OUTPUTS = ("log_probs", "predicted_loss", "features")  # [n, K], [n] and [n, D]
OF_DROPOUT = "dropout_classes"  # [n, S]


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
    key: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """Returns what the networks predict of many images, in evaluation mode and without augmentation.

    Args:
      state: the trained state.
      examples: the dataset.
      indices: images, [n] int32.
      count: how many of them matter, a scalar; the outputs of later ones are unspecified,
        and whole chunks of them cost nothing.
      networks: the modules.
      wanted: which of `OUTPUTS` and `OF_DROPOUT`; nothing else is computed.
      chunk: images in one pass, a multiple of the number of devices.
      sharding: over which devices a chunk is spread.
      key: for `OF_DROPOUT`; each image has its own of it.

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
        outputs = {}
        if OF_DROPOUT in wanted:
            assert key is not None
            keys = jax.vmap(partial(jax.random.fold_in, key))(batch)
            (logits, stages), outputs[OF_DROPOUT] = dropout.apply(networks.backbone, variables, images, keys)
        else:
            logits, stages = networks.backbone.apply(variables, images, train=False)
        predicted = networks.predictor.apply({"params": state.params["predictor"]}, stages)
        values = jax.nn.log_softmax(logits), predicted, pooled(stages[-1])
        outputs |= dict(zip(OUTPUTS, values, strict=True))
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
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns accuracy in [0, 1], mean cross-entropy in nats and log-probabilities [N, K] of `examples`."""
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
    return correct.mean(), -picked.mean(), log_probs


@partial(jax.jit, static_argnames=("networks", "wanted", "chunk", "sharding"))
def outputs_of(
    state: TrainState,
    examples: Examples,
    subset: jax.Array,
    labeled: jax.Array,
    num_labeled: jax.Array,
    key: jax.Array | None = None,
    *,
    networks: Networks,
    wanted: frozenset[str],
    chunk: int,
    sharding: NamedSharding,
) -> dict[str, jax.Array]:
    """Returns what an ensemble predicts of a sub-pool, and its first member of the labeled images.

    Args:
      state: the ensemble, [E, ...].
      examples: the dataset.
      subset: indices of the sub-pool, [M] int32.
      labeled: indices of the labeled images, the first `num_labeled` of them valid, [L] int32.
      num_labeled: a scalar.
      networks, chunk, sharding, key: as in `predict`.
      wanted: of "log_probs" [M, K], "predicted_loss" [M], "features" [M, D] and "dropout_classes"
        [M, S] of the first member, its "labeled_features" [L, D], and the "member_log_probs" [E, M, K]
        of all.

    Returns:
      What is wanted, by name; nothing else is computed.
    """
    options: Any = {"networks": networks, "chunk": chunk, "sharding": sharding, "key": key}
    size = subset.shape[0]
    of_subset = [name for name in (*OUTPUTS, OF_DROPOUT) if name in wanted]
    found = {}
    if "labeled_features" in wanted:
        indices, count = jnp.concatenate([subset, labeled]), size + num_labeled
        asked = {*of_subset, "features"}
        outputs = predict(first(state), examples, indices, count, wanted=asked, **options)
        found = {name: outputs[name][:size] for name in of_subset}
        found["labeled_features"] = outputs["features"][size:]
    elif of_subset:
        found = predict(first(state), examples, subset, size, wanted=of_subset, **options)
    if "member_log_probs" in wanted:

        def of_member(member: TrainState) -> jax.Array:
            outputs = predict(member, examples, subset, size, wanted=("log_probs",), **options)
            return outputs["log_probs"]

        found["member_log_probs"] = jax.lax.map(of_member, state)
    return found


@partial(jax.jit, static_argnames=("networks", "chunk", "sharding"))
def log_probs_of(
    state: TrainState,
    examples: Examples,
    indices: jax.Array,
    count: jax.Array,
    *,
    networks: Networks,
    chunk: int,
    sharding: NamedSharding,
) -> jax.Array:
    """Returns the log-probabilities [n, K] of the first `count` of `indices` [n], by the first member."""
    options: Any = {"networks": networks, "chunk": chunk, "sharding": sharding}
    return predict(first(state), examples, indices, count, wanted=("log_probs",), **options)["log_probs"]


@partial(jax.jit, static_argnames=("networks", "chunk", "sharding"))
def classes_of(
    state: TrainState, examples: Examples, indices: jax.Array, count: jax.Array, **options: Any
) -> jax.Array:
    """Returns the likeliest classes [n] of the first `count` of `indices` [n]; see `log_probs_of`."""
    return log_probs_of(state, examples, indices, count, **options).argmax(-1)
