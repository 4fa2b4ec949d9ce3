"""Windows to vectors: rows of many files share batches of one compiled shape, spread over all devices."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from avc_jax import errors
from avc_jax.data.feed import to_devices
from avc_jax.data.windows import Block
from avc_jax.parallel import mesh as meshes

if TYPE_CHECKING:
    from avc_jax.model import Model

FIELDS = {"audio": ("waveform",), "video": ("frame", "image")}  # what of an example each modality may be read from
BATCH_SIZE = 32


def check_input_repr(config, wanted: str | None) -> None:
    """Raises ConfigError if a config has another front end than OpenL3's of that name (linear, mel128, mel256; None: any)."""
    found = config.audio.get("front_end", "log")
    if wanted and found.removeprefix("openl3_") != wanted:
        raise errors.ConfigError(f"--input_repr={wanted}: expected a network with OpenL3's front end of that name, found "
                                 f"config.audio.front_end={found}. A front end belongs to its weights: name another checkpoint, "
                                 "or leave the flag out.")


class Rows(NamedTuple):
    """Rows that belong to places and times of files.

    Attributes:
      file: int32[n], places in the list of files.
      time_s: float64[n], seconds on the file's clock.
      values: [n, ...], windows or vectors.
    """

    file: np.ndarray
    time_s: np.ndarray
    values: np.ndarray


def regroup(blocks: Iterable[Block], size: int) -> Iterator[Rows]:
    """The windows of blocks in their order, `size` at a time; the last of the Rows may hold fewer, none holds none."""
    parts: list[Rows] = []
    room = size
    for block in blocks:
        rows = Rows(np.full(len(block.time_s), block.file, np.int32), block.time_s, block.values)
        while len(rows.time_s):
            parts.append(Rows(*(column[:room] for column in rows)))
            rows = Rows(*(column[room:] for column in rows))
            room -= len(parts[-1].time_s)
            if room == 0:
                yield Rows(*map(np.concatenate, zip(*parts, strict=True)))
                parts, room = [], size
    if parts:
        yield Rows(*map(np.concatenate, zip(*parts, strict=True)))


class Embedder:
    """Embeds windows of one modality with a model.

    Attributes:
      output: embed, or transfer: which of the system's features these are.
      width: numbers of a vector.
    """

    def __init__(self, model: "Model", modality: str, embedding_size: int = 0, batch_size: int = BATCH_SIZE):
        """
        Args:
          model: with its variables on one device.
          modality: audio or video.
          embedding_size: chooses among what the system gives by its width; 0: what `embed` gives.
          batch_size: windows embedded at once; rounded up to a multiple of the devices.

        Raises:
          ConfigError: the system gives no vectors of that width, or none of that modality.
        """
        self._system, self._modality = model.system, modality
        self._field = next((name for name in FIELDS[modality] if name in model.system.features), FIELDS[modality][0])
        length = f"{self._field}_length"
        self._length = length if length in model.system.features else ""
        self.output, self.width = self._choose(model, embedding_size)
        mesh = meshes.make_mesh()
        self._devices, self._batches, everywhere = mesh.size, meshes.batch_sharding(mesh), meshes.replicated(mesh)
        self._batch_size = self._padded(batch_size)
        self._variables = jax.device_put(model.variables, everywhere)
        self._apply = jax.jit(getattr(model.system, self.output), out_shardings=everywhere)

    def _choose(self, model: "Model", size: int) -> tuple[str, int]:
        feature = model.system.features.get(self._field)
        if feature is None:
            raise errors.ConfigError(f"--modality={self._modality}: the network has no such input; it takes "
                                     f"{', '.join(model.system.features)}.")
        row = self._batch(np.zeros((1, *feature.shape), feature.dtype))
        widths = {name: jax.eval_shape(getattr(model.system, name), model.variables, row)[self._modality].shape[-1]
                  for name in ("embed", "transfer") if getattr(model.system, name) is not None}
        for name, width in widths.items():
            if size in (0, width):
                return name, width
        raise errors.ConfigError(f"--embedding_size={size}: of {self._modality}, this network gives "
                                 f"{' or '.join(f'{width} ({name})' for name, width in widths.items())}.")

    def _padded(self, count: int) -> int:
        return -(-count // self._devices) * self._devices

    def __call__(self, blocks: Iterable[Block]) -> Iterator[Rows]:
        """The vectors of windows, f32[n, width], in the order of the windows; while one batch is computed, the next is read."""
        ahead: tuple[Rows, jax.Array] | None = None
        for rows in regroup(blocks, self._batch_size):
            # All have one shape. Only where there is no more than one, it is the next power of two.
            shape = self._batch_size if ahead else min(self._batch_size, self._padded(1 << (len(rows.file) - 1).bit_length()))
            vectors = self._start(rows.values, shape)
            if ahead:
                yield _finish(*ahead)
            ahead = rows, vectors
        if ahead:
            yield _finish(*ahead)

    def _start(self, values: np.ndarray, shape: int) -> jax.Array:
        padded = np.pad(values, [(0, shape - len(values))] + [(0, 0)] * (values.ndim - 1))
        return self._apply(self._variables, to_devices(self._batch(padded), self._batches))[self._modality]

    def _batch(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """A batch of windows, each as long as it is."""
        lengths = {self._length: np.full(len(values), values.shape[1], np.int32)} if self._length else {}
        return {self._field: values} | lengths


def _finish(rows: Rows, vectors: jax.Array) -> Rows:
    return rows._replace(values=np.asarray(vectors)[: len(rows.file)])
