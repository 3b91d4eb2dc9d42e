"""The 3x3 convolution with a quarter to a half of the multiplications, as matrix products: for CPUs.

With d a tile of pixels in, k the kernel, g a tile of the gradient and * element by element,
summed over channels (or tiles), and for each size of tile three matrices A, B and G:

    out = A^T [(G k G^T) * (B^T d B)] A
    gradient of k = G^T [(B^T d B) * (A g A^T)] G

Each element of * is a matrix product. The value and the gradient of x are computed in tiles of
2 x 2 pixels (4 x 4 in, 16 products, 4/9 of the multiplications), whose rounding is that of the
plain convolution. The gradient of the kernel is summed over tiles of 4 x 4 (6 x 6 in, 36
products, 1/4): XLA multiplies with a transposed left side at half the rate, so that fewer
products pay; its rounding is up to 4 times the plain one's. Larger tiles of the value lose in
the sums around the products what they save. Large images are taken a few at a time, so that
what is between the steps stays in the processor's cache.

Of arrays in bfloat16 the factors of the products of value and gradient of x are rounded to it, and all sums
are float32. XLA's CPU backend has its fast products of bfloat16 (twice the rate of float32 and more, on
avx512_bf16) only for results in float32, and with a transposed left side not at all: so the gradient of the
kernel is computed in float32 throughout.

Sources: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, F(2x2, 3x3)
and F(4x4, 3x3); Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution
for Deep Neural Networks", ACM TOMS 2020, for the points of the larger tiles: 0, 1, -1, 1/2, -2.

Shapes: N examples, H x W pixels (even), C channels in, D out, P tiles.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from aljax.ops import bits

LEAST_CHANNELS = 64  # with fewer, the sums around the products cost more than the products save
LARGE = 256  # pixels: of such images each device takes 4 at a time, of smaller ones all

Grid = Sequence[Sequence[jax.Array]]
Matrix = tuple[tuple[float, ...], ...]

# Of tiles of 2 x 2: B^T, G and A^T.
IN: Matrix = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
KERNEL: Matrix = ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1))
OUT: Matrix = ((1, 1, 1, 0), (0, 1, -1, -1))

# Of tiles of 4 x 4, for the gradient of the kernel: B^T, A and G^T.
GRADIENT_IN: Matrix = (
    (1, -3 / 2, -2, 3 / 2, 1, 0),
    (0, -1, 1 / 2, 5 / 2, 1, 0),
    (0, 1, -5 / 2, 1 / 2, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 1 / 2, -1, -1 / 2, 1, 0),
    (0, 1, -3 / 2, -2, 3 / 2, 1),
)
GRADIENT: Matrix = (
    (1, 0, 0, 0),
    (1, 1, 1, 1),
    (1, -1, 1, -1),
    (1, 1 / 2, 1 / 4, 1 / 8),
    (1, -2, 4, -8),
    (0, 0, 0, 1),
)
KERNEL_OUT: Matrix = (
    (1, 1 / 3, -1 / 3, -16 / 15, 1 / 15, 0),
    (0, 1 / 3, 1 / 3, -8 / 15, -2 / 15, 0),
    (0, 1 / 3, -1 / 3, -4 / 15, 4 / 15, 1),
)


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
        and x.dtype == kernel.dtype
        and x.dtype in (jnp.float32, jnp.bfloat16)
    )


def value(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution of x [N, H, W, C] with a kernel [3, 3, C, D], zeros around: [N, H, W, D]."""
    return _convolved(x, kernel, "pc,cd->pd")


