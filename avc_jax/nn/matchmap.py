"""How near pictures and sounds are by all their places and moments (Harwath et al., arXiv:1804.01452, section 4.1)."""

import jax
import jax.numpy as jnp

KINDS = ("sisa", "misa", "sima")


def similarity(kind: str, pictures: jax.Array, sounds: jax.Array, count: jax.Array) -> jax.Array:
    """f32[N, M]: what the dot products of every place of a picture and every moment of a sound come to.

    Args:
      kind: sisa: their mean (that of the mean vectors, too); misa: the mean over moments of the largest over places; sima: the
        mean over places of the largest over moments.
      pictures: f[N, H, W, C].
      sounds: f[M, T, C].
      count: int32[M], the first so many moments count; at least one.
    """
    pictures, sounds = pictures.reshape(len(pictures), -1, pictures.shape[-1]), sounds.astype(jnp.float32)
    heard = jnp.arange(sounds.shape[1]) < count[:, None]
    if kind == "sisa":
        mean = jnp.sum(jnp.where(heard[..., None], sounds, 0.0), 1) / count[:, None]
        return jnp.matmul(pictures.astype(jnp.float32).mean(1), mean.T, precision="highest")
    products = jnp.einsum("npc,mtc->nmpt", pictures.astype(jnp.float32), sounds, precision="highest")
    if kind == "misa":
        return jnp.sum(jnp.where(heard, _largest(products, 2), 0.0), -1) / count
    return _largest(jnp.where(heard[:, None], products, -jnp.inf), 3).mean(-1)


def _largest(x: jax.Array, axis: int) -> jax.Array:
    """The maximum along an axis; its gradient goes to the first of equals.

    Chosen by place: the gradient of `max` looks for what equals it, and finds nothing where x was rounded differently again.
    """
    place = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis)
    chosen = place == jnp.expand_dims(jnp.argmax(x, axis), axis)
    return jnp.sum(jnp.where(chosen, x, 0.0), axis)
