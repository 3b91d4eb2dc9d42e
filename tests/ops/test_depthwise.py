import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from aljax.ops.depthwise import depthwise, same

CASES = [  # size, window, strides, padding
    ((8, 8), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((7, 9), (3, 3), (2, 2), ((0, 1), (1, 1))),
    ((10, 7), (5, 5), (2, 2), ((1, 2), (2, 2))),
    ((6, 6), (3, 5), (3, 1), ((0, 0), (2, 1))),
    ((2, 1), (3, 3), (2, 2), ((1, 1), (1, 1))),
]


@pytest.mark.parametrize(("size", "window", "strides", "padding"), CASES)
def test_equals_the_grouped_convolution(size, window, strides, padding):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, *size, 6))
    kernel = jax.random.normal(keys[1], (*window, 6))

    def grouped(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel[:, :, None], strides, padding, dimension_numbers=layout, feature_group_count=6
        )

    def with_gradients(function):
        value, gradients = jax.vjp(function, x, kernel)
        return value, gradients(jax.random.normal(keys[2], value.shape))

    found = jax.jit(with_gradients, static_argnums=0)(
        lambda x, kernel: depthwise(x, kernel, strides, padding)
    )
    chex.assert_trees_all_close(found, jax.jit(with_gradients, static_argnums=0)(grouped), atol=1e-4)


def test_by_hand():
    """Each channel has a window of its own: the first takes the pixel to the right, the second adds two."""
    x = jnp.arange(6.0).reshape(1, 1, 3, 2)  # pixels (0, 1), (2, 3), (4, 5)
    kernel = jnp.array([[[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])
    found = depthwise(x, kernel, (1, 1), ((0, 0), (1, 1)))
    np.testing.assert_array_equal(found[0, 0], [[2, 1], [4, 4], [0, 8]])


def test_same_is_that_of_jax():
    for size in range(1, 12):
        for window in (1, 3, 5):
            for stride in (1, 2, 3):
                expected = lax.padtype_to_pads((size,), (window,), (stride,), "SAME")
                assert [same(size, window, stride)] == expected
