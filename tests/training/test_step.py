import json
import re
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.typing import DTypeLike

from aljax.models import LossPredictor
from aljax.models.layers import Conv, dense, pooled
from aljax.models.resnet18 import Block
from aljax.runtime import mesh
from aljax.training import predict as prediction
from aljax.training import step as train
from tests.networks import TwoLayers

GOLDEN = Path(__file__).parents[1] / "golden" / "train_step.json"


@pytest.fixture
def state(networks, recipe):
    return initialized(networks, recipe)


def initialized(networks, recipe):
    """Returns a state on the host: what is computed with it there is not compiled."""
    state = train.init(jax.random.key(0), networks=networks, recipe=recipe, image_shape=(8, 8, 3))
    return jax.device_get(state)


predict = jax.jit(prediction.predict, static_argnames=("networks", "wanted", "chunk", "sharding"))


def one_step(state, examples, networks, recipe, epoch=0, batch=range(8)):
    step = jax.jit(train.train_step, static_argnums=(5, 6))
    batch = np.array(list(batch))
    share = np.float32(epoch / recipe.epochs)
    return jax.device_get(step(state, examples, batch, share, jax.random.key(1), networks, recipe))


def run_epochs(state, examples, networks, recipe, devices, num_labeled=20, epochs=2, capacity=24):
    labeled = np.arange(capacity, dtype=np.int32)
    everywhere = mesh.everywhere(devices)
    state, examples, labeled = jax.device_put((state, examples, labeled), everywhere)
    for epoch in range(epochs):
        state, metrics = train.train_epoch(
            state,
            examples,
            labeled,
            np.int32(num_labeled),
            np.int32(epoch),
            np.int32(recipe.epochs),
            jax.random.key(2),
            networks=networks,
            recipe=recipe,
            sharding=mesh.spread(devices),
        )
    return state, metrics


