"""What a network makes of clips and of labelled sounds: computed over all devices once, and kept for whoever asks."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from avc_jax import config as configs
from avc_jax import errors
from avc_jax.data.feed import Feed
from avc_jax.data.moments import evaluation_format
from avc_jax.data.pipeline import read_in_parallel
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.reading import Batch, Rows, Shapes, empty
from avc_jax.data.sources import Source
from avc_jax.evaluators import arrays
from avc_jax.evaluators.base import Network, Setting
from avc_jax.evaluators.labelled_sounds import LabelledSound
from avc_jax.parallel import mesh as meshes
from avc_jax.systems.base import Feature, System
from avc_jax.train.state import params_sha256

Arrays = dict[str, np.ndarray]

_CLIP = ((), np.int32)  # Shape and dtype of `clip`, which says where a row is from.
_SAY_EVERY_S = 10


class Table(NamedTuple):
    """Features of the good clips of a source.

    Attributes:
      clip: int32[n], places in the source, ascending.
      values: modality (video, audio) -> f32[n, D]; a row of NaN where a clip lacks it, or a part of it ("audio+video").
    """

    clip: np.ndarray
    values: Arrays

    @property
    def complete(self) -> np.ndarray:
        """bool[n]: which clips lack nothing."""
        return ~np.any([missing_rows(rows) for rows in self.values.values()], axis=0)

    def take(self, rows: np.ndarray) -> "Table":
        """Some of them: bool[n], or int[m] places."""
        return Table(self.clip[rows], {modality: value[rows] for modality, value in self.values.items()})


class Features:
    """Extracts features, once for each network and question; what it returns is shared, and cannot be written to.

    Frames and sounds stream through: only what the network makes of them is held in memory, and kept in files of
    setting.folder/features, whose names say of which parameters they are.
    """

    def __init__(self, setting: Setting):
        """
        Raises:
          ConfigError: the evaluation's batch does not fit the devices.
        """
        config = setting.config
        self._setting, self._form = setting, evaluation_format(config)
        self._folder = setting.folder / "features"
        self._batch_size = config.evaluate.batch_size or config.train.batch_size
        meshes.check_batch_size("config.evaluate.batch_size", self._batch_size, 1, setting.mesh)
        self._functions: dict[str, Callable] = {}
        self._memory: dict[str, Arrays] = {}

    def clips(self, network: Network, source: Source, kind: str) -> Table:
        """Features of every good clip of a source as evaluation sees it; of a video the frame at its middle, cropped at the
        centre, and the sound around it.

        Args:
          network: whose.
          source: the clips.
          kind: embed or transfer, see `System`.
        """
        name = self._name(network, kind, str(source.root), source.sha256(), source.stored_side)
        found = self._once(name, lambda: self._at_centres(network, source, np.arange(len(source.clips)), kind))
        return Table(found["clip"], {modality: value for modality, value in found.items() if modality != "clip"})

    def labelled(self, network: Network, source: Source, kind: str) -> tuple[Table, np.ndarray]:
        """As `clips`, those that have a label and lack nothing, and str[n] their labels."""
        table = self.clips(network, source, kind)
        labels = np.array([source.clips[place].label for place in table.clip], str)
        known = (labels != "") & table.complete
        return table.take(known), labels[known]

    def sounds(self, network: Network, sounds: Sequence[LabelledSound], subclips: int) -> np.ndarray:
        """f32[n, subclips, D]: transfer features of equally spaced sounds of config.data.window_s, from the first to the last
        (arXiv:1705.08168, section 4.1).

        What is shorter than one of them is followed by silence. Files that cannot be decoded go into a ledger of their own,
        features/quarantine.jsonl, and their features are NaN.

        Raises:
          DataError: too many files cannot be decoded.
        """
        name = self._name(network, "transfer", subclips, [sound.identity() for sound in sounds])
        return self._once(name, lambda: self._of_sounds(network, sounds, subclips))["audio"]

    def maps(self, network: Network, source: Source, clips: np.ndarray) -> Arrays:
        """modality -> f32[n, H, W, C]: activation maps at the middle of int64[n] clips, NaN where one is bad; not kept."""
        found = self._at_centres(network, source, np.asarray(clips, np.int64), "maps")
        place = {int(clip): row for row, clip in enumerate(found.pop("clip"))}
        rows = np.array([place.get(int(clip), -1) for clip in clips], np.int64)
        return {modality: _scatter(value[rows[rows >= 0]], rows >= 0) for modality, value in found.items()}

    def tidy(self, *networks: Network) -> None:
        """Empties the memory, and removes the files of all networks but these."""
        self._memory.clear()
        kept = tuple(network.params_sha256[:16] for network in networks)
        if jax.process_index() == 0:
            for path in self._folder.glob("*.npz"):
                if not path.name.startswith(kept):
                    path.unlink(missing_ok=True)

    # What is kept ---------------------------------------------------------------------------------------------------------

    def _name(self, network: Network, kind: str, *asked: Any) -> str:
        """Of the file that keeps an answer: the parameters, and a digest of whatever else the answer depends on."""
        tree = configs.to_dict(self._setting.config)
        rest = {name: value for name, value in network.variables.items() if name != "params"}
        parts = [kind, asked, tree["system"], tree["audio"], tree["train"]["precision"], vars(self._form), params_sha256(rest)]
        return f"{network.params_sha256[:16]}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}.npz"

    def _once(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """An answer from memory, from its file, or computed and kept in both. All processes take the same turn."""
        if name not in self._memory:
            path = self._folder / name
            found = arrays.read(path, self._setting.say)
            if not _everywhere(found is not None):
                found = compute()
                if jax.process_index() == 0:
                    arrays.write(path, found)
            assert found is not None
            for value in found.values():
                value.setflags(write=False)
            self._memory[name] = found
        return self._memory[name]

    # What is computed -----------------------------------------------------------------------------------------------------

    def _at_centres(self, network: Network, source: Source, clips: np.ndarray, kind: str) -> Arrays:
        """`kind` at the middle of int64[n] clips, as modality -> values, and clip -> int32[m] those that are good, ascending."""
        plan = Plan(max(1, len(source.clips)), seed=0, batch_size=1)
        system = self._setting.system
        reader = source.reader(plan, self._form, self._setting.quarantine, system.features)
        shapes = {name: reader.shapes[name] for name in (*inputs(system), "clip")}
        return self._extract(network, kind, lambda number: reader.whole(int(clips[number])), len(clips), shapes)

    def _of_sounds(self, network: Network, sounds: Sequence[LabelledSound], subclips: int) -> Arrays:
        ledger = self._folder / "quarantine.jsonl" if jax.process_index() == 0 else None
        if ledger:
            ledger.parent.mkdir(parents=True, exist_ok=True)
            ledger.unlink(missing_ok=True)  # of the time before; a file may be whole again
        quarantine = Quarantine(ledger, len(sounds), self._setting.config.data.quarantine_budget)

        lengths = ("waveform_length",) if "waveform_length" in self._setting.system.features else ()
        shapes = {"waveform": ((self._form.samples,), np.int16), **dict.fromkeys((*lengths, "clip"), _CLIP)}

        def read(number: int) -> Batch:
            try:
                sound = sounds[number].read(self._form.rate_hz)
            except errors.BadMedia as error:
                quarantine.add(str(sounds[number].path), error)
                return empty(shapes)
            numbers = {"waveform_length": min(len(sound), self._form.samples), "clip": number}
            return {"waveform": spread(sound, self._form.samples, subclips),
                    **{name: np.full(subclips, value, np.int32) for name, value in numbers.items()}}

        found = self._extract(network, "transfer", read, len(sounds), shapes, rows=subclips)
        good = np.isin(np.arange(len(sounds)), found["clip"])
        return {"audio": _scatter(found["audio"].reshape(int(good.sum()), subclips, -1), good)}

    def _extract(self, network: Network, kind: str, read: Callable[[int], Rows], count: int, shapes: Shapes, *,
                 rows: int = 1) -> Arrays:
        """Runs the network over read(0), ..., read(count - 1), each of which gives at most `rows` rows of some fields.

        Every process reads its share, and runs as many steps as the one with most rows could need.
        """
        setting, processes = self._setting, jax.process_count()
        own = np.arange(count)[jax.process_index() :: processes]
        stream = read_in_parallel(lambda number: read(int(own[number])), len(own), shapes,
                                  threads=setting.config.data.decode_threads, ahead=math.ceil(self._batch_size / rows))
        size = self._batch_size // processes
        steps = max(1, math.ceil(math.ceil(count / processes) * rows / size))  # one at least, which tells the widths
        feed = Feed(_batches(stream, shapes, size, steps), meshes.batch_sharding(setting.mesh),
                    on_wait=setting.wait)
        function, parts, shown = self._function(kind), [], time.monotonic()
        try:
            for number, batch in enumerate(feed, start=1):
                setting.pulse()
                parts.append(jax.device_get(function(network.variables, batch)))
                if time.monotonic() - shown > _SAY_EVERY_S:
                    shown = time.monotonic()
                    setting.say(f"  features of the {network.name} network: {100 * number // steps}%")
        finally:
            feed.close()
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.argsort(whole["clip"], kind="stable")
        order = order[whole["clip"][order] >= 0]
        return {name: value[order] for name, value in whole.items()}

    def _function(self, kind: str) -> Callable:
        """The jitted (variables, batch) -> modality -> values, and the batch's clip beside them; whole on every process."""
        if kind not in self._functions:
            answer, features = getattr(self._setting.system, kind), self._setting.system.features

            def function(variables, batch):
                inputs = {name: value for name, value in batch.items() if name != "clip"}
                found = answer(variables, inputs)
                return (found if kind == "maps" else _blanked(found, inputs, features)) | {"clip": batch["clip"]}

            self._functions[kind] = jax.jit(function, out_shardings=meshes.replicated(self._setting.mesh))
        return self._functions[kind]