def x_gradient(kernel: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient of x, [N, H, W, C], from a kernel [3, 3, C, D] and the gradient of the value."""
    # Transposed inside the product: XLA takes longer to transpose the kernels of 512 channels first.
    return _convolved(gradient, kernel[::-1, ::-1], "pd,cd->pc")


def _convolved(x: jax.Array, kernel: jax.Array, product: str) -> jax.Array:
    dtype, kernel = x.dtype, kernel.astype(jnp.float32)
    products = _both_ways(KERNEL, [[kernel[i, j] for j in range(3)] for i in range(3)])
    products = [[k.astype(dtype) for k in row] for row in products]

    def multiply(d, k):
        d = d.reshape(-1, d.shape[-1]).astype(dtype)
        return jnp.einsum(product, d, k, preferred_element_type=jnp.float32)

    def part(x):  # [S, N, H, W, C] to [S, N, H, W, D]
        shards, images, height, width, _ = x.shape
        out = _both_ways(OUT, _each(multiply, _tiles(IN, _images(x, dtype), 2, (1, 1)), products))
        shape = (shards, images, height // 2, width // 2, -1)
        rows = [jnp.stack([bits.of(p.astype(dtype)).reshape(shape) for p in row], axis=4) for row in out]
        return jnp.stack(rows, axis=3).reshape(shards, images, height, width, -1)

    parts = lax.map(part, _parts(bits.of(x)))
    return bits.back(parts.swapaxes(0, 1).reshape(*x.shape[:3], -1), dtype)


def kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient of the kernel, [3, 3, C, D], from x [N, H, W, C] and that of the value."""
    dtype, size = x.dtype, 4
    x, gradient = (_to_fours(bits.of(array)) for array in (x, gradient))

    def part(sums, arrays):
        x, gradient = (_images(array, dtype) for array in arrays)
        shards = arrays[0].shape[0]

        def product(d, g):  # each device sums what it has: [S, C, D]
            d, g = (array.reshape(shards, -1, array.shape[-1]) for array in (d, g))
            return jnp.einsum("spc,spd->scd", d, g)

        tiles = _tiles(GRADIENT_IN, x, size, (1, 1)), _tiles(GRADIENT, gradient, size, (0, 1))
        return jax.tree.map(jnp.add, sums, _each(product, *tiles)), None

    parts = _parts(x), _parts(gradient)
    zeros = jnp.zeros((parts[0].shape[1], x.shape[-1], gradient.shape[-1]))
    sums, _ = lax.scan(part, [[zeros] * (size + 2)] * (size + 2), parts)
    kernel = _both_ways(KERNEL_OUT, sums)
    return jnp.stack([jnp.stack(row) for row in kernel]).sum(axis=2).astype(dtype)


def _images(part: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Returns the images of a part [S, n, H, W, C] of what `bits.of` gave, [S n, H, W, C] float32."""
    return bits.back(part.reshape(-1, *part.shape[2:]), dtype).astype(jnp.float32)


def _to_fours(x: jax.Array) -> jax.Array:
    """[N, H, W, C] with zeros below and to the right, up to multiples of 4: they add nothing to sums."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % 4), (0, -x.shape[2] % 4), (0, 0)))


def _parts(x: jax.Array) -> jax.Array:
    """[N, ...] cut into parts to work on in turn, each spread over S devices: [parts, S, n, ...].

    Within a `jax.shard_map` the N images are one device's already.
    """
    shards = 1 if jax.sharding.get_abstract_mesh().manual_axes else jax.local_device_count()
    if x.shape[0] % shards:
        shards = 1
    each = x.shape[0] // shards
    size = 4 if x.shape[1] * x.shape[2] >= LARGE and each % 4 == 0 else each
    return x.reshape(shards, each // size, size, *x.shape[1:]).swapaxes(0, 1)


def _tiles(matrix: Matrix, x: jax.Array, size: int, padding: tuple[int, int]) -> Grid:
    """T d T^T for the pixels d of every tile, where T is the matrix: arrays [N, H / size, W / size, C].

    Padded before the tiles' rows are summed, and again before their columns are, even where the zeros are not
    needed: XLA writes a padded array once, and computes any other anew for each sum that reads it.
    """
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0)))
    pixels = range(len(matrix[0]))
    rows = _times(matrix, [x[:, i : i + height - size + 1 : size] for i in pixels])
    rows = [jnp.pad(row, ((0, 0), (0, 0), padding, (0, 0))) for row in rows]
    return [_times(matrix, [row[:, :, j : j + width - size + 1 : size] for j in pixels]) for row in rows]


def _both_ways(matrix: Matrix, grid: Grid) -> Grid:
    """T d T^T, where T is the matrix."""
    columns = zip(*[_times(matrix, row) for row in grid], strict=True)
    return list(zip(*[_times(matrix, column) for column in columns], strict=True))


def _times(matrix: Matrix, arrays: Sequence[jax.Array]) -> list[jax.Array]:
    def sum_of(row):
        first, *others = [factor * x for factor, x in zip(row, arrays, strict=True) if factor]
        return sum(others, start=first)

    return [sum_of(row) for row in matrix]


def _each(product: Callable[[jax.Array, jax.Array], jax.Array], a: Grid, b: Grid) -> list[list[jax.Array]]:
    return [[product(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]
