from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax import models


def shapes_of(module, *args, **kwargs):
    return jax.eval_shape(lambda key: module.init(key, *args, **kwargs), jax.random.key(0))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameter_counts_at_width_64():
    images = jnp.zeros((1, 32, 32, 3))
    backbone = models.ResNet18(num_classes=10)
    assert count(shapes_of(backbone, images, train=False)["params"]) == 11_173_962
    stages = [jnp.zeros((1, 32 // 2**i, 32 // 2**i, 64 * 2**i)) for i in range(4)]
    assert count(shapes_of(models.LossPredictor(), stages)["params"]) == 123_905


@pytest.mark.parametrize("train", [True, False])
def test_stage_shapes(train):
    backbone = models.ResNet18(num_classes=10, width=64)
    variables = shapes_of(backbone, jnp.zeros((1, 32, 32, 3)), train=False)

    def call(variables, images):
        outputs, _ = backbone.apply(variables, images, train=train, mutable=["batch_stats"])
        return outputs

    logits, stages = jax.eval_shape(call, variables, jnp.zeros((6, 32, 32, 3)))
    assert logits.shape == (6, 10)
    assert [stage.shape for stage in stages] == [
        (6, 32, 32, 64),
        (6, 16, 16, 128),
        (6, 8, 8, 256),
        (6, 4, 4, 512),
    ]
    predictor = models.LossPredictor()
    predicted = jax.eval_shape(
        predictor.apply, shapes_of(predictor, stages_like(stages)), stages_like(stages)
    )
    assert predicted.shape == (6,)


def stages_like(stages):
    return [jnp.zeros(stage.shape, stage.dtype) for stage in stages]


def test_bfloat16_computes_low_and_keeps_parameters_high():
    backbone = models.ResNet18(num_classes=3, width=2, dtype=jnp.bfloat16)
    images = np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype(np.float32)
    variables = jax.jit(partial(backbone.init, train=False))(jax.random.key(0), images)
    chex.assert_tree_all_finite(variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits, stages = jax.jit(partial(backbone.apply, train=False))(variables, images)
    assert logits.dtype == jnp.float32
    assert {stage.dtype for stage in stages} == {jnp.dtype("bfloat16")}
    plain = models.ResNet18(num_classes=3, width=2)
    exact, _ = jax.jit(partial(plain.apply, train=False))(variables, images)
    chex.assert_trees_all_close(logits, exact, atol=0.05, rtol=0.05)


def test_the_predictor_reads_every_stage():
    stages = [jax.random.normal(jax.random.key(i), (2, 4, 4, 3)) for i in range(4)]
    predictor = models.LossPredictor(hidden=8)
    params = predictor.init(jax.random.key(9), stages)
    gradients = jax.grad(lambda stages: predictor.apply(params, stages).sum())(stages)
    assert all(float(jnp.abs(gradient).sum()) > 0 for gradient in gradients)