def inputs(system: System) -> tuple[str, ...]:
    """The fields that a system's answers for its modalities are made from, with their lengths."""
    return tuple(name for name, feature in system.features.items() if feature.modality or name.endswith("_length"))


def missing_rows(rows: np.ndarray) -> np.ndarray:
    """bool[n]: which of f32[n, D] say that a clip lacks them."""
    return np.isnan(rows).all(axis=1)


def _blanked(found: Mapping[str, jax.Array], batch: Mapping[str, jax.Array],
             features: Mapping[str, Feature]) -> dict[str, jax.Array]:
    """f32[B, D] of each modality, NaN where the length of its input is 0."""
    lacks = {features[name].modality: batch[f"{name}_length"] == 0 for name in features if f"{name}_length" in batch}

    def blank(modality: str, rows: jax.Array) -> jax.Array:
        for part in modality.split("+"):
            rows = jnp.where(lacks[part][:, None], jnp.nan, rows) if part in lacks else rows
        return rows

    return {modality: blank(modality, rows) for modality, rows in found.items()}


def spread(sound: np.ndarray, samples: int, count: int) -> np.ndarray:
    """int16[count, samples]: equally spaced windows of int16[n], the first at its start and the last at its end.

    What is shorter than a window is followed by silence.
    """
    sound = np.pad(sound, (0, max(0, samples - len(sound))))
    starts = np.rint(np.linspace(0, len(sound) - samples, count)).astype(int)
    return np.stack([sound[start : start + samples] for start in starts])


def _batches(stream: Iterator[Batch], shapes: Shapes, size: int, steps: int) -> Iterator[Batch]:
    """Deals the rows of a stream out to `steps` batches of `size` rows; zeros follow the last, with clip -1."""
    left = empty(shapes)
    for _ in range(steps):
        parts, count = [left], len(left["clip"])
        while count < size and (part := next(stream, None)) is not None:
            parts.append(part)
            count += len(part["clip"])
        whole = {name: np.concatenate([part[name] for part in parts]) for name in shapes}
        left = {name: value[size:] for name, value in whole.items()}
        padding = max(0, size - count)
        yield {name: np.pad(value[:size], [(0, padding)] + [(0, 0)] * (value.ndim - 1),
                            constant_values=-1 if name == "clip" else 0) for name, value in whole.items()}


def _scatter(rows: np.ndarray, good: np.ndarray) -> np.ndarray:
    """f32[n, ...]: the rows in the places that bool[n] says, NaN in the others."""
    whole = np.full((len(good), *rows.shape[1:]), np.nan, np.float32)
    whole[good] = rows
    return whole


def _everywhere(here: bool) -> bool:
    """Whether something is so in every process."""
    return bool(np.all(multihost_utils.process_allgather(np.array(here))))
