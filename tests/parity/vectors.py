"""Reads golden vectors: what published implementations gave for seeded weights and seeded inputs (vectors/README.md says how)."""

import json
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

_LAST_FRACTION = 1000003  # the stride of the samples


class Vectors:
    """One file.

    Attributes:
      meta: what the file says of itself.
    """

    def __init__(self, path: Path):
        self._arrays = np.load(path)
        self.meta = json.loads(str(self._arrays["meta"]))

    def __getitem__(self, key: str) -> np.ndarray:
        return self._arrays[key]

    def input(self, name: str) -> np.ndarray:
        """An input, made anew from its seed and compared with its checksum."""
        asked = self.meta["inputs"][name]
        if asked["kind"] == "stored":
            return self[f"in/{name}"]
        if asked["kind"] == "value" and isinstance(asked["value"], list):
            return np.array(asked["value"])
        if asked["kind"] == "value":
            asked = asked["value"]
            made = _tones(asked)
        else:
            made = _normals(f"{asked['seed']}:input:{name}", asked["shape"])
            made = np.float32(asked["scale"]) * made + np.float32(asked["shift"])
            made = _after(made, asked.get("post", ""))
        _check(name, made, asked["check"])
        return made

    def weights(self, model: str = "net") -> dict[str, np.ndarray]:
        """The arrays of a network under their published names, each compared with its checksum."""
        about = self.meta["models"][model]
        found, constants = {}, about.get("overrides", {})
        for (name, shape, dtype), check in zip(about["entries"], self[f"check/{model}"], strict=True):
            found[name] = np.full(shape, constants[name], dtype) if name in constants else _fill(about, name, tuple(shape))
            _check(name, found[name], check)
        return found

    def check(self, name: str, found: np.ndarray, atol: float = 0.0) -> None:
        """Compares an output with what the published implementation gave, to 1e-4 of its peak or to ten times its own rounding.

        Args:
          name: of the output.
          found: ours, in the same layout.
          atol: an absolute difference that is allowed in any case, for decibels.
        """
        found = np.asarray(found)
        assert list(found.shape) == self.meta["outputs"][name]["shape"], name
        if f"out/{name}" in self._arrays:
            self._close(f"out/{name}", found, atol)
            return
        flat = found.reshape(-1)
        self._close(f"out/{name}#sample", flat[np.arange(2048) * _LAST_FRACTION % flat.size], atol)
        wide = flat.astype(np.float64)
        wanted, magnitudes = self[f"out/{name}#stats"], np.abs(wide).sum()
        assert abs(wide.sum() - wanted[0]) <= max(1e-4, 10 * self._rounding(f"out/{name}#stats")) * magnitudes, name
        allowed = max(1e-4, 10 * self._rounding(f"out/{name}#stats")) * np.abs(wanted[3:]).max()
        np.testing.assert_allclose([wide.min(), wide.max()], wanted[3:], rtol=0, atol=max(allowed, atol), err_msg=name)

    def check_gradients(self, model: str, found: dict[str, np.ndarray], elements: float = 0.05, norms: float = 1e-2,
                        steady: Callable[[str], bool] = lambda name: False) -> None:
        """Compares gradients, name -> array in the published layout: the norm of each, and elements of some.

        Args:
          model: whose they are.
          found: ours.
          elements, norms: how far an element may be off, as a share of the largest, and a norm. Units of ReLU and pools that
            rounding flips move elements by some percent, and norms by less than a hundredth (vectors/README.md, section 3).
          steady: which names have no such unit above them; their norms are compared to 1e-4.
        """
        names = self.meta["models"][model]["grad_names"]
        own = {name: np.linalg.norm(found[name].astype(np.float64)) for name in names}
        share = np.array([1e-4 if steady(name) else norms for name in names])
        self.check_norms(f"grad/{model}#norms", names, own, share)
        for key in self._arrays.files:
            if key.startswith(f"grad/{model}:"):
                flat = found[key.partition(":")[2]].reshape(-1)
                wanted = self[key]
                sample = flat[np.arange(len(wanted)) * _LAST_FRACTION % flat.size]
                np.testing.assert_allclose(sample, wanted, rtol=0, atol=elements * np.abs(wanted).max(), err_msg=key)

    def check_statistics(self, model: str, found: dict[str, np.ndarray]) -> None:
        """Compares running statistics after one forward pass in training mode: name -> array."""
        names = [name for name in self.meta["models"][model]["bn_names"] if not name.endswith("num_batches_tracked")]
        wide = {name: found[name].astype(np.float64) for name in names}
        self.check_norms(f"bn/{model}#sums", names, {name: [array.sum(), (array**2).sum()] for name, array in wide.items()})

    def _close(self, key: str, found: np.ndarray, atol: float) -> None:
        wanted = self[key]
        allowed = max(max(1e-4, 10 * self._rounding(key)) * np.abs(wanted).max(), atol)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=allowed, err_msg=key)

    def _rounding(self, key: str) -> float:
        return (self.meta.get("rounding") or {}).get(key, 0.0)

    def check_norms(self, key: str, names: list[str], found: dict[str, np.ndarray], share: float | np.ndarray = 1e-4) -> None:
        """Compares numbers per array, L2 norms f[n] or sums f[n, 2], to `share` of each (at least of 1e-3 of the largest); it may
        be another one for each array, f[n].

        Where theirs is NaN, the loss does not reach the array: ours has to be 0.
        """
        wanted = self[key]
        ours = np.array([found[name] for name in names])
        assert (ours[np.isnan(wanted)] == 0).all(), key
        wanted = np.where(np.isnan(wanted), 0.0, wanted)
        least = 1e-3 * np.nanmax(np.abs(wanted), axis=0)
        allowed = np.maximum(share, 10 * self._rounding(key)) * np.maximum(np.abs(wanted), least)
        worst = np.nanargmax(np.abs(ours - wanted) / allowed)
        assert (np.abs(ours - wanted) <= allowed).all(), f"{key}: {names[worst // wanted[0].size]}"