# Batches


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([(12, 4), (13, 4), (7, 16)]), st.data())
def test_an_epoch_holds_every_image_and_fills_up_from_the_next_shuffle(sizes, data):
    capacity, batch_size = sizes
    num_labeled = data.draw(st.integers(1, capacity))
    key = jax.random.key(data.draw(st.integers(0, 5)))
    order = jax.jit(train.batch_order, static_argnums=(2, 4))
    now, following = (
        np.asarray(order(key, np.int32(epoch), capacity, np.int32(num_labeled), batch_size)).ravel()
        for epoch in (3, 4)
    )
    used = -(-num_labeled // batch_size) * batch_size
    assert sorted(now[:num_labeled]) == list(range(num_labeled))
    fill = now[num_labeled:used]
    own = following[:num_labeled]
    assert list(fill[:num_labeled]) == list(own[: len(fill)])
    assert set(now[:used]) == set(range(num_labeled))


def test_epochs_are_shuffled_differently():
    order = jax.jit(train.batch_order, static_argnums=(2, 4))
    key = jax.random.key(0)
    orders = [tuple(np.asarray(order(key, np.int32(e), 32, np.int32(32), 8)).ravel()) for e in range(4)]
    assert len(set(orders)) == 4


# Steps


def test_nesterov_looks_ahead(state, examples, networks, recipe):
    """From rest, momentum takes the gradient g, and Nesterov's g + 0.9 g."""
    recipe = recipe._replace(weight_decay=0.0, learning_rate=1e-2)
    plain, _ = one_step(state, examples, networks, recipe)
    ahead, _ = one_step(state, examples, networks, recipe._replace(nesterov=True))
    moved = jax.tree.map(lambda before, after: 1.9 * (after - before), state.params, plain.params)
    expected = jax.tree.map(np.add, state.params, moved)
    chex.assert_trees_all_close(ahead.params, expected, atol=1e-5)


def test_an_epoch_asks_nothing_of_the_host(state, examples, networks, recipe, devices):
    everywhere = mesh.everywhere(devices)
    labeled = np.arange(24, dtype=np.int32)
    arrays = (state, examples, labeled, np.int32(20), np.int32(0), np.int32(4), jax.random.key(2))
    *arrays, following = jax.device_put((*arrays, np.int32(1)), everywhere)
    options = {"networks": networks, "recipe": recipe, "sharding": mesh.spread(devices)}
    given = jax.tree.leaves(arrays[0])
    with jax.transfer_guard("disallow"):
        trained, _ = train.train_epoch(*arrays, **options)
        trained, metrics = train.train_epoch(trained, *arrays[1:4], following, *arrays[5:], **options)
    assert np.isfinite(metrics.cross_entropy)
    assert all(leaf.is_deleted() for leaf in given)  # donated: the new state took its memory


class Wide(nn.Module):
    """ResNet-18 with two of its four stages, of a block each: its channels are as many as the study's."""

    meet_in_batch_norm = True

    dtype: DTypeLike

    @nn.compact
    def __call__(self, images, train):
        x, stages = Conv(64, (3, 3), padding=1, dtype=self.dtype)(images.astype(self.dtype)), []
        for stride in (1, 2):
            x = Block(64 * stride, stride, self.dtype, "he_fan_out")(x, train)
            stages.append(x)
        return dense(3, pooled(x), "he_fan_out"), tuple(stages)


def test_training_in_bfloat16_follows_that_in_float32(examples, recipe, devices):
    """Each convolution was right alone, and a whole training had to be run to be sure of all of them."""
    recipe = recipe._replace(learning_rate=0.02, epochs=12)

    def losses(dtype):
        networks = train.Networks(Wide(dtype), LossPredictor(hidden=4))
        state = initialized(networks, recipe)
        ran = [run_epochs(state, examples, networks, recipe, devices, epochs=epochs) for epochs in (1, 7)]
        return [float(metrics.cross_entropy) for _, metrics in ran]

    first, last = exact = losses(jnp.float32)
    assert last < 0.1 * first
    assert losses(jnp.bfloat16) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_an_epoch_as_an_accelerator_gets_it(state, examples, networks, recipe, devices, platform):
    """Lowered for it here: plain convolutions in bfloat16, no call of the host, the state donated."""
    networks = networks._replace(backbone=networks.backbone.clone(dtype=jnp.bfloat16))
    traced = train.train_epoch.trace(
        state,
        examples,
        np.arange(24, dtype=np.int32),
        np.int32(20),
        np.int32(0),
        np.int32(4),
        jax.random.key(2),
        networks=networks,
        recipe=recipe,
        sharding=mesh.spread(devices),
    )
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    layers = sum(leaf.ndim == 4 for leaf in jax.tree.leaves(state.params))
    assert len(convolutions) >= 3 * layers  # the value and two gradients of each
    assert all(re.findall(r"x(bf16|f32)>", line) == ["bf16"] * 3 for line in convolutions)
    assert "callback" not in text
    assert text.count("jax.buffer_donor") + text.count("tf.aliasing_output") == len(jax.tree.leaves(state))


def test_the_ranking_loss_leaves_the_backbone_alone_after_the_detach_epoch(state, examples, networks, recipe):
    silent = recipe._replace(ranking_weight=0.0)
    for epoch, same in ((recipe.detach_epoch - 1, False), (recipe.detach_epoch, True)):
        with_ranking, _ = one_step(state, examples, networks, recipe, epoch)
        without, _ = one_step(state, examples, networks, silent, epoch)
        difference = jax.tree.map(
            lambda a, b: float(np.abs(a - b).max()), with_ranking.params, without.params
        )
        assert (max(jax.tree.leaves(difference["backbone"])) == 0) == same
        assert max(jax.tree.leaves(difference["predictor"])) > 0


def test_steps_follow_sgd_with_momentum_and_weight_decay(state, examples, networks, recipe):
    """Two steps against buf = 0.9 buf + (g + wd p), p = p - rate buf, with g from finite steps of rate."""
    plain = recipe._replace(momentum=0.0, weight_decay=0.0, learning_rate=1.0)

    def gradient(state):
        moved, _ = one_step(state, examples, networks, plain)
        return jax.tree.map(lambda a, b: a - b, state.params, moved.params)

    params, buffer = state.params, jax.tree.map(np.zeros_like, state.params)
    ours = state
    for _ in range(2):
        g = gradient(ours._replace(optimizer=state.optimizer))
        buffer = jax.tree.map(lambda b, g, p: 0.9 * b + g + 5e-4 * p, buffer, g, params)
        params = jax.tree.map(lambda p, b: p - 0.1 * b, params, buffer)
        ours, _ = one_step(ours, examples, networks, recipe)
    chex.assert_trees_all_close(ours.params, params, atol=1e-5)


def norm(tree):
    return float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree))))


def test_golden_step(examples, resnet, recipe):
    state = initialized(resnet, recipe)
    after, metrics = one_step(state, examples, resnet, recipe)
    measured = {
        "cross_entropy": float(metrics.cross_entropy),
        "ranking_loss": float(metrics.ranking_loss),
        "accuracy": float(metrics.accuracy),
        "params_norm": norm(after.params),
        "statistics_norm": norm(after.batch_stats),
    }
    expected = json.loads(GOLDEN.read_text())
    assert measured == pytest.approx(expected, rel=1e-4), (
        f"a train step no longer gives what it gave. If the recipe was changed on purpose, write "
        f"{json.dumps(measured)} to {GOLDEN} and say why in the commit."
    )


