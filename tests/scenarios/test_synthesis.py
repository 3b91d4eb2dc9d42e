import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aljax.scenarios import synthesis
from aljax.scenarios.synthesis import Limits, Recipe

LIMITS = Limits(degrees=20.0, shift=2.0, zoom=1.5, mix=0.4, flip=True)
STILL = Recipe(0, 0, mix=0.0, flip=False, degrees=0.0, right=0.0, down=0.0, zoom=1.0)


transform = jax.jit(synthesis.transform)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def made(image, other=None, **changes):
    other = image if other is None else other
    return np.asarray(transform(image, other, STILL._replace(**changes)))


def proposals(seed=0, count=500, limits=LIMITS, classes=3, num_rows=40):
    labels = jnp.asarray(np.random.default_rng(seed).integers(0, classes, 60), jnp.int32)
    rows = jnp.asarray(np.random.default_rng(seed).permutation(60)[:50], jnp.int32)
    recipes = synthesis.propose(jax.random.key(seed), labels, rows, jnp.int32(num_rows), limits, count=count)
    return recipes, np.asarray(labels), np.asarray(rows[:num_rows])


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 7, 3), (6, 9, 3), (32, 32, 3)])
def test_nothing_is_changed_by_zeros(shape):
    image, other = noise(*shape), noise(*shape, seed=1)
    chex.assert_trees_all_equal(made(image, other), image)
    recipes = jax.tree.map(lambda field: jnp.full(3, field), STILL)._replace(source=jnp.array([1, 0, 1]))
    both = jnp.stack([image, other])
    chex.assert_trees_all_equal(np.asarray(synthesis.render(both, recipes)), np.stack([other, image, other]))


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_turns_by_quarters_are_those_of_numpy(size, quarters):
    image = noise(size, size, 3)
    chex.assert_trees_all_equal(made(image, degrees=90.0 * quarters), np.rot90(image, quarters))


def test_shifts_by_hand():
    image = np.arange(1, 10, dtype=np.uint8).reshape(3, 3, 1)
    assert made(image, right=1.0)[..., 0].tolist() == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]
    assert made(image, down=-1.0)[..., 0].tolist() == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert made(10 * image, right=0.5)[..., 0].tolist() == [[5, 15, 25], [20, 45, 55], [35, 75, 85]]


def test_zoom_by_hand():
    """The middle stays, and what was one pixel from it is two pixels away."""
    image = np.zeros((5, 5, 1), np.uint8)
    image[2, 2], image[2, 3], image[1, 2] = 100, 60, 40
    shown = made(image, zoom=2.0)[..., 0]
    assert shown[2].tolist() == [0, 50, 100, 80, 60]
    assert shown[:, 2].tolist() == [40, 70, 100, 50, 0]
    assert made(image, zoom=2.0, right=-2.0)[2, :, 0].tolist() == [100, 80, 60, 30, 0]


def test_mixes_and_mirror_images_by_hand():
    a, b = np.array([[[10], [200]]], np.uint8), np.array([[[30], [100]]], np.uint8)
    assert made(a, b, mix=0.25)[..., 0].tolist() == [[15, 175]]
    assert made(a, b, mix=0.25, flip=True)[..., 0].tolist() == [[175, 15]]


def test_recipes_keep_to_their_limits_and_fill_them():
    recipes, labels, rows = proposals()
    assert set(np.asarray(recipes.source)) == set(rows)  # 500 draws of 40
    assert set(np.asarray(recipes.other)) <= set(rows)
    chex.assert_trees_all_equal(labels[recipes.source], labels[recipes.other])
    assert np.mean(np.asarray(recipes.source != recipes.other)) > 0.8
    for field, low, high in [
        (recipes.mix, 0.0, 0.4),
        (recipes.degrees, -20.0, 20.0),
        (recipes.right, -2.0, 2.0),
        (recipes.down, -2.0, 2.0),
        (recipes.zoom, 1.0, 1.5),
    ]:
        span = high - low
        assert low <= field.min() < low + span / 20
        assert high - span / 20 < field.max() <= high
    assert 0.4 < recipes.flip.mean() < 0.6
    independent = np.corrcoef([recipes.mix, recipes.degrees, recipes.right, recipes.down, recipes.zoom])
    assert np.abs(independent - np.eye(5)).max() < 0.2


def test_the_other_of_a_lonely_source_is_itself():
    recipes = synthesis.propose(
        jax.random.key(0), jnp.array([4, 1, 2]), jnp.array([2, 0, 1, 1]), jnp.int32(3), LIMITS, count=50
    )
    chex.assert_trees_all_equal(recipes.source, recipes.other)


def test_without_limits_the_sources_come_back():
    recipes, _, _ = proposals(limits=Limits())
    images = noise(60, 8, 8, 3)
    chex.assert_trees_all_equal(
        np.asarray(synthesis.render(jnp.asarray(images), recipes)), images[recipes.source]
    )


def test_it_is_reproducible_and_depends_on_the_key():
    once, again, other = proposals(1)[0], proposals(1)[0], proposals(2)[0]
    chex.assert_trees_all_equal(once, again)
    assert not np.array_equal(once.degrees, other.degrees)
    images = jnp.asarray(noise(60, 8, 8, 3))
    chex.assert_trees_all_equal(synthesis.render(images, once), synthesis.render(images, again))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pixels_stay_between_those_of_the_sources_and_black(seed):
    images = jnp.asarray(noise(60, 8, 8, 1, seed=seed))
    recipes, _, _ = proposals(seed)
    shown = synthesis.render(images, recipes)
    assert shown.dtype == jnp.uint8
    brightest = jnp.maximum(images[recipes.source].max((1, 2, 3)), images[recipes.other].max((1, 2, 3)))
    assert bool((shown.max((1, 2, 3)) <= brightest).all())
    white = synthesis.render(jnp.full((60, 8, 8, 1), 255, jnp.uint8), recipes)
    assert bool((white[:, 3:5, 3:5] == 255).all())  # the middle is never black


def test_one_image_is_rendered_as_among_many():
    images = jnp.asarray(noise(60, 8, 8, 1))
    recipes, _, _ = proposals()
    some = jax.tree.map(lambda field: field[7:300:11], recipes)
    chex.assert_trees_all_equal(synthesis.render(images, some), synthesis.render(images, recipes)[7:300:11])
