import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aljax.losses import cross_entropy
from aljax.models import LossPredictor
from aljax.models.linear import Linear, build
from aljax.runtime import mesh
from aljax.training import predict, step
from aljax.training.recipe import Recipe
from aljax.training.step import Examples, Networks

N, D, K = 64, 3, 3
DECAY = 0.02


@pytest.fixture(scope="module")
def examples():
    """Three clouds that overlap, as embeddings in half precision."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % K
    vectors = (rng.normal(size=(K, D))[labels] + rng.normal(size=(N, D))).astype(np.float16)
    return Examples(jnp.asarray(vectors), jnp.asarray(labels, jnp.int32), jnp.zeros(D), jnp.ones(D))


def test_it_is_a_dense_layer_on_the_inputs():
    inputs = jnp.arange(24.0).reshape(2, 2, 2, 3)
    network = Linear(5, "torch_default")
    (logits, stages), variables = network.init_with_output(jax.random.key(0), inputs, train=False)
    flat = inputs.reshape(2, 12)
    kernel, bias = (variables["params"]["Dense_0"][name] for name in ("kernel", "bias"))
    np.testing.assert_allclose(logits, flat @ kernel + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(stages[0], flat)
    assert float(jnp.abs(bias).max()) > 0  # as PyTorch draws it
    assert build(5, {"initialization": "torch_default"}) == network


def test_trained_to_its_end_it_is_logistic_regression(examples):
    networks = Networks(Linear(K), LossPredictor(hidden=4))
    recipe = Recipe(
        epochs=300,
        batch_size=N,
        learning_rate=0.5,
        milestones=(),
        decay=0.1,
        momentum=0.9,
        weight_decay=DECAY,
        ranking_weight=1.0,
        margin=1.0,
        detach_epoch=0.5,
        pad=4,
        flip=True,
    )
    state = step.init(jax.random.key(0), networks=networks, recipe=recipe, image_shape=(D,))
    for epoch in range(recipe.epochs):
        state, _ = step.train_epoch(
            state,
            examples,
            jnp.arange(N, dtype=jnp.int32),
            jnp.int32(N),
            jnp.int32(epoch),
            jnp.int32(recipe.epochs),
            jax.random.key(1),
            networks=networks,
            recipe=recipe,
            sharding=None,
        )
    inputs = np.pad(np.asarray(examples.images, float), ((0, 0), (0, 1)), constant_values=1)
    fitted = LogisticRegression(C=1 / (DECAY * N), fit_intercept=False, tol=1e-8, max_iter=1000).fit(
        inputs, examples.labels
    )
    layer = state.params["backbone"]["Dense_0"]
    ours = np.concatenate([layer["kernel"], layer["bias"][None]])
    theirs = fitted.coef_.T

    def objective(weights):
        loss = cross_entropy(jnp.asarray(inputs @ weights), examples.labels).mean()
        return float(loss) + DECAY / 2 * np.sum(weights**2)

    assert objective(ours) == pytest.approx(objective(theirs), abs=1e-5)
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
    alone = jax.tree.map(lambda values: values[None], state)  # an ensemble of one
    accuracy, *_ = predict.evaluate(
        alone, examples, networks=networks, chunk=N, sharding=mesh.spread(mesh.local(1, N))
    )
    assert float(accuracy) == pytest.approx(fitted.score(inputs, examples.labels), abs=1e-6)
