import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aljax.errors import InvalidInputError
from aljax.training import schedules


def factors(name, recipe, shares):
    schedule = jax.jit(lambda share: schedules.find(name)(share, recipe))
    return [float(schedule(jnp.float32(share))) for share in shares]


def test_step_drops_after_the_milestone_s_epoch(recipe):
    paper = recipe._replace(epochs=200, milestones=(160,))
    shares = [epoch / 200 for epoch in (0, 159, 159.99, 160, 199)]
    assert factors("step", paper, shares) == pytest.approx([1, 1, 1, 0.1, 0.1])
    twice = recipe._replace(epochs=5, milestones=(0.4, 3))
    assert factors("step", twice, np.arange(5) / 5) == pytest.approx([1, 1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("epochs", [40, 200, 1600, 12_345])
@pytest.mark.parametrize("milestone", [1, 3, 8, 32, 39])
def test_step_drops_with_the_first_step_behind_the_milestone_however_long(recipe, epochs, milestone):
    """Steps are counted as `train_epoch` does, in float32."""
    own = recipe._replace(epochs=40, milestones=(milestone,))
    schedule = jax.jit(jax.vmap(lambda share: schedules.step(share, own)))
    epoch, part = np.divmod(np.arange(8 * epochs), 8)
    shares = jnp.float32(epoch + jnp.float32(part) / 8) / jnp.float32(epochs)
    dropped = np.asarray(schedule(shares)) < 0.5
    np.testing.assert_array_equal(dropped, np.arange(8 * epochs) * 40 >= 8 * epochs * milestone)


def test_one_cycle_rises_and_falls_in_straight_lines(recipe):
    cycle = recipe._replace(warmup=0.2)
    shares = [0, 0.1, 0.15, 0.2, 0.6, 0.95]
    assert factors("one_cycle", cycle, shares) == pytest.approx([0, 0.5, 0.75, 1, 0.5, 0.0625], abs=1e-6)
    assert factors("one_cycle", recipe, [0, 0.5]) == pytest.approx([1, 0.5])


def test_cosine_falls_as_half_a_cosine_after_the_warm_up(recipe):
    shares = np.linspace(0, 0.99, 12)
    expected = (1 + np.cos(np.pi * shares)) / 2
    assert factors("cosine", recipe, shares) == pytest.approx(expected, abs=1e-6)
    warm = recipe._replace(warmup=0.2)
    assert factors("cosine", warm, [0, 0.1, 0.2, 0.6]) == pytest.approx([0, 0.5, 1, 0.5], abs=1e-6)


def test_a_warm_up_leaves_the_milestones_where_they_are(recipe):
    warm = recipe._replace(epochs=10, milestones=(5,), warmup=0.2)
    assert factors("step", warm, [0, 0.1, 0.3, 0.49, 0.5]) == pytest.approx([0, 0.5, 1, 1, 0.1], abs=1e-6)


def test_a_user_s_own(recipe, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def halves(share, recipe):\n    return 0.5 * recipe.decay\n")
    assert factors(f"{file}:halves", recipe, [0.3]) == pytest.approx([0.05])
    schedules.check(recipe._replace(schedule=f"{file}:halves"))
    other = tmp_path / "other.py"
    other.write_text(
        "def many(share, recipe):\n    return [share, 1]\n\n"
        "def asks(share, recipe):\n    return 1 if share < 0.5 else 0\n"
    )
    for name, complaint in (("many", r"it gives an array of shape \(2,\)"), ("asks", "it raised Tracer")):
        with pytest.raises(InvalidInputError, match=complaint):
            schedules.check(recipe._replace(schedule=f"{other}:{name}"))
    with pytest.raises(InvalidInputError, match=r"config\.train\.schedule='cosin': did you mean 'cosine'"):
        schedules.find("cosin")
