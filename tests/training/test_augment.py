from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from aljax.training.augment import augment, standardize


def test_without_padding_and_flip_the_image_stays():
    image = jax.random.randint(jax.random.key(0), (5, 5, 3), 0, 255).astype(jnp.uint8)
    chex.assert_trees_all_equal(augment(jax.random.key(1), image, pad=0, flip=False), image)


def test_every_crop_and_mirror_image_occurs_and_no_other():
    image = jnp.arange(1, 13, dtype=jnp.uint8).reshape(3, 4, 1)
    padded = np.pad(np.asarray(image), ((1, 1), (1, 1), (0, 0)))
    crops = [padded[i : i + 3, j : j + 4] for i in range(3) for j in range(3)]
    possible = {crop.tobytes() for crop in crops} | {crop[:, ::-1].tobytes() for crop in crops}
    keys = jax.random.split(jax.random.key(0), 500)
    results = jax.vmap(partial(augment, pad=1, flip=True), (0, None))(keys, image)
    assert {np.asarray(result).tobytes() for result in results} == possible
    assert len(possible) == 18


def test_an_embedding_stays_as_it_is():
    vector = jnp.arange(5.0)
    np.testing.assert_array_equal(augment(jax.random.key(0), vector, 4, True), vector)


def test_standardize():
    images = jnp.array([[[[0, 255]]]], jnp.uint8)
    result = standardize(images, jnp.array([100.0, 55.0]), jnp.array([50.0, 100.0]))
    chex.assert_trees_all_close(result, jnp.array([[[[-2.0, 2.0]]]]))
