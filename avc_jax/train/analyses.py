"""Asks the evaluators what the network of a run has learned, beside what it knew before its first step."""

import functools
import hashlib
import json
import numbers
import time
from collections.abc import Callable, Mapping
from typing import Any

from avc_jax import __version__, evaluators
from avc_jax import config as configs
from avc_jax.evaluators import base
from avc_jax.evaluators.features import Features
from avc_jax.train import state as states
from avc_jax.train.run import Run
from avc_jax.train.state import State

# What cannot change the answers of a network that is given.
_OTHER_SECTIONS = ("train", "optimizer", "augment", "mesh", "processes", "evaluators")


class Analyses:
    """The evaluators of a run besides `avc`, which has a place of its own there, and what the untrained network answered."""

    def __init__(self, run: Run):
        """
        Raises:
          AvcError: what the config names for an evaluator is not there.
        """
        self._run = run
        self._setting = base.Setting(
            config=run.config, system=run.system, mesh=run.mesh, train=run.trained_on, heldout=run.heldout,
            quarantine=run.quarantine, folder=run.workdir.path, say=run.progress.say, pulse=run.guard.raise_if_stopped,
            wait=run.guard.raise_while_waiting)
        self._features = Features(self._setting)
        self._evaluators = evaluators.make(self._setting, self._features)
        self._skipped: set[str] = set()
        # Read once: who asks later must find the same in every process.
        self._before: dict[str, Any] = run.workdir.read("results.json").get("evaluate", {})
        self._untrained: dict[str, dict[str, Any]] = {}

    def announce(self) -> None:
        """Says, before any training, which evaluators will have nothing to ask, and why."""
        for name in self._evaluators:
            self._is_missing(name)

    def _is_missing(self, name: str) -> bool:
        reason = self._evaluators[name].missing()
        if reason and name not in self._skipped:
            self._skipped.add(name)
            self._run.progress.say(f"No {name}: {reason}. config.evaluators.{name}=off turns it off.")
        return bool(reason)

    def ask(self, state: State, writer=None, *, last: bool) -> None:
        """Asks whichever evaluators are due about a state, and writes metrics and results.json.

        Args:
          state: what to ask about; averaged parameters where there are any.
          writer: of metrics; None writes none.
          last: whether this is the end of a run, or --mode=evaluate.

        Raises:
          Stopped: a signal came; earlier results and all features that are complete stand.
        """
        due = [name for name in self._evaluators if last or self._run.config.evaluators[name] == "every"]
        asked = [name for name in due if not self._is_missing(name)]
        if last:
            for name in due:
                if name not in asked and name not in self._before:
                    self._run.workdir.update_evaluation(name, {"note": f"Not asked: {self._evaluators[name].missing()}."})
        due = asked
        if not due:
            return
        trained = network("trained", state)
        for name in due:
            self._ask(name, trained, writer)
            self._run.guard.raise_if_stopped()
        self._features.tidy(trained, self.untrained)

    def _ask(self, name: str, trained: base.Network, writer) -> None:
        evaluator, began = self._evaluators[name], time.monotonic()
        answer = evaluator(trained)
        kept = self.about_untrained(name, evaluator, getattr(evaluator, "data_sha256", ""))
        rows = evaluator.rows(answer, kept["untrained"])
        self._run.progress.say(f"{name} at step {trained.step}, {time.monotonic() - began:.0f} s:")
        for row in rows:
            self._run.progress.say(f"  {in_words(row)}")
        if not self._run.is_first:
            return
        if writer is not None:
            writer.write_scalars(trained.step, {f"evaluate/{name}/{key}": value for key, value in scalars(answer).items()})
            writer.flush()
        self._run.workdir.update_evaluation(name, {"trained": answer, **kept, "rows": base.to_json(rows), "step": trained.step,
                                                   "params_sha256": trained.params_sha256})

    @functools.cached_property
    def untrained(self) -> base.Network:
        """The network before its first step."""
        return network("untrained", self._run.initial_state())

    def about_untrained(self, name: str, ask: Callable[[base.Network], dict[str, Any]], data_sha256: str = "") -> dict[str, Any]:
        """`untrained`: the answer about the untrained network, None if that is empty; `asked`: a digest of the whole question.

        It is asked once, unless something changes that the answer depends on.
        """
        config = configs.to_dict(self._run.config)
        question = [__version__, name, self.untrained.params_sha256, data_sha256, config["train"]["precision"],
                    self._run.heldout.sha256(), self._run.trained_on.sha256(),
                    {section: keys for section, keys in config.items() if section not in _OTHER_SECTIONS}]
        asked = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        for kept in (self._untrained, self._before):
            if kept.get(name, {}).get("asked") == asked:
                return {key: kept[name][key] for key in ("untrained", "asked")}
        self._untrained[name] = {"untrained": ask(self.untrained) or None, "asked": asked}
        return self._untrained[name]


def network(name: str, state: State) -> base.Network:
    """A state as a network to ask."""
    variables = states.inference_variables(state)
    return base.Network(name, variables, states.params_sha256(variables["params"]), int(state.step))


def in_words(row: base.Row) -> str:
    """A line of progress: what, how much, and how much without training and by guessing."""
    def number(value: float) -> str:
        return f"{100 * value:.1f}%" if row.form == "share" else f"{value:.3g}"

    beside = [f"{words} {number(value)}" for words, value in (("untrained", row.untrained), ("chance", row.chance))
              if value is not None]
    return f"{row.name}: {number(row.trained)}" + (f" ({', '.join(beside)})" if beside else "")


def scalars(answer: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an answer, and those one level below as `group/name`."""
    flat = dict(answer)
    for group, values in answer.items():
        if isinstance(values, Mapping):
            flat |= {f"{group}/{name}": value for name, value in values.items()}
    return {name: float(value) for name, value in flat.items() if isinstance(value, numbers.Real) and not isinstance(value, bool)}
