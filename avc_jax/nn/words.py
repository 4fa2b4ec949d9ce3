"""A sentence as a bag of word vectors (Miech et al., arXiv:1906.03327, section 4.1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax.nn.linear import Linear


class WordPool(nn.Module):
    """A linear layer and ReLU on each word, and the largest of each unit over the words.

    Attributes:
      features: units.
      dtype: dtype of the computation; parameters are float32.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, words: jax.Array, count: jax.Array | None = None) -> jax.Array:
        """f[B, W, C] -> f[B, features].

        Args:
          words: vectors of words; after the last, zeros.
          count: int32[B], how many words there are; the others then have no part in it, and no words at all give zeros. None:
            the zeros count as words, as in the published code: the bias of the layer competes with the words.
        """
        units = nn.relu(Linear(self.features, self.dtype, name="linear")(words))
        if count is not None:
            units = jnp.where(jnp.arange(words.shape[1])[:, None] < count[:, None, None], units, 0)
        return nn.max_pool(units, (words.shape[1],))[:, 0]
