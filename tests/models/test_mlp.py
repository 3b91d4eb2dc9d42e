import jax
import jax.numpy as jnp
import numpy as np

from aljax.models.mlp import MLP, build

CONFIG = {"width": 4, "depth": 2, "dtype": jnp.dtype("bfloat16"), "initialization": "he_fan_out"}


def test_its_stages_are_the_hidden_layers_and_its_logits_are_linear_in_the_last():
    network = MLP(3, 4, 2, jnp.float32, "torch_default")
    inputs = jax.random.normal(jax.random.key(0), (5, 6))
    (logits, stages), variables = network.init_with_output(jax.random.key(1), inputs, train=False)
    layers = variables["params"]
    x = np.asarray(inputs)
    for number, stage in enumerate(stages):
        layer = layers[f"Dense_{number}"]
        x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
        np.testing.assert_allclose(stage, x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, x @ layers["Dense_2"]["kernel"] + layers["Dense_2"]["bias"], atol=1e-5)
    assert len(stages) == 2
    assert len(layers) == 3


def test_it_computes_in_the_config_s_type_and_gives_float32():
    network = build(3, CONFIG)
    (logits, stages), variables = network.init_with_output(jax.random.key(0), jnp.ones((2, 6)), train=True)
    assert {stage.dtype for stage in stages} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {logits.dtype} == {jnp.dtype("float32")}
