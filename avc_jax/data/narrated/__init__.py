"""Clips that speak: a moving shape, and a voice that says what is to be seen, in one of several languages.

    python -m avc_jax.data.narrated --root=runs/narrated_en --language=en

A scene is a choice of colour, shape, size, motion and ground, of which there are thousands, and a clip's caption says all of
them. Scenes of the split test are the same ones in every language, and no clip of train shows one of them: what is said about
them has to be put together from words that were heard about others. Importing this loads neither JAX nor TensorFlow.
"""

from avc_jax.data.narrated.clips import Recipe, narrate_folder, render_clip, scene_of, split_of
from avc_jax.data.narrated.languages import LANGUAGES, sentence
from avc_jax.data.narrated.scenes import SCENES, TEST_SCENES, TRAIN_SCENES, Scene
from avc_jax.data.narrated.speech import available, version

__all__ = ["LANGUAGES", "SCENES", "TEST_SCENES", "TRAIN_SCENES", "Recipe", "Scene", "available", "narrate_folder", "render_clip",
           "scene_of", "sentence", "split_of", "version"]
