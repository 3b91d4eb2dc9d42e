import itertools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.runtime import mesh
from aljax.training import ensemble
from aljax.training import predict as prediction
from aljax.training import step as train

KEYS = jax.random.split(jax.random.key(0), 3)


def fresh(networks, recipe, size):
    return ensemble.fresh(KEYS[:size], networks=networks, recipe=recipe, image_shape=(8, 8, 3))


def trained(networks, recipe, examples, devices, size, batch_keys=KEYS):
    place = mesh.everywhere(devices)
    state, examples = jax.device_put((fresh(networks, recipe, size), examples), place)
    return ensemble.epochs(
        state,
        examples,
        jnp.arange(24, dtype=jnp.int32),
        jnp.int32(8),
        jnp.int32(0),
        jnp.int32(1),
        jnp.int32(4),
        batch_keys[:size],
        networks=networks,
        recipe=recipe,
        sharding=mesh.spread(devices),
    )


def member(state, index):
    return jax.tree.map(lambda values: values[index], jax.device_get(state))


@pytest.mark.parametrize("size", [1, 2, 3], ids=["one", "dealt out", "all on every device"])
def test_each_member_trains_as_it_would_alone(networks, recipe, examples, devices, size):
    state, metrics = trained(networks, recipe, examples, devices, size)
    for index in range(size):
        alone, metrics_alone = train.train_epoch(
            train.init(KEYS[index], networks=networks, recipe=recipe, image_shape=(8, 8, 3)),
            examples,
            jnp.arange(24, dtype=jnp.int32),
            jnp.int32(8),
            jnp.int32(0),
            jnp.int32(4),
            KEYS[index],
            networks=networks,
            recipe=recipe,
            sharding=None,
        )
        chex.assert_trees_all_close(member(state, index), alone, atol=1e-4, rtol=1e-4)
        if index == 0:
            first = jax.tree.map(lambda values: values[0], metrics)
            chex.assert_trees_all_close(first, metrics_alone, atol=1e-4, rtol=1e-4)


def test_equal_keys_give_equal_batches_and_the_members_differ_by_their_weights(
    networks, recipe, examples, devices
):
    same = jnp.broadcast_to(KEYS[:1], (2,))
    shared, _ = trained(networks, recipe, examples, devices, 2, same)
    own, _ = trained(networks, recipe, examples, devices, 2)
    chex.assert_trees_all_close(member(shared, 0), member(own, 0), atol=1e-5)
    kernels = [np.asarray(state.params["backbone"]["Dense_0"]["kernel"]) for state in (shared, own)]
    assert not np.allclose(kernels[0][1], kernels[1][1], atol=1e-5)
    assert not np.allclose(kernels[0][0], kernels[0][1], atol=1e-5)


def test_a_bad_step_of_any_member_is_told(networks, recipe, examples, devices):
    state = fresh(networks, recipe, 3)
    backbone = state.params["backbone"]
    spoiled = backbone["Dense_0"]["bias"].at[1].set(jnp.nan)
    backbone = {**backbone, "Dense_0": {**backbone["Dense_0"], "bias": spoiled}}
    state = state._replace(params={**state.params, "backbone": backbone})
    _, metrics = ensemble.epochs(
        *jax.device_put((state, examples), mesh.everywhere(devices)),
        jnp.arange(24, dtype=jnp.int32),
        jnp.int32(8),
        jnp.int32(0),
        jnp.int32(1),
        jnp.int32(4),
        KEYS,
        networks=networks,
        recipe=recipe,
        sharding=mesh.spread(devices),
    )
    assert int(metrics.bad_step[0]) == 1
    assert jnp.isfinite(metrics.cross_entropy[0])


def test_a_training_is_the_same_however_it_is_cut_into_calls(networks, recipe, examples, devices):
    """To the byte: small heads take many epochs in a call, and what goes on begins anywhere."""
    place = mesh.everywhere(devices)
    examples = jax.device_put(examples, place)
    found = []
    for cuts in ([0, 4], [0, 1, 3, 4]):
        state, losses = jax.device_put(fresh(networks, recipe, 1), place), []
        for begin, end in itertools.pairwise(cuts):
            state, metrics = ensemble.epochs(
                state,
                examples,
                jnp.arange(24, dtype=jnp.int32),
                jnp.int32(20),
                jnp.int32(begin),
                jnp.int32(end - begin),
                jnp.int32(4),
                KEYS[:1],
                networks=networks,
                recipe=recipe,
                sharding=mesh.spread(devices),
            )
            losses.append(metrics.cross_entropy[: end - begin])
        found.append(jax.device_get((state, np.concatenate(losses))))
    chex.assert_trees_all_equal(*found)
    assert found[0][1].shape == (4,)
    assert (found[0][1] > 0).all()


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_members_convolutions_are_not_grouped(networks, recipe, examples, devices, platform):
    """As `jax.vmap` would have them, and as no platform has a fast form for."""
    traced = ensemble.epochs.trace(
        fresh(networks, recipe, 3),
        examples,
        jnp.arange(24, dtype=jnp.int32),
        jnp.int32(8),
        jnp.int32(0),
        jnp.int32(1),
        jnp.int32(4),
        KEYS,
        networks=networks,
        recipe=recipe,
        sharding=mesh.spread(devices),
    )
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    groups = re.findall(r"(?:feature|batch)_group_count = (\d+)", text)
    assert groups
    assert set(groups) == {"1"}


def test_only_what_is_wanted_is_computed_and_it_is_what_each_member_says(networks, recipe, examples, devices):
    state, examples = jax.device_put((fresh(networks, recipe, 2), examples), mesh.everywhere(devices))
    subset, labeled = jnp.array([40, 3, 17, 8]), jnp.array([5, 1, 0, 0])
    options = {"networks": networks, "chunk": 4, "sharding": mesh.spread(devices)}

    def outputs_of(*wanted):
        return prediction.outputs_of(state, examples, subset, labeled, 2, wanted=frozenset(wanted), **options)

    predict = jax.jit(prediction.predict, static_argnames=("networks", "wanted", "chunk", "sharding"))
    expected = [
        predict(member(state, index), examples, subset, 4, wanted=prediction.OUTPUTS, **options)
        for index in (0, 1)
    ]
    of_labeled = predict(member(state, 0), examples, labeled, 2, wanted=("features",), **options)
    assert outputs_of() == {}
    one = outputs_of("log_probs", "predicted_loss")
    chex.assert_trees_all_close(one, {name: expected[0][name] for name in one}, atol=1e-5)
    found = outputs_of("features", "labeled_features", "member_log_probs")
    assert set(found) == {"features", "labeled_features", "member_log_probs"}
    chex.assert_trees_all_close(found["features"], expected[0]["features"], atol=1e-5)
    chex.assert_trees_all_close(found["labeled_features"][:2], of_labeled["features"][:2], atol=1e-5)
    for index in (0, 1):
        chex.assert_trees_all_close(found["member_log_probs"][index], expected[index]["log_probs"], atol=1e-5)