def test_training_learns_and_fits_the_pool(examples, recipe, devices):
    """Eight channels and rates that fall: with two at 0.1, rounding decides whether a network learns."""
    networks = train.Networks(TwoLayers(num_classes=3, width=8), LossPredictor(hidden=16))
    state = initialized(networks, recipe)
    recipe = recipe._replace(epochs=30, milestones=(20,), learning_rate=0.01, flip=False, pad=0)
    _, first = run_epochs(state, examples, networks, recipe, devices, epochs=1)
    _, last = run_epochs(state, examples, networks, recipe, devices, epochs=30)
    assert float(last.cross_entropy) < 0.5 * float(first.cross_entropy)
    assert float(last.accuracy) > 0.8


@pytest.mark.usefixtures("two_devices")
def test_one_and_two_devices_agree_to_rounding(resnet, recipe, examples):
    """Over three steps: more would amplify the rounding of so small a network."""
    networks = resnet
    state = initialized(networks, recipe)
    recipe = recipe._replace(learning_rate=0.01)
    trained, outputs = [], []
    for count in (1, 2):
        devices = mesh.local(count, batch_size=8)
        trained.append(run_epochs(state, examples, networks, recipe, devices, num_labeled=24, epochs=1))
        placed = jax.device_put((state, examples), mesh.everywhere(devices))
        outputs.append(
            predict(
                *placed,
                np.arange(21),
                np.int32(21),
                networks=networks,
                wanted=prediction.OUTPUTS,
                chunk=8,
                sharding=mesh.spread(devices),
            )
        )
    chex.assert_trees_all_close(*jax.device_get(trained), rtol=1e-3, atol=1e-3)
    chex.assert_trees_all_close(*jax.device_get(outputs), rtol=1e-5, atol=1e-5)


class OfAUser(TwoLayers):
    """A network that does not say where its examples meet: it may be otherwise than in what it inherits."""


@pytest.mark.usefixtures("two_devices")
def test_two_devices_agree_on_a_network_that_xla_spreads(state, examples, networks, recipe):
    recipe = recipe._replace(learning_rate=0.01, label_smoothing=0.1, class_weights="balanced")
    results = [
        run_epochs(
            state,
            examples,
            networks._replace(backbone=backbone),
            recipe,
            mesh.local(2, batch_size=8),
            epochs=1,
        )
        for backbone in (networks.backbone, OfAUser(num_classes=3))
    ]
    chex.assert_trees_all_close(*jax.device_get(results), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("two_devices")
def test_two_devices_sum_all_gradients_as_one_vector(state, examples, networks, recipe):
    """Beside it each batch normalization sums once on the way forward and once on the way back."""
    devices = mesh.local(2, batch_size=8)
    arrays = (state, examples, np.arange(24, dtype=np.int32), np.int32(20), np.int32(0), np.int32(4))
    arrays = jax.device_put((*arrays, jax.random.key(2)), mesh.everywhere(devices))
    options = {"networks": networks, "recipe": recipe, "sharding": mesh.spread(devices)}
    text = train.train_epoch.lower(*arrays, **options).compile().as_text()
    summed = re.findall(r"f32\[([\d,]*)\]", " ".join(re.findall(r"= (.*) all-reduce(?:-start)?\(", text)))
    layers = len(jax.tree.leaves(state.batch_stats)) // 2
    assert len(summed) == 2 * layers + 1
    assert str(sum(leaf.size for leaf in jax.tree.leaves(state.params))) in summed
    other = options | {"networks": networks._replace(backbone=OfAUser(num_classes=3))}
    counts = [
        train.train_epoch.lower(*arrays, **own).as_text().count("all_reduce") for own in (options, other)
    ]
    assert counts == [2 * layers + 1, 0]  # XLA adds its own when it compiles


def test_images_beyond_the_labeled_do_not_matter(networks, recipe, examples, state, devices):
    images, labels = np.array(examples.images), np.array(examples.labels)
    images[20:], labels[20:] = 255, 0
    other = examples._replace(images=images, labels=labels)
    results = [
        run_epochs(state, given, networks, recipe, devices, num_labeled=20) for given in (examples, other)
    ]
    chex.assert_trees_all_equal(*jax.device_get(results))


def test_the_first_bad_step_is_named(networks, recipe, examples, state, devices):
    broken = examples._replace(mean=np.full(3, np.nan, np.float32))
    _, metrics = run_epochs(state, broken, networks, recipe, devices, epochs=1)
    assert int(metrics.bad_step) == 1
    steep = recipe._replace(learning_rate=1e30)
    fresh = initialized(networks, recipe)
    _, metrics = run_epochs(fresh, examples, networks, steep, devices, epochs=1)
    assert int(metrics.bad_step) == 2
    fresh = initialized(networks, recipe)
    boundless = recipe._replace(learning_rate=float("inf"))
    _, metrics = run_epochs(fresh, examples, networks, boundless, devices, epochs=1, num_labeled=8)
    assert int(metrics.bad_step) == 1  # the only step's loss is finite, its weights are not
