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


def classification(logits: jax.Array, label: jax.Array, smoothing: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Softmax cross-entropy over K classes, in nats; a label is one-hot mixed with the uniform distribution.

    Args:
      logits: f32[B, K].
      label: int32[B].
      smoothing: share of the uniform distribution (arXiv:1512.00567, section 7).

    Returns:
      (f32[] sum, f32[] count).
    """
    target = optax.smooth_labels(jax.nn.one_hot(label, logits.shape[-1]), smoothing)
    return jnp.sum(optax.softmax_cross_entropy(logits, target)), jnp.float32(len(label))


def hits(logits: jax.Array, label: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many rows of f32[B, 2] logits are largest at their label, and how many rows count: (f32[], f32[])."""
    return jnp.sum((jnp.argmax(logits, -1) == label) * weight), jnp.sum(weight)
