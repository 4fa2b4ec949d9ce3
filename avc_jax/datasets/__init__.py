"""Data sets in their official layouts, read from a folder that the user downloaded (docs/datasets). Nothing is fetched.

Each module has VARIANTS: name -> one line; the readings of what the papers leave open, or the parts of the set, the usual one
first. Those of SOUNDS and VIDEOS have
  CLASSES: the names in the order of their numbers; empty where only the data know them
  read(root, ...) -> list[Item]; takes `variant` if there are VARIANTS
and those of ITEMS, whose clips have features, long sounds, words or pictures,
  LISTS: variant -> paths of the files in the folder that list its clips; none: the folder says it itself
  SETTINGS: key of config.data -> value, with which training and evaluation open the folder; see `opened`
None imports TensorFlow; `builders` makes them data sets of tensorflow-datasets.
"""

from avc_jax.datasets import (
    crosstask,
    dcase2013_scenes,
    esc50,
    flickr8k_audio,
    flickr_soundnet,
    howto100m,
    kinetics_sounds,
    labelled,
    msrvtt,
    places_audio,
    spoken_objectnet_50k,
    youcook2,
    youcook_japanese,
)
from avc_jax.datasets.layout import Item

SOUNDS = {"esc50": esc50, "dcase2013_scenes": dcase2013_scenes, "labelled_audio": labelled}
VIDEOS = {"kinetics_sounds": kinetics_sounds, "flickr_soundnet": flickr_soundnet, "labelled_media": labelled}
ITEMS = {"howto100m": howto100m, "youcook2": youcook2, "msrvtt": msrvtt, "crosstask": crosstask,
         "youcook_japanese": youcook_japanese, "places_audio": places_audio, "spoken_objectnet_50k": spoken_objectnet_50k,
         "flickr8k_audio": flickr8k_audio}

__all__ = ["ITEMS", "SOUNDS", "VIDEOS", "Item"]
