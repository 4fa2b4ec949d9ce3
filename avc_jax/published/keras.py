"""Keras' weights in HDF5, as `save_weights` and `save` of Keras 1 and 2 and `save("x.h5")` of Keras 3 write and read them."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from avc_jax import errors
from avc_jax.published.table import keras_name


def read(path: Path) -> dict[str, np.ndarray]:
    """The weights by `layer/name`, or by `model/layer/name` where a layer is itself a model, such as conv2d_3/kernel.

    Keras numbers the layers of a kind on and on while a process lives, so what a file calls conv2d_9 depends on what was built
    before. Here the first of each kind is conv2d and the next conv2d_1, anew in every model.

    Raises:
      DataError: it holds no layers, or cannot be read.
    """
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            if "layer_names" not in group.attrs:
                raise errors.DataError(f"{path} has no layer names: it is no HDF5 file of Keras, or one of Keras 3's own layout "
                                       "(.weights.h5), which keeps no names. Load it in Keras, and save the model as .h5.")
            return _read_layers(group)
    except (OSError, KeyError) as error:
        raise errors.DataError(f"{path} cannot be read as HDF5: {error}.") from error


def _read_layers(group: h5py.Group) -> dict[str, np.ndarray]:
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}  # model, "" outside -> layer -> name -> array
    for outer in _texts(group.attrs["layer_names"]):
        for name in _texts(group[outer].attrs.get("weight_names", ())):
            *_, layer, weight = f"{outer}/{name.removesuffix(':0')}".split("/")
            model = "" if layer == outer else outer
            found.setdefault(model, {}).setdefault(layer, {})[weight] = np.asarray(group[outer][name])
    arrays: dict[str, np.ndarray] = {}
    for model, layers in found.items():
        for old, new in numbered_anew(layers).items():
            arrays |= {"/".join(filter(None, (model, new, weight))): array for weight, array in layers[old].items()}
    return arrays


def numbered_anew(layers: Iterable[str]) -> dict[str, str]:
    """conv2d_8, conv2d_9, dense_2 -> conv2d, conv2d_1, dense: the number says which of its kind a layer is, counted from 0."""
    counts: dict[str, int] = {}
    new = {}
    for layer in layers:
        kind = re.sub(r"_\d+$", "", layer)
        count = counts[kind] = counts.get(kind, -1) + 1
        new[layer] = keras_name(kind, count)
    return new


def _texts(names: Iterable[str | bytes]) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes weights as `read` names them, in the order of their layers, which is what `load_weights` goes by.

    Raises:
      ConfigError: a name is not that of a layer's weight.
    """
    groups: dict[str, dict[str, np.ndarray]] = {}  # layer, or model within the model -> layer/name -> array
    for name, array in arrays.items():
        outer, *inner = name.split("/")
        if not inner:
            raise errors.ConfigError(f"{name} is no weight of a layer of Keras; HDF5 is for checkpoints of Keras alone.")
        groups.setdefault(outer, {})["/".join(inner) if len(inner) > 1 else name] = array
    with h5py.File(path, "w") as file:
        # Without a version it is taken for a file of Keras 1, whose kernels are turned over.
        file.attrs.update(keras_version="2.0.0", backend="tensorflow", layer_names=[outer.encode() for outer in groups])
        for outer, weights in groups.items():
            group = file.create_group(outer)
            names = sorted(weights, key=lambda name: "/moving_" in name)  # a model within a model lists what is trained first
            group.attrs["weight_names"] = [f"{name}:0".encode() for name in names]
            for name in names:
                group[f"{name}:0"] = weights[name]
