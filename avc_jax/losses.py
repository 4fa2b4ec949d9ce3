"""Losses as pure functions over global arrays. Each returns (sum, count), so that padding never dilutes a mean."""

import jax
import jax.numpy as jnp
import optax


def correspondence(logits: jax.Array, label: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Softmax cross-entropy of the audio-visual correspondence task, in nats (arXiv:1705.08168, section 2).

    Args:
      logits: f32[B, 2]; column 1 says "these belong together".
      label: int32[B], 1 for true pairs, 0 for false ones.
      weight: f32[B], 0 for rows that do not count.

    Returns:
      (f32[] sum, f32[] count).
    """
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return jnp.sum(nats * weight), jnp.sum(weight)


def hits(logits: jax.Array, label: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many rows of f32[B, 2] logits are largest at their label, and how many rows count: (f32[], f32[])."""
    return jnp.sum((jnp.argmax(logits, -1) == label) * weight), jnp.sum(weight)
