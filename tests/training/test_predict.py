import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.runtime import mesh
from aljax.training import predict as prediction
from aljax.training import step as train

predict = jax.jit(prediction.predict, static_argnames=("networks", "wanted", "chunk", "sharding"))


@pytest.fixture
def state(networks, recipe):
    return train.init(jax.random.key(0), networks=networks, recipe=recipe, image_shape=(8, 8, 3))


def test_prediction_does_not_depend_on_the_company(networks, recipe, examples, state, devices):
    """Evaluation mode: no batch statistics, no augmentation, no trace of padding."""
    step = jax.jit(train.train_step, static_argnums=(5, 6))
    state, _ = step(state, examples, jnp.arange(8), 0.0, jax.random.key(1), networks, recipe)
    state, examples = jax.device_put((state, examples), mesh.everywhere(devices))
    options = {
        "networks": networks,
        "wanted": prediction.OUTPUTS,
        "chunk": 8,
        "sharding": mesh.spread(devices),
    }
    together = predict(state, examples, jnp.arange(21), jnp.int32(21), **options)
    chex.assert_shape(together["log_probs"], (21, 3))
    chex.assert_shape(together["features"], (21, 4))
    backwards = predict(state, examples, jnp.arange(21)[::-1], jnp.int32(21), **options)
    chex.assert_trees_all_close(together, jax.tree.map(lambda x: x[::-1], backwards), atol=1e-5)
    few = predict(state, examples, jnp.arange(21), jnp.int32(3), **options)
    chex.assert_trees_all_close(*[jax.tree.map(lambda x: x[:3], out) for out in (together, few)], atol=1e-5)
    chex.assert_trees_all_close(jnp.exp(together["log_probs"]).sum(-1), jnp.ones(21), rtol=1e-5)


def test_evaluation_against_its_definition(networks, examples, state, devices):
    state, examples = jax.device_put((state, examples), mesh.everywhere(devices))
    options = {"networks": networks, "chunk": 16, "sharding": mesh.spread(devices)}
    alone = jax.tree.map(lambda values: np.asarray(values)[None], state)  # an ensemble of one
    accuracy, loss, of_all = prediction.evaluate(alone, examples, **options)
    outputs = predict(state, examples, jnp.arange(48), jnp.int32(48), wanted=("log_probs",), **options)
    assert set(outputs) == {"log_probs"}
    chex.assert_trees_all_close(of_all, outputs["log_probs"], atol=1e-5)
    log_probs, labels = np.asarray(outputs["log_probs"]), np.asarray(examples.labels)
    assert float(accuracy) == pytest.approx(np.mean(log_probs.argmax(1) == labels))
    assert float(loss) == pytest.approx(-np.mean(log_probs[np.arange(48), labels]), rel=1e-5)
