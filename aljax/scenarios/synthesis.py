"""Membership queries: the learner makes its own images from labeled ones, to ask about.

A recipe tells how: two images of one class are mixed, the mix perhaps mirrored, and shown turned,
shifted and zoomed in on. It is a label-preserving change as long as the limits are small, so the
oracle of a simulation answers with the class of the source.

Shapes: P recipes, L rows of labeled images, N images, H x W pixels, C channels.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

AT_ONCE = 256  # images rendered together, so that memory does not grow with P


class Limits(NamedTuple):
    """How far a recipe may go."""

    degrees: float = 0.0  # turned by at most so many, either way
    shift: float = 0.0  # moved by at most so many pixels, along each axis
    zoom: float = 1.0  # magnified by at most this factor
    mix: float = 0.0  # at most this share of a second image of the class
    flip: bool = False  # mirrored left to right, half of the time


class Recipe(NamedTuple):
    """How one image is made, or, with an axis [P] in front, many; zeros change nothing but for zoom 1."""

    source: jax.Array  # index of the image, int32
    other: jax.Array  # index of another of its class, int32
    mix: jax.Array  # the share of `other`, in [0, 1)
    flip: jax.Array  # bool
    degrees: jax.Array  # turned, counterclockwise
    right: jax.Array  # moved to the right, pixels
    down: jax.Array  # moved down, pixels
    zoom: jax.Array  # magnified, a factor above 0; 2 shows the middle quarter


@partial(jax.jit, static_argnames=("count",))
def propose(
    key: jax.Array,
    labels: jax.Array,
    rows: jax.Array,
    num_rows: jax.Array,
    limits: Limits,
    *,
    count: int,
) -> Recipe:
    """Draws recipes, each quantity uniform within its limits.

    Args:
      key: a key.
      labels: of all images, [N] int32.
      rows: indices of the images that may be sources, the first `num_rows` of them valid, [L] int32.
      num_rows: a scalar, at least 1.
      limits: how far to go.
      count: P.

    Returns:
      Recipes, [P] each; `other` is uniform over the sources of the class, itself included.
    """
    keys = iter(jax.random.split(key, 8))
    share = partial(jax.random.uniform, shape=(count,))
    signed = partial(share, minval=-1.0, maxval=1.0)

    valid = jnp.arange(rows.shape[0]) < num_rows
    classes = jnp.where(valid, labels[rows], jnp.iinfo(jnp.int32).max)
    order = jnp.argsort(classes)  # one class after the other, and what is not valid last
    source = jax.random.randint(next(keys), (count,), 0, num_rows)
    first = jnp.searchsorted(classes[order], classes[source], side="left")
    after = jnp.searchsorted(classes[order], classes[source], side="right")
    other = order[jax.random.randint(next(keys), (count,), first, after)]
    return Recipe(
        source=rows[source],
        other=rows[other],
        mix=limits.mix * share(next(keys)),
        flip=jnp.asarray(limits.flip) & jax.random.bernoulli(next(keys), shape=(count,)),
        degrees=limits.degrees * signed(next(keys)),
        right=limits.shift * signed(next(keys)),
        down=limits.shift * signed(next(keys)),
        zoom=1 + (limits.zoom - 1) * share(next(keys)),
    )


@jax.jit
def render(images: jax.Array, recipes: Recipe) -> jax.Array:
    """The images that recipes describe.

    Args:
      images: [N, H, W, C] uint8.
      recipes: [P] each.

    Returns:
      [P, H, W, C] uint8.
    """
    return jax.lax.map(
        lambda recipe: transform(images[recipe.source], images[recipe.other], recipe),
        recipes,
        batch_size=AT_ONCE,
    )


def transform(image: jax.Array, other: jax.Array, recipe: Recipe) -> jax.Array:
    """One image by its recipe: mixed, mirrored, then turned, zoomed and moved about its center.

    A pixel at p shows the mix at center + R(-degrees) (p - moved - center) / zoom, between pixels
    by bilinear interpolation, outside of the image black, as in training.

    Args:
      image, other: [H, W, C] uint8.
      recipe: scalars; its `source` and `other` are not looked at.

    Returns:
      [H, W, C] uint8.
    """
    height, width, _ = image.shape
    mixed = (1 - recipe.mix) * image + recipe.mix * other
    mixed = jnp.where(recipe.flip, mixed[:, ::-1], mixed)
    down, right = jnp.mgrid[:height, :width]
    center = (height - 1) / 2, (width - 1) / 2
    y, x = down - recipe.down - center[0], right - recipe.right - center[1]
    cos, sin = jnp.cos(jnp.deg2rad(recipe.degrees)), jnp.sin(jnp.deg2rad(recipe.degrees))
    # With y pointing down, a counterclockwise turn is undone by this one.
    place = [(sin * x + cos * y) / recipe.zoom + center[0], (cos * x - sin * y) / recipe.zoom + center[1]]
    shown = jax.vmap(partial(map_coordinates, coordinates=place, order=1), in_axes=-1, out_axes=-1)(mixed)
    return jnp.clip(jnp.round(shown), 0, 255).astype(jnp.uint8)
