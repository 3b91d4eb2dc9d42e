"""The convolution of the networks, written so that XLA runs it fast on a CPU too.

Inside a loop (and an epoch is one) XLA's CPU backend has its fast convolution only for the
layout [B, H, W, C] * [h, w, C, D] -> [B, I, J, D] and for images no smaller than the window;
it brings other cases into that form in the outermost computation alone. The automatic
gradients are other cases, and run up to 60 times slower. So on a CPU the gradients are
written in that layout here, tiny images and the gradients of strided convolutions are
multiplied as patches, and 3x3 windows over many channels go the way of winograd.py. GPU and
TPU keep XLA's own.

Shapes: B examples, H x W pixels in, I x J pixels out, h x w window, C channels in, D out.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from aljax.ops import bits, winograd

LAYOUT = ("NHWC", "HWIO", "NHWC")
Pair = tuple[int, int]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel: jax.Array, strides: Pair, padding: tuple[Pair, Pair]) -> jax.Array:
    """Returns the two-dimensional convolution of deep learning (a cross-correlation).

    Args:
      x: images, [B, H, W, C].
      kernel: [h, w, C, D].
      strides: down and across, in pixels.
      padding: zeros above and below, left and right, in pixels.

    Returns:
      [B, I, J, D]. Value and gradients are those of `jax.lax.conv_general_dilated`, to rounding.
    """
    options = {"strides": strides, "padding": padding}
    return lax.platform_dependent(
        x, kernel, cpu=partial(_cpu_value, **options), default=partial(_value, **options)
    )


def _save(x, kernel, strides, padding):
    return conv(x, kernel, strides, padding), (x, kernel)


def _gradients(strides, padding, saved, gradient):
    options = {"strides": strides, "padding": padding}
    return lax.platform_dependent(
        *saved,
        gradient,
        cpu=partial(_cpu_gradients, **options),
        default=partial(_automatic_gradients, partial(_value, **options)),
    )


conv.defvjp(_save, _gradients)


def _value(x, kernel, *, strides, padding):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


def _automatic_gradients(function, x, kernel, gradient):
    return jax.vjp(function, x, kernel)[1](gradient)


def _is_tiny(x, kernel):
    return x.shape[1] < kernel.shape[0] or x.shape[2] < kernel.shape[1]


def _is_slow(x, kernel):
    """Tells whether XLA's convolution has no fast form for the type, on a CPU."""
    return x.dtype == kernel.dtype == jnp.bfloat16


def _cpu_value(x, kernel, *, strides, padding):
    if not _is_tiny(x, kernel) and winograd.suits(x, kernel, strides, padding):
        return winograd.value(x, kernel)
    if _is_tiny(x, kernel) or (_is_slow(x, kernel) and strides != (1, 1)):
        return _patches_value(x, kernel, strides=strides, padding=padding)
    if _is_slow(x, kernel):
        x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
        return _value(x, kernel, strides=strides, padding=padding).astype(jnp.bfloat16)
    return _value(x, kernel, strides=strides, padding=padding)


def _cpu_gradients(x, kernel, gradient, *, strides, padding):
    if _is_tiny(x, kernel) or strides != (1, 1):
        return _patches_gradients(x, kernel, gradient, strides=strides, padding=padding)
    if winograd.suits(x, kernel, strides, padding):
        return winograd.x_gradient(kernel, gradient), winograd.kernel_gradient(x, gradient)

    if _is_slow(x, kernel):
        arrays = (array.astype(jnp.float32) for array in (x, kernel, gradient))
        gradients = _cpu_gradients(*arrays, strides=strides, padding=padding)
        return tuple(array.astype(jnp.bfloat16) for array in gradients)
    # The paddings that make each gradient as large as the array that it belongs to.
    x_padding = [
        (n - 1 - low, n - 1 - high) for n, (low, high) in zip(kernel.shape[:2], padding, strict=True)
    ]
    x_gradient = lax.conv_general_dilated(
        gradient, kernel[::-1, ::-1].swapaxes(2, 3), (1, 1), x_padding, dimension_numbers=LAYOUT
    )
    kernel_gradient = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3), (1, 1), padding, dimension_numbers=LAYOUT
    )
    return x_gradient, kernel_gradient.transpose(1, 2, 0, 3)


def _patches(x, window, strides, padding):
    """Returns what the window sees at each of its places, [B, I, J, h w C]."""
    dtype, x = x.dtype, bits.of(x)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = window
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    shifted = [
        x[:, i : i + rows : strides[0], j : j + columns : strides[1]]
        for i in range(height)
        for j in range(width)
    ]
    return bits.back(jnp.concatenate(shifted, axis=-1), dtype)


def _patches_value(x, kernel, *, strides, padding):
    patches = _patches(x, kernel.shape[:2], strides, padding)
    products = _product(_as_matrix(patches), _as_matrix(kernel))
    return products.astype(x.dtype).reshape(*patches.shape[:-1], -1)


def _patches_gradients(x, kernel, gradient, *, strides, padding):
    patches_of = partial(_patches, window=kernel.shape[:2], strides=strides, padding=padding)
    matrix, patches = _as_matrix(gradient), patches_of(x)
    if _is_slow(x, kernel):
        # Without the barrier XLA asks for a product with its result transposed, and has none of bfloat16.
        kernel_gradient = lax.optimization_barrier(_product(_transposed(matrix), _as_matrix(patches))).T
        of_patches = _product(matrix, _transposed(_as_matrix(kernel)))
    else:
        kernel_gradient = _product(_as_matrix(patches).T, matrix)
        of_patches = _product(matrix, _as_matrix(kernel).T)
    # In float32, as are the sums over places.
    places = jax.linear_transpose(patches_of, jax.ShapeDtypeStruct(x.shape, jnp.float32))
    (x_gradient,) = places(of_patches.reshape(patches.shape))
    return x_gradient.astype(x.dtype), kernel_gradient.reshape(kernel.shape).astype(kernel.dtype)


def _as_matrix(x):
    """Returns x with two axes alone: with four, XLA writes a transposed copy, and slowly."""
    return x.reshape(-1, x.shape[-1])


def _product(left, right):
    """Returns the matrix product in float32: of bfloat16 XLA's CPU backend is fast only so."""
    return jnp.matmul(left, right, preferred_element_type=jnp.float32)


def _transposed(x):
    """Returns the transposed matrix, written out: of bfloat16 XLA's CPU backend is fast only so."""
    rows = 32 if x.shape[0] % 32 == 0 else 1
    pieces = bits.of(x).reshape(-1, rows, x.shape[1]).transpose(2, 0, 1)
    return bits.back(pieces.reshape(x.shape[::-1]), x.dtype)


def for_flax(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[Pair],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    **options: Any,
) -> jax.Array:
    """Returns the convolution as flax.linen.Conv asks for it, to be its `conv_general_dilated`.

    It is `conv` for two dimensions without dilation, groups or a precision of their own, and else that of
    `jax.lax.conv_general_dilated`, whose arguments these are.
    """
    dilated = bool({*(lhs_dilation or ()), *(rhs_dilation or ())} - {1})
    grouped = options.get("feature_group_count", 1) != 1
    if lhs.ndim != 4 or dilated or grouped or options.get("precision") is not None:
        return lax.conv_general_dilated(
            lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, **options
        )
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], window_strides, padding)
    (top, bottom), (left, right) = padding
    down, across = window_strides
    return conv(lhs, rhs, (down, across), ((top, bottom), (left, right)))
