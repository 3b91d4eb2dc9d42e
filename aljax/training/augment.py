"""Augmentation and standardization of images, before a network sees them.

Shapes: H x W pixels, C channels, D features of embeddings.
"""

import jax
import jax.numpy as jnp


def augment(key: jax.Array, image: jax.Array, pad: int, flip: bool) -> jax.Array:
    """Returns a random crop of one image, padded by `pad` black pixels, and mirrored half of the time.

    An embedding has no pixels to move, and stays as it is.

    Args:
      key: a key.
      image: [H, W, C], or an embedding [D].
      pad: pixels on each side; 0 leaves the image where it is.
      flip: whether to mirror it left to right half of the time.

    Returns:
      An image like it.
    """
    if image.ndim == 1:
        return image
    crop_key, flip_key = jax.random.split(key)
    if pad:
        corner = jax.random.randint(crop_key, (2,), 0, 2 * pad + 1)
        padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        image = jax.lax.dynamic_slice(padded, (*corner, 0), image.shape)
    if flip:
        image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
    return image


def standardize(images: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Maps images [..., C] or embeddings [..., D] to float32 of about zero mean and unit variance."""
    return (images.astype(jnp.float32) - mean) / std
