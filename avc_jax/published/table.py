"""Tables of names: what the arrays of a published checkpoint are called, and where they go among our variables.

A system's file makes its tables of these parts. Our names are paths in the tree of variables, `params/audio/block1/conv1/kernel`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

_TORCH_MEAN, _TORCH_COUNTER = "running_mean", "num_batches_tracked"
TORCH_COUNTERS = f"*.{_TORCH_COUNTER}"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array.

    Attributes:
      theirs: its name in the published checkpoint.
      ours: its path.
      axes: our axes, as numbers of theirs, such as (2, 3, 1, 0) from PyTorch's OIHW kernels to HWIO; None: as they are. Those
        of theirs that are not among them have length one, and we do without: (3, 1, 0) of a kernel over 1 x W.
    """

    theirs: str
    ours: str
    axes: tuple[int, ...] | None = None

    @property
    def _order(self) -> tuple[int, ...]:
        """All of their axes: ours, and then those that we do without."""
        axes = self.axes or ()
        return (*axes, *(axis for axis in range(max(axes)) if axis not in axes))

    def fits(self, shape: tuple[int, ...], ours: tuple[int, ...]) -> bool:
        """Whether an array of theirs of a shape becomes ours of another."""
        if self.axes is None:
            return shape == ours
        return len(shape) == len(self._order) and tuple(shape[axis] for axis in self._order) == ours + (1,) * (
            len(shape) - len(ours))

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        if self.axes is None:
            return array
        moved = array.transpose(self._order)
        return moved.reshape(moved.shape[:len(self.axes)])

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        if self.axes is None:
            return array
        return array.reshape(array.shape + (1,) * (len(self._order) - array.ndim)).transpose(np.argsort(self._order))


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One kind of published checkpoint.

    Attributes:
      config: what differs from the default config, "section.key" -> value.
      habits: as `config`, keys that it was trained with and that no array knows of: with other values a network of ours still is
        one of this kind.
      entries: every array that the file must hold.
      beside: what the file may hold besides, because we compute it ourselves or do without: pattern of a name -> its shape
        (None: any).
      missing: modalities of which it holds nothing; our model then has no such half.
      initial: patterns of our paths that it has no arrays for; they stay as they are initialised.
      sizes: "section.key" -> (name of an array, axis): keys that its arrays tell, as networks of several sizes are of this kind.
    """

    config: Mapping[str, Any]
    entries: tuple[Entry, ...]
    beside: Mapping[str, tuple[int, ...] | None] = dataclasses.field(default_factory=dict)
    missing: tuple[str, ...] = ()
    initial: tuple[str, ...] = ()
    habits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sizes: Mapping[str, tuple[str, int]] = dataclasses.field(default_factory=dict)


def keras_name(kind: str, place: int) -> str:
    """What Keras calls a layer without a name of its own: dense, dense_1, dense_2 ... in the order in which they are made."""
    return f"{kind}_{place}" if place else kind


def keras_layer(theirs: str, ours: str) -> list[Entry]:
    """A convolution or dense layer of Keras, with its bias."""
    return [Entry(f"{theirs}/{name}", f"params/{ours}/{name}") for name in ("kernel", "bias")]


def keras_norm(theirs: str, ours: str) -> list[Entry]:
    """A batch normalisation of Keras."""
    return _norm(f"{theirs}/", ours, ("gamma", "beta", "moving_mean", "moving_variance"))


def torch_conv(theirs: str, ours: str) -> list[Entry]:
    """A two-dimensional convolution of PyTorch, with its bias."""
    return [Entry(f"{theirs}.weight", f"params/{ours}/kernel", (2, 3, 1, 0)), Entry(f"{theirs}.bias", f"params/{ours}/bias")]


def torch_linear(theirs: str, ours: str) -> list[Entry]:
    """A linear layer of PyTorch, with its bias."""
    return [Entry(f"{theirs}.weight", f"params/{ours}/kernel", (1, 0)), Entry(f"{theirs}.bias", f"params/{ours}/bias")]


def torch_norm(theirs: str, ours: str) -> list[Entry]:
    """A batch normalisation of PyTorch; its counter belongs to `Checkpoint.beside`, as `TORCH_COUNTERS`."""
    return _norm(f"{theirs}.", ours, ("weight", "bias", _TORCH_MEAN, "running_var"))


def torch_counters(kind: Checkpoint) -> list[str]:
    """The names of the counters of batches that PyTorch keeps beside running statistics, where a kind of checkpoint has them."""
    means = [entry.theirs for entry in kind.entries if entry.theirs.endswith(f".{_TORCH_MEAN}")]
    return [name.removesuffix(_TORCH_MEAN) + _TORCH_COUNTER for name in means] if TORCH_COUNTERS in kind.beside else []


def _norm(theirs: str, ours: str, names: tuple[str, ...]) -> list[Entry]:
    paths = (f"params/{ours}/scale", f"params/{ours}/bias", f"batch_stats/{ours}/mean", f"batch_stats/{ours}/var")
    return [Entry(theirs + name, path) for name, path in zip(names, paths, strict=True)]
