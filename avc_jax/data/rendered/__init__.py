"""The clips of `make demo`: moving drawings with matching sounds, written as real H.264 and AAC files.

The class is all that a clip's picture and sound have in common, so with K classes and negatives from any
other clip the best AVC accuracy on held-out clips is 1 - 0.5 / K. Importing this loads neither JAX nor
TensorFlow.

Example:
  render_folder("workdir/demo", num_clips=1536, seed=0, size=(80, 72), seconds=3.0, fps=12.5, rate_hz=16_000)
"""

from avc_jax.data.rendered.classes import NAMES
from avc_jax.data.rendered.clips import (
    Recipe,
    label_of,
    nuisance_of,
    render_clip,
    split_of,
)
from avc_jax.data.rendered.folder import render_folder

__all__ = ["NAMES", "Recipe", "label_of", "nuisance_of", "render_clip", "render_folder", "split_of"]
