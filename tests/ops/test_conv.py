import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from aljax.ops.conv import conv, for_flax

CASES = [  # size, window, stride, padding
    ((8, 8), (3, 3), 1, 1),
    ((8, 8), (3, 3), 2, 1),
    ((7, 9), (3, 3), 2, 1),
    ((8, 8), (1, 1), 2, 0),
    ((8, 8), (1, 1), 1, 0),
    ((5, 6), (3, 2), 1, 0),
    ((2, 2), (3, 3), 1, 1),
    ((2, 2), (3, 3), 2, 1),
    ((1, 1), (3, 3), 1, 1),
    ((2, 9), (3, 3), 2, 1),
    ((3, 3), (3, 3), 2, 1),
    ((7, 10), (3, 2), 3, 1),
    ((9, 8), (2, 1), 3, 0),
    ((8, 9), (3, 3), 4, 2),
]


@pytest.fixture
def on_cpu():
    """Has the way of a CPU tested also where there is a GPU, which has a way of its own."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        yield


MANY = [  # channels in and out, with 3x3 windows: those of winograd.py
    ((4, 6), (64, 65)),
    ((14, 10), (65, 64)),
    ((16, 16), (64, 64)),
]
CHANNELS = [(*case, (5, 6)) for case in CASES] + [(size, (3, 3), 1, 1, many) for size, many in MANY]


@pytest.mark.parametrize(("size", "window", "stride", "pad", "channels"), CHANNELS)
def test_equals_the_plain_convolution(size, window, stride, pad, channels):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (8, *size, channels[0]))
    kernel = jax.random.normal(keys[1], (*window, *channels)) / channels[0] ** 0.5
    strides, padding = (stride, stride), ((pad, pad), (pad, pad))

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    value, gradients = jax.vjp(lambda x, kernel: conv(x, kernel, strides, padding), x, kernel)
    expected, expected_gradients = jax.vjp(plain, x, kernel)
    chex.assert_trees_all_close(value, expected, atol=1e-4)
    cotangent = jax.random.normal(keys[2], expected.shape) / size[0]
    chex.assert_trees_all_close(gradients(cotangent), expected_gradients(cotangent), atol=2e-5)


@pytest.mark.parametrize(
    ("size", "window", "stride", "channels"),
    [(8, 3, 2, (5, 6)), (8, 1, 2, (5, 6)), (8, 3, 1, (3, 6)), (8, 3, 1, (64, 64)), (8, 3, 1, (128, 129))],
)
def test_bfloat16_is_rounded_once_and_summed_in_float32(size, window, stride, channels):
    """Beside the convolution of the same numbers in float32: relative root mean square errors."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (4, size, size, channels[0]), jnp.bfloat16)
    kernel = jax.random.normal(keys[1], (window, window, *channels), jnp.bfloat16)
    strides, padding = (stride, stride), ((window // 2, window // 2),) * 2

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    value, gradients = jax.vjp(lambda x, kernel: conv(x, kernel, strides, padding), x, kernel)
    expected, expected_gradients = jax.vjp(plain, x.astype(jnp.float32), kernel.astype(jnp.float32))
    cotangent = jax.random.normal(keys[2], expected.shape, jnp.bfloat16)
    found = value, *gradients(cotangent)
    exact = expected, *expected_gradients(cotangent.astype(jnp.float32))
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == jnp.bfloat16
        error = jnp.linalg.norm(ours.astype(jnp.float32) - theirs) / jnp.linalg.norm(theirs)
        assert error < 2.0**-7  # half a unit of its 8 bits is 2^-9


@pytest.mark.parametrize("size", [32, 16, 8, 4])
@pytest.mark.usefixtures("on_cpu")
def test_rounding_of_many_channels(size):
    """Beside the convolution in float64: relative root mean square errors, as winograd.py claims them."""
    rng = np.random.default_rng(0)
    channels = 2048 // size
    x = np.maximum(rng.normal(size=(4, size, size, channels)), 0)
    kernel = rng.normal(size=(3, 3, channels, channels)) / channels**0.5 / 3
    cotangent = rng.normal(size=x.shape)

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def results(function, dtype):
        value, gradients = jax.vjp(function, jnp.asarray(x, dtype), jnp.asarray(kernel, dtype))
        arrays = value, *gradients(jnp.asarray(cotangent, dtype))
        return [np.asarray(array, np.float64) for array in arrays]

    def errors(function):
        found = results(function, jnp.float32)
        return [np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2)) for a, b in zip(found, exact, strict=True)]

    with jax.enable_x64(True):
        exact = results(plain, jnp.float64)
    value, x_gradient, kernel_gradient = errors(lambda x, k: conv(x, k, (1, 1), ((1, 1), (1, 1))))
    assert max(value, x_gradient) < 1e-6
    assert kernel_gradient < 2e-6


