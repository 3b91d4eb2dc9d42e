from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aljax.models import NETWORKS
from aljax.models.airbench import Airbench, halved


def test_shapes_parameters_and_types():
    network = Airbench(7, 8, jnp.bfloat16)
    init = jax.jit(partial(network.init_with_output, train=False))
    (logits, stages), variables = init(jax.random.key(0), jnp.ones((2, 13, 9, 3)))
    assert [stage.shape for stage in stages] == [(2, 6, 4, 8), (2, 3, 2, 32), (2, 1, 1, 32)]
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)
    sizes = [
        9 * 3 * 24,
        *(9 * a * b + 2 * b for a, b in ((24, 8), (8, 8), (8, 32), (32, 32), (32, 32), (32, 32))),
    ]
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == sum(sizes) + 32 * 7 + 7
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_pooling_and_its_gradient_are_those_of_a_window():
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    weights = jax.random.normal(jax.random.key(1), (2, 2, 3, 3))

    def by(pool):
        return jax.value_and_grad(lambda x: (pool(x) * weights).sum())(x)

    for own, other in zip(by(halved), by(lambda x: nn.max_pool(x, (2, 2), (2, 2))), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5)


def test_it_is_built_from_a_config_s_table():
    config = {"name": "airbench", "width": 4, "dtype": jnp.float32, "initialization": "torch_default"}
    assert NETWORKS["airbench"](3, config) == Airbench(3, 4, jnp.float32, "torch_default")
