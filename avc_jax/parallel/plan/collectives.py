"""The communication of a compiled program, read from its text: which collectives, how large, among whom, how often, what for."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from avc_jax.train import patterns
from avc_jax.train.state import State

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|ragged-all-to-all|collective-permute|collective-broadcast"
_COLLECTIVE = re.compile(rf" = (.*?) ({_KINDS})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_CALLED = re.compile(r"\b(?:body|condition|calls|to_apply|\w+_computations?)=(\{[^}]*\}|%?[\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{} ]*\})\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")


class Collective(NamedTuple):
    """One collective operation of a program.

    Attributes:
      kind: as XLA names it, such as all-reduce.
      shapes: of the arrays as a device has them at the larger end: what all-gather gives, what reduce-scatter takes.
      size: bytes of these.
      group: devices that take part together.
      islands: slices or nodes that they lie on.
      times: how often a step runs it; more than once within a loop.
      sources: what each array was made of, as JAX names operations; of several that XLA joined, it may know one only.
    """

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    size: int
    group: int
    islands: int
    times: int
    sources: tuple[str, ...]


def read(text: str, devices: int, island_of: Callable[[np.ndarray], np.ndarray]) -> list[Collective]:
    """The collectives of a compiled program, in the order of its text.

    Args:
      text: `compiled.as_text()`.
      devices: partitions of the program.
      island_of: int[n] partitions -> int[n] the slice or node of each.
    """
    times = _times(text)
    return [_collective(line, match, times[computation], devices, island_of) for computation, line in _lines(text)
            if (match := _COLLECTIVE.search(line)) and times[computation]]


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """(computation, line) of each instruction."""
    computation = ""
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            computation = head[2]
        elif line.startswith(" "):
            yield computation, line


def _times(text: str) -> dict[str, int]:
    """Computation -> how often it is run: bodies of loops as often as XLA says, where it knows."""
    callers: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for computation, line in _lines(text):
        trips = _TRIPS.search(line)
        for called in _CALLED.findall(line):
            for name in called.strip("{}").split(","):
                callers[name.strip().lstrip("%")].append((computation, int(trips[1]) if trips else 1))
    entry = next(match[2] for match in map(_HEAD.match, text.splitlines()) if match and match[1])
    times: dict[str, int] = defaultdict(int, {entry: 1})

    def count(name: str) -> int:
        if name not in times:
            times[name] = sum(count(caller) * trips for caller, trips in callers[name])
        return times[name]

    for name in list(callers):
        count(name)
    return times


def _collective(line: str, match: re.Match, times: int, devices: int, island_of) -> Collective:
    kind, started = match[2], bool(match[3])
    arrays = [(tuple(int(side) for side in sides.split(",") if side), int(bits or 8) / 8)
              for _, bits, sides in _ARRAY.findall(match[1])]
    # Some that are started give their operands again, before the results; a permutation two counters after them.
    if started and kind == "collective-permute":
        arrays = arrays[1:2]
    elif started and kind != "all-reduce":
        arrays = arrays[len(arrays) // 2:]
    groups = _groups(line, devices)
    if kind == "reduce-scatter":
        arrays = [((groups.shape[1], *shape), width) for shape, width in arrays]
    size = sum(int(np.prod(shape)) * width for shape, width in arrays)
    islands = max(len(set(row)) for row in island_of(groups).tolist())
    return Collective(kind, tuple(shape for shape, _ in arrays), int(size), groups.shape[1], islands, times,
                      _sources(line, len(arrays)))


def _sources(line: str, arrays: int) -> tuple[str, ...]:
    """What each of several arrays was made of: names that XLA joined with colons, or the one that it kept."""
    found = re.search(r'op_name="([^"]*)"', line)
    name = found[1] if found else ""
    parts = name.split(":")
    return tuple(parts) if len(parts) == arrays else (name,) * arrays


def _groups(line: str, devices: int) -> np.ndarray:
    """int[groups, members], partitions that take part together."""
    if listed := _LISTED.search(line):
        rows = [[int(number) for number in row.split(",")] for row in re.findall(r"\{([\d, ]+)\}", listed[1])]
        return np.asarray(rows)
    if iota := _IOTA.search(line):
        shape, dims, order = ([int(number) for number in part.split(",")] if part else None for part in iota.groups())
        return np.arange(devices).reshape(dims).transpose(order).reshape(shape)
    return np.arange(devices)[None]


class Purposes:
    """Tells what the collectives of a training step are for."""

    def __init__(self, template: State):
        """
        Args:
          template: shapes of the state.
        """
        self._parameters = {_key(part) for leaf in jax.tree.leaves(template.params)
                            for part in (leaf.shape, leaf.sharding.shard_shape(leaf.shape))}
        # A statistic `vision/block1/norm1/mean` belongs to a layer whose operations are named after it.
        self._layers = {name.rpartition("/")[0] for name in patterns.names(template.collections)}
        self._layers = {layer.partition("/")[2] for layer in self._layers} - {""}

    def of(self, collective: Collective) -> dict[str, int]:
        """Purpose -> bytes of one run. Purposes: gradients, parameters (gathered where they are split), statistics (of
        normalisation, and their gradients), metrics (single numbers), activations (all else)."""
        found: dict[str, int] = defaultdict(int)
        elements = sum(int(np.prod(shape)) for shape in collective.shapes)
        for shape, source in zip(collective.shapes, collective.sources, strict=True):
            purpose = self._purpose(collective.kind, shape, source)
            found[purpose] += round(collective.size * int(np.prod(shape)) / max(1, elements))
        return dict(found)

    def _purpose(self, kind: str, shape: tuple[int, ...], source: str) -> str:
        known, backward = _key(shape) in self._parameters, "transpose(" in source
        if int(np.prod(shape)) == 1:
            return "metrics"
        if any(f"/{layer}/" in source for layer in self._layers) and not (known and backward):
            return "statistics"
        if known:
            return "parameters" if kind == "all-gather" else "gradients"
        return "activations"


def _key(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What of a shape a compiler leaves as it is: it may move axes, and add or drop those of one element."""
    return tuple(sorted(side for side in shape if side > 1))
