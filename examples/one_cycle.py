"""One cycle by hand, with aljax as a library: python examples/one_cycle.py (half a minute on two cores).

Loads the digits, trains on 100 of them, scores a sub-pool, lets Learning Loss and Core-set
select from it, and says how far they agree.
"""

import jax
import jax.numpy as jnp
import numpy as np

from aljax import agreement, strategies
from aljax.data import dataset as data
from aljax.models import LossPredictor, ResNet18
from aljax.runtime import mesh
from aljax.scenarios import pool
from aljax.training import predict
from aljax.training import step as train
from aljax.training.recipe import Recipe

BUDGET, SUBSET_SIZE, LABELED, BATCH = 50, 500, 100, 64


def main(epochs: int = 30, width: int = 8) -> float:
    """Runs the cycle and returns C."""
    devices = mesh.local(num_devices=0, batch_size=BATCH, batch_pixels=8 * 8 * BATCH)  # as many as pay
    weights_key, subset_key, batches_key, strategy_key = jax.random.split(jax.random.key(0), 4)

    # The images stay on the device as uint8, with the mean and deviation that standardize them.
    dataset = data.load("embedded", "digits", image_size=8, channels=1)
    statistics = data.channel_statistics(dataset.train.images)
    examples = train.Examples(*map(jnp.asarray, (dataset.train.images, dataset.train.labels, *statistics)))

    # Train on some labels. The array of labeled indices is as long as it will ever be.
    images = pool.label(pool.unlabeled(len(dataset.train.labels)), np.arange(LABELED))
    backbone = ResNet18(len(dataset.class_names), width)
    networks = train.Networks(backbone, LossPredictor())
    recipe = Recipe(
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=0.1,
        milestones=(0.8,),
        decay=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        ranking_weight=1.0,
        margin=1.0,
        detach_epoch=0.6,
        pad=1,
        flip=False,
    )
    state = train.init(weights_key, networks=networks, recipe=recipe, image_shape=examples.images.shape[1:])
    labeled, count = jnp.asarray(pool.padded(images, LABELED)), jnp.int32(LABELED)
    where = {"networks": networks, "sharding": mesh.spread(devices)}
    for epoch in range(epochs):
        numbers = jnp.int32(epoch), jnp.int32(epochs)
        state, _ = train.train_epoch(
            state, examples, labeled, count, *numbers, batches_key, recipe=recipe, **where
        )

    # Score a sub-pool and the labeled images, and select from it twice.
    subset = pool.draw_subset(subset_key, images, SUBSET_SIZE)
    outputs = predict.predict(
        state,
        examples,
        jnp.concatenate([subset, labeled]),
        jnp.int32(SUBSET_SIZE + LABELED),
        wanted=("log_probs", "predicted_loss", "features"),
        chunk=256,
        **where,
    )
    view = strategies.View(
        subset_size=SUBSET_SIZE,
        mesh=devices,
        num_labeled=LABELED,
        predicted_loss=outputs["predicted_loss"][:SUBSET_SIZE],
        features=outputs["features"][:SUBSET_SIZE],
        labeled_features=outputs["features"][SUBSET_SIZE:],
    )
    hard, diverse = (
        strategies.select(name, strategy_key, view, BUDGET) for name in ("learning_loss", "core_set")
    )

    right = outputs["log_probs"][:SUBSET_SIZE].argmax(-1) == examples.labels[subset]
    print(f"accuracy on the sub-pool, with {LABELED} labels: {100 * float(right.mean()):.1f} %")
    found = agreement.compare(hard.chosen, diverse.chosen, SUBSET_SIZE)
    print(f"both chose {found.overlap} of {BUDGET} (by chance {found.chance:g}): C = {found.C:+.3f}")
    return found.C


if __name__ == "__main__":
    main()
