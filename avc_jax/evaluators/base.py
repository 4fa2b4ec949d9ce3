"""The contract of an evaluator: a protocol that asks a network something, and says what came out in numbers.

An evaluator is asked twice: about the trained network, and about the same network before its first step. What it answers
lands in results.json as `evaluate.<name>`: `{"trained": {...}, "untrained": {...}, "rows": [...], ...}`.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import ml_collections
from jax.sharding import Mesh

from avc_jax.data.quarantine import Quarantine
from avc_jax.data.sources import Source
from avc_jax.systems.base import System, Variables


@dataclasses.dataclass(frozen=True)
class Network:
    """A network to ask.

    Attributes:
      name: trained or untrained.
      variables: of the system, on the mesh.
      params_sha256: digest of its parameters.
      step: steps of training behind it.
    """

    name: str
    variables: Variables
    params_sha256: str
    step: int


@dataclasses.dataclass(frozen=True)
class Setting:
    """What there is to ask with; the same for every network.

    Attributes:
      config: checked.
      system: the network's pure functions.
      mesh: devices.
      train: the clips of config.data.split.
      heldout: the clips that evaluation scores.
      quarantine: where bad files go.
      folder: the work directory; an evaluator may leave arrays for the page there.
      say: prints a line of progress.
      pulse: to be called now and then, equally often in every process; raises Stopped when a signal came.
      wait: to be called in waits that differ between processes.
    """

    config: ml_collections.ConfigDict
    system: System
    mesh: Mesh
    train: Source
    heldout: Source
    quarantine: Quarantine
    folder: Path
    say: Callable[[str], None]
    pulse: Callable[[], None]
    wait: Callable[[], None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table on the page: a number of the trained network beside that of the untrained one.

    Attributes:
      name: what is measured, in words.
      trained: the number.
      untrained: the number of the network before its first step; None where the question does not depend on a network.
      chance: what guessing gives; None where nothing is known.
      form: share (0..1, shown as a percentage) or number.
      note: one sentence for who wonders, such as on how many clips.
      lower_is_better: for ranks and the like.
    """

    name: str
    trained: float
    untrained: float | None = None
    chance: float | None = None
    form: str = "share"
    note: str = ""
    lower_is_better: bool = False


class Evaluator(Protocol):
    """One protocol. Its module in evaluators/ has the name that config.evaluators and results.json use, and a function
    `make(setting, features)`.

    What the untrained network answered is kept with the run. An evaluator that asks with data besides the run's own clips has an
    attribute `data_sha256`, their digest: with other data the untrained network is asked again.
    """

    def missing(self) -> str | None:
        """Why this cannot be asked here (a sentence for the user: what was found, what is needed), or None."""

    def __call__(self, network: Network) -> dict[str, Any]:
        """Asks one network. Returns JSON values: the section `trained` or `untrained`; nothing about the untrained network where
        that would not mean anything."""

    def rows(self, trained: dict[str, Any], untrained: dict[str, Any] | None) -> list[Row]:
        """The lines of the table on the page."""


def no_classes(source: Source) -> str | None:
    """Why the clips of a source cannot be asked about their classes, or None."""
    found = source.classes
    if len(found) > 1:
        return None
    return (f"the held-out clips have {len(found)} label(s), expected two or more; the column label of the manifest "
            "(config.data.manifest) gives clips their labels")


def to_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Rows as JSON values."""
    return json.loads(json.dumps([dataclasses.asdict(row) for row in rows]))
