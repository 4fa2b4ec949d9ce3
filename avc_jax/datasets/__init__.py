"""Data sets in their official layouts, read from a folder that the user downloaded (docs/datasets). Nothing is fetched.

Each module has
  VARIANTS: name -> one line; the readings of what the papers leave open, the usual one first
  CLASSES: the names in the order of their numbers; empty where only the data know them
  read(root, ...) -> list[Item]; takes `variant` if there are VARIANTS
and imports no TensorFlow; `builders` makes them data sets of tensorflow-datasets.
"""

from avc_jax.datasets import dcase2013_scenes, esc50, flickr_soundnet, kinetics_sounds, labelled
from avc_jax.datasets.layout import Item

SOUNDS = {"esc50": esc50, "dcase2013_scenes": dcase2013_scenes, "labelled_audio": labelled}
VIDEOS = {"kinetics_sounds": kinetics_sounds, "flickr_soundnet": flickr_soundnet, "labelled_media": labelled}

__all__ = ["SOUNDS", "VIDEOS", "Item"]
