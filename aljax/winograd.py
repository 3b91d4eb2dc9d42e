"""The 3x3 convolution with 4/9 of the multiplications, as matrix products: for CPUs.

A tile of 2 x 2 pixels out needs 4 x 4 pixels in. With d the tile in, k the kernel, g a tile of
the gradient and * element by element, summed over channels (or tiles):

    out = A^T [(G k G^T) * (B^T d B)] A
    gradient of k = G^T [(B^T d B) * (A g A^T)] G

The 16 elements of * are 16 matrix products. B, G and A hold 0, 1/2 and 1 alone, up to sign:
rounding is that of the plain convolution. Large images are taken a few at a time, so that
what is between the steps stays in the processor's cache.

Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, F(2x2, 3x3).

Shapes: N examples, H x W pixels (even), C channels in, D out, P tiles.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

LEAST_CHANNELS = 64  # with fewer, the sums around the products cost more than the products save
LARGE = 64  # tiles: of such images each device takes 4 at a time, of smaller ones all

Grid = Sequence[Sequence[jax.Array]]
Transform = Callable[[Sequence[jax.Array]], list[jax.Array]]


def suits(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: object) -> bool:
    """Whether the convolution can be computed here, and faster so (for x [N, H, W, C])."""
    height, width, channels, out = kernel.shape
    return (
        (height, width) == (3, 3)
        and strides == (1, 1)
        and padding == ((1, 1), (1, 1))
        and x.shape[1] % 2 == 0
        and x.shape[2] % 2 == 0
        and min(channels, out) >= LEAST_CHANNELS
        and x.dtype == kernel.dtype == jnp.float32
    )


def value(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of x [N, H, W, C] with a kernel [3, 3, C, D], zeros around: [N, H, W, D]."""
    return _convolved(x, kernel, "pc,cd->pd")


def x_gradient(kernel: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient of x, [N, H, W, C], from a kernel [3, 3, C, D] and the gradient of the value."""
    # Transposed inside the product: XLA takes longer to transpose the kernels of 512 channels first.
    return _convolved(gradient, kernel[::-1, ::-1], "pd,cd->pc")


def _convolved(x: jax.Array, kernel: jax.Array, product: str) -> jax.Array:
    products = _both_ways(_kernel_in, [[kernel[i, j] for j in range(3)] for i in range(3)])

    def part(x):  # [S, N, H, W, C] to [S, N, H, W, D]
        shards, images, height, width, _ = x.shape
        tiles = _tiles_in(x.reshape(-1, *x.shape[2:]))
        multiplied = _each(lambda d, k: jnp.einsum(product, d.reshape(-1, d.shape[-1]), k), tiles, products)
        out = _both_ways(_out, multiplied)
        shape = (shards, images, height // 2, width // 2, -1)
        rows = [jnp.stack([pixel.reshape(shape) for pixel in row], axis=4) for row in out]
        return jnp.stack(rows, axis=3).reshape(shards, images, height, width, -1)

    parts = lax.map(part, _parts(x))
    return parts.swapaxes(0, 1).reshape(*x.shape[:3], -1)


def kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient of the kernel, [3, 3, C, D], from x [N, H, W, C] and that of the value."""

    def part(sums, arrays):
        x, gradient = (array.reshape(-1, *array.shape[2:]) for array in arrays)
        shards = arrays[0].shape[0]
        pixels = [[gradient[:, i::2, j::2] for j in range(2)] for i in range(2)]

        def product(d, g):  # each device sums what it has: [S, C, D]
            d, g = (array.reshape(shards, -1, array.shape[-1]) for array in (d, g))
            return jnp.einsum("spc,spd->scd", d, g)

        products = _each(product, _tiles_in(x), _both_ways(_gradient_in, pixels))
        return jax.tree.map(jnp.add, sums, products), None

    parts = _parts(x), _parts(gradient)
    zeros = jnp.zeros((parts[0].shape[1], x.shape[-1], gradient.shape[-1]))
    sums, _ = lax.scan(part, [[zeros] * 4] * 4, parts)
    kernel = _both_ways(_kernel_out, sums)
    return jnp.stack([jnp.stack(row) for row in kernel]).sum(axis=2)


def _parts(x: jax.Array) -> jax.Array:
    """[N, ...] cut into parts to work on in turn, each spread over S devices: [parts, S, n, ...]."""
    shards = jax.local_device_count()
    if x.shape[0] % shards:
        shards = 1
    each, tiles = x.shape[0] // shards, x.shape[1] * x.shape[2] // 4
    size = 4 if tiles >= LARGE and each % 4 == 0 else each
    return x.reshape(shards, each // size, size, *x.shape[1:]).swapaxes(0, 1)


def _tiles_in(x: jax.Array) -> Grid:
    """B^T d B of every tile: 4 x 4 arrays [N, H / 2, W / 2, C]."""
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    tiles = [[x[:, i : i + height - 1 : 2, j : j + width - 1 : 2] for j in range(4)] for i in range(4)]
    return _both_ways(_in, tiles)


def _both_ways(transform: Transform, grid: Grid) -> Grid:
    """T d T^T, where `transform` is x -> T x."""
    columns = zip(*[transform(row) for row in grid], strict=True)
    return list(zip(*[transform(column) for column in columns], strict=True))


def _each(product: Callable[[jax.Array, jax.Array], jax.Array], a: Grid, b: Grid) -> list[list[jax.Array]]:
    return [[product(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]


def _in(d: Sequence[jax.Array]) -> list[jax.Array]:  # B^T d
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _kernel_in(k: Sequence[jax.Array]) -> list[jax.Array]:  # G k
    return [k[0], (k[0] + k[1] + k[2]) / 2, (k[0] - k[1] + k[2]) / 2, k[2]]


def _out(m: Sequence[jax.Array]) -> list[jax.Array]:  # A^T m
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _gradient_in(g: Sequence[jax.Array]) -> list[jax.Array]:  # A g
    return [g[0], g[0] + g[1], g[0] - g[1], -g[1]]


def _kernel_out(m: Sequence[jax.Array]) -> list[jax.Array]:  # G^T m
    return [m[0] + (m[1] + m[2]) / 2, (m[1] - m[2]) / 2, (m[1] + m[2]) / 2 + m[3]]
