"""Films and clips with features, long sounds, words and pictures: items, their reader, and the layouts that hold them."""

from avc_jax.data.items.layouts import open_items
from avc_jax.data.items.source import Item, ItemSource

__all__ = ["Item", "ItemSource", "open_items"]
