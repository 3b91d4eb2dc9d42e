"""Predictions of trained networks: of a data set or a sub-pool, by one model or all of an ensemble.

`predict` runs on images that are on the devices. The others take the data set on the host, and predict
portions of it: while one is computed, the next is fetched.

Shapes: N images in the dataset, K classes, D features, E models of an ensemble, M images of a sub-pool,
L the most images ever labeled, S samples of dropout.
"""

from collections.abc import Collection
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from aljax.models.layers import pooled
from aljax.runtime import mesh
from aljax.training import dropout
from aljax.training.augment import standardize
from aljax.training.ensemble import member
from aljax.training.feed import Images, portions
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
    numbers: jax.Array | None = None,
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
      numbers: of the images, that their keys are drawn by, [N] int32; None: their indices.

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
            keys = jax.vmap(partial(jax.random.fold_in, key))(batch if numbers is None else numbers[batch])
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


def predicted(
    state: TrainState,
    examples: Images,
    rows: np.ndarray,
    *,
    networks: Networks,
    wanted: Collection[str],
    chunk: int,
    sharding: NamedSharding,
    key: jax.Array | None = None,
    size: int | None = None,
    number: int = 0,
) -> dict[str, jax.Array]:
    """Returns what `predict` does, by one member of an ensemble, of images on the host.

    Args:
      state: the ensemble, [E, ...].
      examples: the dataset, on the host.
      rows: which images, [n].
      networks, wanted, chunk, sharding, key: as in `predict`.
      size: at least n; what is compiled for it serves all n up to it. None: n.
      number: of the member.

    Returns:
      What is wanted, by name, [size, ...] each; what follows the n rows is unspecified.
    """
    size = len(rows) if size is None else size
    everywhere = NamedSharding(sharding.mesh, PartitionSpec())
    options: Any = {"networks": networks, "wanted": tuple(sorted(wanted)), "chunk": chunk}
    parts: list[dict[str, jax.Array]] = []
    state = state._replace(optimizer=None)
    for portion, *own in portions(examples, rows, size, chunk, everywhere):
        jax.block_until_ready(parts[-1:])  # the next portion is there, and no third one
        parts.append(of_portion(state, np.int32(number), portion, *own, key, sharding=sharding, **options))
    return mesh.here({name: _joined([part[name] for part in parts], size) for name in parts[0]})


@partial(jax.jit, static_argnames=("networks", "wanted", "chunk", "sharding"))
def of_portion(
    state: TrainState,
    number: jax.Array,
    portion: Examples,
    numbers: jax.Array,
    count: jax.Array,
    key: jax.Array | None,
    **options: Any,
) -> dict[str, jax.Array]:
    """Runs `predict` on the first `count` images of a portion [P], whose `numbers` [P] name their keys.

    The model is the member `number` of the ensemble `state`, [E, ...].
    """
    own = member(state, number)
    return predict(own, portion, jnp.arange(len(numbers)), count, key=key, numbers=numbers, **options)


def _joined(parts: list[jax.Array], size: int) -> jax.Array:
    """Returns the parts as one array of `size` rows; zeros follow where they hold fewer."""
    if len(parts) == 1 and len(parts[0]) == size:
        return parts[0]
    whole = jnp.concatenate(parts)[:size]
    return jnp.pad(whole, ((0, size - len(whole)), *[(0, 0)] * (whole.ndim - 1)))


def evaluate(
    state: TrainState,
    examples: Images,
    *,
    networks: Networks,
    chunk: int,
    sharding: NamedSharding,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns accuracy in [0, 1], mean cross-entropy in nats and log-probabilities [N, K] of `examples`.

    They are those of the first member of an ensemble, `state` [E, ...].
    """
    rows = np.arange(len(examples.labels))
    options: Any = {"networks": networks, "chunk": chunk, "sharding": sharding}
    log_probs = predicted(state, examples, rows, wanted=("log_probs",), **options)["log_probs"]
    return *measured(log_probs, np.asarray(examples.labels)), log_probs


@jax.jit
def measured(log_probs: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns accuracy and mean cross-entropy of log-probabilities [N, K] against labels [N]."""
    correct = log_probs.argmax(-1) == labels
    picked = jnp.take_along_axis(log_probs, labels[:, None], axis=-1)
    return correct.mean(), -picked.mean()


def outputs_of(
    state: TrainState,
    examples: Images,
    subset: np.ndarray,
    labeled: np.ndarray,
    num_labeled: int,
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
      examples: the dataset, on the host.
      subset: indices of the sub-pool, [M] int32.
      labeled: indices of the labeled images, the first `num_labeled` of them valid, [L] int32.
      num_labeled: a number.
      networks, chunk, sharding, key: as in `predict`.
      wanted: of "log_probs" [M, K], "predicted_loss" [M], "features" [M, D] and "dropout_classes"
        [M, S] of the first member, its "labeled_features" [L, D], and the "member_log_probs" [E, M, K]
        of all.

    Returns:
      What is wanted, by name; nothing else is computed.
    """
    options: Any = {"networks": networks, "chunk": chunk, "sharding": sharding, "key": key}
    size = len(subset)
    of_subset = [name for name in (*OUTPUTS, OF_DROPOUT) if name in wanted]
    found = {}
    if "labeled_features" in wanted:
        rows = np.concatenate([subset, labeled[:num_labeled]])
        asked = {*of_subset, "features"}
        outputs = predicted(state, examples, rows, wanted=asked, size=size + len(labeled), **options)
        found, labeled_features = _divided(outputs, size)
        found = {name: found[name] for name in of_subset} | {"labeled_features": labeled_features}
    elif of_subset:
        found = predicted(state, examples, subset, wanted=of_subset, **options)
    if "member_log_probs" in wanted:
        of_members = [
            predicted(state, examples, subset, wanted=("log_probs",), number=number, **options)["log_probs"]
            for number in range(len(jax.tree.leaves(state)[0]))
        ]
        found["member_log_probs"] = jnp.stack(of_members)
    return found


@partial(jax.jit, static_argnames="size")
def _divided(outputs: dict[str, jax.Array], size: int) -> tuple[dict[str, jax.Array], jax.Array]:
    """Returns the outputs of the first `size` images, and the features of the others."""
    return {name: values[:size] for name, values in outputs.items()}, outputs["features"][size:]


def log_probs_of(
    state: TrainState, examples: Images, rows: np.ndarray, size: int, **options: Any
) -> np.ndarray:
    """Returns the log-probabilities [n, K] of images by the first member of an ensemble.

    Args:
      state: the ensemble, [E, ...].
      examples: the dataset, on the host.
      rows: which images, [n].
      size: at least n; what is compiled for it serves all n up to it.
      **options: networks, chunk and sharding, as in `predict`.
    """
    found = predicted(state, examples, rows, wanted=("log_probs",), size=size, **options)
    return np.asarray(found["log_probs"])[: len(rows)]