@pytest.mark.usefixtures("on_cpu")
def test_no_gradient_in_a_loop_is_left_to_the_slow_path():
    """In a loop, XLA's CPU backend is slow for every layout but this one."""

    def loop(x, kernel):
        def body(_, kernel):
            return kernel - jax.grad(lambda k: conv(x, k, (1, 1), ((1, 1), (1, 1))).sum())(kernel)

        return lax.fori_loop(0, 3, body, kernel)

    lowered = jax.jit(loop).lower(jnp.zeros((4, 8, 8, 5)), jnp.zeros((3, 3, 5, 6)))
    lines = [line for line in lowered.compile().as_text().splitlines() if " convolution(" in line]
    assert lines
    assert all("dim_labels=b01f_01io->b01f" in line for line in lines)


@pytest.mark.usefixtures("on_cpu")
def test_gradients_of_strided_convolutions_are_products():
    """Small convolutions in their place gave other numbers from call to call inside the whole network."""

    def gradients(x, kernel):
        return jax.grad(lambda x, k: (conv(x, k, (2, 2), ((1, 1), (1, 1))) ** 2).sum(), (0, 1))(x, kernel)

    def count(function, *arrays):
        return jax.jit(function).lower(*arrays).as_text().count("stablehlo.convolution")

    x, kernel = jnp.zeros((4, 8, 8, 5)), jnp.zeros((3, 3, 5, 6))
    alone = count(lambda x, k: conv(x, k, (2, 2), ((1, 1), (1, 1))), x, kernel)
    assert alone > 0
    # Lowered for a CPU, the other platforms' branch is gone: what is left is the value's.
    assert count(gradients, x, kernel) == alone


@pytest.mark.parametrize("size", [(8, 8), (2, 2)], ids=["usual", "tiny"])
@pytest.mark.parametrize("batched", [(0, 0), (None, 0), (0, None)], ids=["both", "kernel", "images"])
def test_vmap_equals_a_loop(size, batched):
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (3, 4, *size, 5) if batched[0] == 0 else (4, *size, 5))
    kernel = jax.random.normal(keys[1], (3, 3, 3, 5, 6) if batched[1] == 0 else (3, 3, 5, 6))

    def value_and_gradients(x, kernel):
        value, gradients = jax.vjp(lambda x, kernel: conv(x, kernel, (2, 2), ((1, 1), (1, 1))), x, kernel)
        return value, gradients(jnp.sin(value))

    together = jax.jit(jax.vmap(value_and_gradients, batched))(x, kernel)
    members = [
        value_and_gradients(x if batched[0] is None else x[i], kernel if batched[1] is None else kernel[i])
        for i in range(3)
    ]
    alone = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    chex.assert_trees_all_close(together, alone, atol=1e-4)


OPTIONS = [  # of flax.linen.Conv
    {"padding": 1},
    {"padding": "SAME"},
    {"padding": "VALID"},
    {"padding": "SAME", "strides": 2},
    {"padding": "VALID", "strides": (2, 1)},
    {"padding": "CIRCULAR"},
    {"padding": "REFLECT"},
    {"padding": ((0, 2), (1, 0))},
    {"kernel_dilation": 2},
    {"kernel_dilation": (1, 3), "padding": 1, "strides": 2},
    {"input_dilation": 2, "padding": 1},
    {"feature_group_count": 2},
    {"feature_group_count": 4, "strides": 2, "kernel_dilation": 2},
    {"precision": "highest"},
    {"use_bias": False, "padding": "SAME"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", [(7, 8), (2, 2)], ids=["usual", "tiny"])
def test_flax_s_convolution_with_every_option(options, size):
    if size == (2, 2) and options.get("padding") in ("VALID", "REFLECT"):
        pytest.skip("there is nothing left of so small an image, or too little to reflect")
    x = jax.random.normal(jax.random.key(0), (4, *size, 4))
    theirs = nn.Conv(8, (3, 3), **options)
    ours = nn.Conv(8, (3, 3), conv_general_dilated=for_flax, **options)
    variables = theirs.init(jax.random.key(1), x)

    def gradients(layer):
        return jax.grad(lambda v, x: jnp.sin(layer.apply(v, x)).sum(), (0, 1))(variables, x)

    chex.assert_trees_all_close(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-5)
    chex.assert_trees_all_close(gradients(ours), gradients(theirs), atol=1e-4)


@pytest.mark.parametrize("size", [(9,), (5, 5, 5)], ids=["1-D", "3-D"])
def test_flax_s_convolution_of_other_dimensions(size):
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))
    theirs = nn.Conv(4, (3,) * len(size))
    variables = theirs.init(jax.random.key(1), x)
    found = theirs.clone(conv_general_dilated=for_flax).apply(variables, x)
    chex.assert_trees_all_close(found, theirs.apply(variables, x), atol=1e-6)
