"""The two networks: their weights, and from pictures to unit rows of float16.

Numbers are those of the published extractor (AVLnet, arXiv:2006.09199, which took it over from HowTo100M, arXiv:1906.03327).
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from avc_jax import audio, errors
from avc_jax.nn.resnet import ResNet
from avc_jax.nn.resnext3d import ResNeXt3D
from avc_jax.published import resnets, translate
from avc_jax.published.read import read
from avc_jax.published.table import Checkpoint
from avc_jax.train.state import params_sha256
from avc_jax.visual.grid import CHUNK, RATE_2D_HZ, RATE_3D_HZ, SIDE_3D

MEAN_2D, STD_2D = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, on [0, 1]
SPECTROGRAM_FACTS = {"rate_hz": 100.0, "mels": 40, "sound": "16 kHz, mono", "unit": "decibels below the maximum of the file"}
MEAN_3D = (110.6, 103.2, 96.3)  # of ActivityNet, on [0, 255]

_SHORTEST = 160_000  # Samples of the shortest sound that a program is compiled for.


@dataclasses.dataclass(frozen=True)
class Stream:
    """A network and what it is asked.

    Attributes:
      name: 2d or 3d.
      network: without pooling and classifier.
      kind: the published checkpoint that it reads.
      title: what the network is called.
      sides: a row's shape, or one that will do, without channels.
      normalise: uint8[B, ..., 3] -> f32 of the same shape.
      rate_hz: rows a second.
    """

    name: str
    network: nn.Module
    kind: Checkpoint
    title: str
    sides: tuple[int, ...]
    normalise: Callable[[jax.Array], jax.Array]
    rate_hz: float

    def shapes(self):
        """The shapes of its variables."""
        return jax.eval_shape(lambda: self.network.init(jax.random.key(0), self._one(), False))

    def _one(self) -> jax.Array:
        return jnp.zeros((1, *self.sides, 3), jnp.float32)

    def initial(self, seed: int):
        """Variables that have learned nothing."""
        key = jax.random.fold_in(jax.random.key(seed), len(self.sides))
        return jax.jit(lambda: self.network.init(key, self._one(), False))()

    def apply(self, variables, pictures: jax.Array) -> jax.Array:
        """uint8[B, ..., 3] -> f16[B, D]: the mean of the last map, as a unit vector."""
        found = self.network.apply(variables, self.normalise(pictures), False).astype(jnp.float32)
        found = found.mean(range(1, found.ndim - 1))
        return (found / jnp.maximum(jnp.linalg.norm(found, axis=-1, keepdims=True), 1e-12)).astype(jnp.float16)

    @functools.cached_property
    def width(self) -> int:
        """Numbers of a row."""
        return jax.eval_shape(self.apply, self.shapes(), jnp.zeros((1, *self.sides, 3), jnp.uint8)).shape[-1]


def make_stream(name: str, depth_2d: int, width: float, dtype: str) -> Stream:
    """A stream.

    Args:
      name: 2d or 3d.
      depth_2d: of the ResNet.
      width: factor on the channels of both networks.
      dtype: float32 or bfloat16, of the computation.
    """
    kind = jnp.dtype(dtype)
    suffix = "" if width == 1 else f", width {width:g}"
    if name == "2d":
        return Stream(name, ResNet(depth_2d, width, kind), resnets.torchvision(depth_2d), f"ResNet-{depth_2d}{suffix}", (64, 64),
                      _normalise_2d, RATE_2D_HZ)
    return Stream(name, ResNeXt3D(width, dtype=kind), resnets.kinetics(), f"ResNeXt-101 3-D{suffix}", (CHUNK, SIDE_3D, SIDE_3D),
                  _normalise_3d, RATE_3D_HZ)


def _normalise_2d(pictures: jax.Array) -> jax.Array:
    return (pictures.astype(jnp.float32) / 255 - jnp.array(MEAN_2D)) / (jnp.array(STD_2D) + 1e-8)


def _normalise_3d(pictures: jax.Array) -> jax.Array:
    return pictures.astype(jnp.float32) - jnp.array(MEAN_3D)


def load(stream: Stream, path: str, seed: int | None) -> tuple[Any, dict[str, Any]]:
    """The variables of a stream, and what to say of them in features.json.

    Args:
      stream: whose.
      path: of the published weights; empty: random ones.
      seed: of those.

    Raises:
      MissingInputError: there is no such file.
      DataError: it cannot be read.
      ConfigError: it is of another network.
    """
    if not path:
        assert seed is not None
        variables = stream.initial(seed)
        return variables, {"weights": f"RANDOM (seed {seed}): nobody has trained this network",
                           "weights_sha256": params_sha256(variables["params"])}
    flag = f"--weights_{stream.name}={path}"
    try:
        arrays = read(Path(path))
        ours = translate.to_ours(arrays, stream.kind, flatten_dict(dict(stream.shapes()), sep="/"), {})
    except errors.MissingInputError as error:
        raise errors.MissingInputError(f"{flag}: {error}") from error
    except errors.ConfigError as error:
        raise errors.ConfigError(f"{flag} is no {stream.title}: {_first_lines(str(error))}") from error
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return unflatten_dict(ours, sep="/"), {"weights": Path(path).name, "weights_sha256": digest}


def _first_lines(text: str) -> str:
    """A network has hundreds of arrays, and all of them may be of another."""
    first, *lines = text.split("\n")
    return "\n".join([first, *lines[:8], *([f"  and {len(lines) - 8} more"] if len(lines) > 8 else [])])


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """int16[n] at 16 kHz -> f16[40, 1 + n // 160], decibels from -80 to 0, which is the largest of this sound."""
    # Four lengths an octave, so that not every film is compiled for.
    step = 1 << max(0, len(samples).bit_length() - 3)
    padded = np.zeros((1, max(_SHORTEST, -(-len(samples) // step) * step)), np.float32)
    padded[0, : len(samples)] = samples / np.float32(32768)
    found = _mel40(padded, np.array([len(samples)], np.int32))
    return np.asarray(found)[0, :, : 1 + len(samples) // audio.MEL40_HOP]


@jax.jit
def _mel40(waveform: jax.Array, length: jax.Array) -> jax.Array:
    return audio.mel40(waveform, length).astype(jnp.float16)
