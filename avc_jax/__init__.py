"""avc_jax: audio-visual learning systems in JAX, from raw videos.

Importing the package loads nothing else; each room is imported by name, e.g. `from avc_jax import systems`.
"""

__version__ = "0.1.0"