def _normals(text: str, shape) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(text.encode())))
    return generator.standard_normal(tuple(shape), dtype=np.float32)


def _fill(about: dict, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The rule that gives an entry its values; a name is Keras' path/of/it or PyTorch's path.of.it."""
    noise, last = _normals(f"{about['seed']}:{name}", shape), name.replace("/", ".").rsplit(".", 1)[-1]
    usual = {
        "num_batches_tracked": lambda: np.zeros(shape, np.int64),
        **dict.fromkeys(("running_mean", "moving_mean"), lambda: np.float32(0.1) * noise),
        **dict.fromkeys(("running_var", "moving_variance", "_ema_cluster_size"),
                        lambda: np.float32(1) + np.float32(0.1) * abs(noise)),
        **dict.fromkeys(("bias", "beta"), lambda: np.float32(0.01) * noise),
        "_ema_w": lambda: abs(noise),
    }
    if last in usual:
        return usual[last]()
    if name.endswith("_embedding.weight"):
        return abs(noise)
    if len(shape) <= 1:
        return np.float32(1) + np.float32(0.1) * noise
    gain, inputs = about["g_conv"] if len(shape) > 2 else about["g_lin"], shape[:-1] if last == "kernel" else shape[1:]
    return np.float32(gain / math.sqrt(math.prod(inputs))) * noise


def _tones(asked: dict) -> np.ndarray:
    """f32[n]: partials whose loudness sways, and noise."""
    t = np.arange(asked["n"]) / asked["sr"]
    sound = sum(asked["amp"] / (k + 1) * np.sin(2 * np.pi * f * t + 0.7 * k) * (1 + 0.5 * np.sin(2 * np.pi * (0.9 + 0.4 * k) * t))
                for k, f in enumerate(asked["freqs"]))
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"{asked['seed']}:input:{asked['name']}".encode())))
    return (sound + asked["noise"] * generator.standard_normal(asked["n"])).astype(np.float32)


# "Zero from lengths[b] on along an axis", as the files of different systems say it.
_CUT = re.compile(r"(?:x\[b\] zero at index >= |rows >= |x\[b, :, n:\] = 0 for n = )"
                  r"(\[[\d, ]+\])\[b\](?: zero)?(?: along axis (\d))?")


def _after(made: np.ndarray, text: str) -> np.ndarray:
    cut = _CUT.fullmatch(text)
    if cut:
        axis = int(cut[2]) if cut[2] else 2 if text.startswith("x[b, :, n:]") else 1
        place = np.arange(made.shape[axis]).reshape(-1, *[1] * (made.ndim - axis - 1))
        lengths = np.array(json.loads(cut[1])).reshape(-1, *[1] * (made.ndim - 1))
        return np.where(place < lengths, made, np.float32(0))
    if text == "clipped to [-80, 0]":
        return made.clip(-80, 0)
    if text == "row b multiplied by 1 + b":
        return made * (1 + np.arange(len(made), dtype=np.float32)).reshape(-1, *[1] * (made.ndim - 1))
    if text.endswith("added to the diagonal"):
        return made + np.float32(text.split()[0]) * np.eye(len(made), dtype=np.float32)
    assert not text, text
    return made


def _check(name: str, made: np.ndarray, wanted) -> None:
    wide = made.astype(np.float64)
    np.testing.assert_allclose([wide.sum(), (wide**2).sum()], wanted, rtol=1e-5, atol=1e-5 * np.abs(wide).sum(), err_msg=name)
