import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from aljax.errors import InvalidInputError, RunError
from aljax.training import optimizers

PARAMS = {"a": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array([[0.5]])}
GRADIENTS = jax.tree.map(lambda leaf: jnp.sin(leaf) + 0.1, PARAMS)
RATES = (0.1, 0.1, 0.01)


def trained(optimizer, recipe):
    """Takes a step at each of the rates, always with the same gradients."""
    params, state = PARAMS, optimizer(0.0, recipe).init(PARAMS)

    @jax.jit
    def step(params, state, rate):
        updates, state = optimizer(rate, recipe).update(GRADIENTS, state, params)
        return optax.apply_updates(params, updates), state

    for rate in RATES:
        params, state = step(params, state, rate)
    return params


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_by_its_equations(recipe, nesterov):
    expected, buffer = PARAMS, jax.tree.map(jnp.zeros_like, PARAMS)
    for rate in RATES:
        decayed = jax.tree.map(lambda g, p: g + 5e-4 * p, GRADIENTS, expected)
        buffer = jax.tree.map(lambda b, g: 0.9 * b + g, buffer, decayed)
        ahead = jax.tree.map(lambda b, g: 0.9 * b + g, buffer, decayed) if nesterov else buffer
        expected = jax.tree.map(lambda p, b, rate=rate: p - rate * b, expected, ahead)
    found = trained(optimizers.find("sgd"), recipe._replace(nesterov=nesterov))
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


def test_adamw_by_its_equations(recipe):
    """With equal gradients the bias corrections cancel: a step is g / (|g| + 1e-8), and the decay beside."""
    expected = PARAMS
    for rate in RATES:
        expected = jax.tree.map(
            lambda p, g, rate=rate: p - rate * (g / (jnp.abs(g) + 1e-8) + 0.3 * p), expected, GRADIENTS
        )
    found = trained(optimizers.find("adamw"), recipe._replace(weight_decay=0.3))
    chex.assert_trees_all_close(found, expected, rtol=1e-5)


def test_a_user_s_own(recipe, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import optax\n\ndef lion(rate, recipe):\n    return optax.lion(rate)\n")
    chex.assert_trees_all_equal(
        trained(optimizers.find(f"{file}:lion"), recipe), trained(lambda rate, _: optax.lion(rate), recipe)
    )
    optimizers.check(recipe._replace(optimizer=f"{file}:lion"))
    file.write_text("def none(rate, recipe):\n    return rate\n\ndef bad(rate, recipe):\n    1 / 0\n")
    for name, complaint in (("none", "it gives a float; accepted"), ("bad", "it raised ZeroDivisionError")):
        other = file.rename(tmp_path / f"{name}.py")
        with pytest.raises(InvalidInputError, match=complaint):
            optimizers.check(recipe._replace(optimizer=f"{other}:{name}"))
        file = other
    text = "import optax\n\ndef late(rate, recipe):\n    return optax.sgd(lambda count: 'x')\n"
    file.write_text(text)
    late = f"{file.rename(tmp_path / 'late.py')}:late"
    with (
        pytest.raises(RunError, match="late': it raised ValueError: could not convert"),
        optimizers.named(late),
    ):
        trained(optimizers.find(late), recipe)
    with pytest.raises(InvalidInputError, match=r"config\.train\.optimizer='adamv': did you mean 'adamw'"):
        optimizers.find("adamv")
