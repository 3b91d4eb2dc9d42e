import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from aljax.ops import batch_norm
from aljax.ops.conv import conv, for_flax
from aljax.runtime import mesh

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


def with_gradients(function):
    """Compiles a function of two arrays; it returns its value and, for a cotangent of that, its gradients."""

    def both(cotangent, x, kernel):
        value, gradients = jax.vjp(function, x, kernel)
        return value, *gradients(cotangent)

    return jax.jit(both)


MANY = [  # channels in and out, with 3x3 windows: those of winograd.py
    ((4, 6), (64, 65)),
    ((14, 10), (65, 64)),
    ((16, 16), (64, 64)),
]
CHANNELS = [(*case, (5, 6)) for case in CASES] + [(size, (3, 3), 1, 1, many) for size, many in MANY]


@pytest.mark.parametrize(("size", "window", "stride", "pad", "channels"), CHANNELS)
def test_equals_the_plain_convolution(size, window, stride, pad, channels):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, *size, channels[0])).astype(np.float32)
    kernel = (rng.normal(size=(*window, *channels)) / channels[0] ** 0.5).astype(np.float32)
    strides, padding = (stride, stride), ((pad, pad), (pad, pad))

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    shape = jax.eval_shape(plain, x, kernel).shape
    cotangent = (rng.normal(size=shape) / size[0]).astype(np.float32)
    value, *gradients = with_gradients(lambda x, k: conv(x, k, strides, padding))(cotangent, x, kernel)
    expected, *expected_gradients = with_gradients(plain)(cotangent, x, kernel)
    chex.assert_trees_all_close(value, expected, atol=1e-4)
    chex.assert_trees_all_close(gradients, expected_gradients, atol=2e-5)


@pytest.mark.parametrize(
    ("size", "window", "stride", "channels"),
    [
        *((8, 3, 2, (5, 6)), (5, 3, 2, (5, 6)), (8, 1, 2, (5, 6)), (2, 3, 1, (5, 6))),
        *((8, 3, 1, (3, 6)), (8, 3, 1, (64, 64)), (8, 3, 1, (128, 129))),
    ],
)
def test_bfloat16_is_rounded_once_and_summed_in_float32(size, window, stride, channels):
    """Beside the convolution of the same numbers in float32: relative root mean square errors."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, size, size, channels[0])).astype(jnp.bfloat16)
    kernel = rng.normal(size=(window, window, *channels)).astype(jnp.bfloat16)
    strides, padding = (stride, stride), ((window // 2, window // 2),) * 2

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    cotangent = rng.normal(size=jax.eval_shape(plain, x, kernel).shape).astype(jnp.bfloat16)
    found = with_gradients(lambda x, k: conv(x, k, strides, padding))(cotangent, x, kernel)
    exact = with_gradients(plain)(*(array.astype(np.float32) for array in (cotangent, x, kernel)))
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == jnp.bfloat16
        error = np.linalg.norm(np.asarray(ours, np.float32) - theirs) / np.linalg.norm(theirs)
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
        arrays = with_gradients(function)(*(array.astype(dtype) for array in (cotangent, x, kernel)))
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


@pytest.mark.parametrize("axis", [batch_norm.PARTS, mesh.AXIS], ids=["a batch", "an ensemble"])
@pytest.mark.usefixtures("on_cpu", "two_devices")
def test_what_a_device_has_is_not_cut_again(axis):
    """In two parts the gradient of a kernel is summed twice, as large as the whole, and rounds otherwise.

    Then two processes of a device each, where there is one part, do not have the bytes of one process of two.
    """

    devices = jax.local_device_count()

    def gradient(x, kernel):
        return jax.grad(lambda k: conv(x, k, (1, 1), ((1, 1), (1, 1))).sum())(kernel)

    def parts(function):
        x, kernel = jnp.zeros((2 * devices, 8, 8, 64)), jnp.zeros((3, 3, 64, 65))
        return set(re.findall(r"tensor<(\d+)x64x65xf32>", jax.jit(function).lower(x, kernel).as_text()))

    specs = PartitionSpec(axis), PartitionSpec()
    two = Mesh(jax.local_devices(backend="cpu")[:2], axis)
    of_parts = jax.shard_map(gradient, mesh=two, in_specs=specs, out_specs=specs[1], check_vma=False)
    assert parts(gradient) == {str(devices)}
    assert parts(of_parts) == {"1"}


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
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, *size, 5) if batched[0] == 0 else (4, *size, 5)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 5, 6) if batched[1] == 0 else (3, 3, 5, 6)).astype(np.float32)

    @jax.jit
    def value_and_gradients(x, kernel):
        value, gradients = jax.vjp(lambda x, kernel: conv(x, kernel, (2, 2), ((1, 1), (1, 1))), x, kernel)
        return value, gradients(jnp.sin(value))

    together = jax.jit(jax.vmap(value_and_gradients, batched))(x, kernel)
    members = [
        value_and_gradients(x if batched[0] is None else x[i], kernel if batched[1] is None else kernel[i])
        for i in range(3)
    ]
    alone = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
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
    x = np.random.default_rng(0).normal(size=(4, *size, 4)).astype(np.float32)
    theirs = nn.Conv(8, (3, 3), **options)
    ours = nn.Conv(8, (3, 3), conv_general_dilated=for_flax, **options)
    variables = jax.jit(theirs.init)(jax.random.key(1), x)

    def of(layer):
        def summed(variables, x):
            value = layer.apply(variables, x)
            return jnp.sin(value).sum(), value

        gradients, value = jax.jit(jax.grad(summed, (0, 1), has_aux=True))(variables, x)
        return value, gradients

    (value, gradients), (expected, expected_gradients) = of(ours), of(theirs)
    chex.assert_trees_all_close(value, expected, atol=1e-5)
    chex.assert_trees_all_close(gradients, expected_gradients, atol=1e-4)


@pytest.mark.parametrize("size", [(9,), (5, 5, 5)], ids=["1-D", "3-D"])
def test_flax_s_convolution_of_other_dimensions(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    theirs = nn.Conv(4, (3,) * len(size))
    variables = theirs.init(jax.random.key(1), x)
    found = theirs.clone(conv_general_dilated=for_flax).apply(variables, x)
    chex.assert_trees_all_close(found, theirs.apply(variables, x), atol=1e-6)
