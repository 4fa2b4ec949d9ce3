"""Where a run starts: from variables that its system draws, or from a checkpoint of another run or a model folder.

What was loaded is kept in the run's own folder, `initial/`, and noted in results.json: resuming and evaluating need the
checkpoint no more, and evaluators ask the same first network every time.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from avc_jax import config as configs
from avc_jax import errors, model, systems
from avc_jax.systems import base
from avc_jax.systems.base import Variables
from avc_jax.train import patterns
from avc_jax.train import state as states
from avc_jax.train.checkpoint import Checkpoints
from avc_jax.train.state import State

_FLAG = "--config.train.init_from"
_RULES = (optax.ScaleByAdamState, optax.TraceState)
_KIN = ("name", "variant")  # keys of the section system that say which network it is
_EVERYTHING = ("*",)
_SHOWN = 10  # names of each kind in an error


@dataclasses.dataclass(frozen=True)
class Origin:
    """A network to start from.

    Attributes:
      path: as the user named it.
      config: what it was trained with.
      step: steps of training behind it; 0 where nobody knows.
      variables: its variables on one device.
      opt_state: its optimizer's state; None for a model folder, or where a fresh one is asked for.
      missing_modalities: halves that it does not have, as converted checkpoints of one trunk.
    """

    path: str
    config: Any
    step: int
    variables: Variables
    opt_state: Any = None
    missing_modalities: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Fit:
    """What became of the variables of a network, by name.

    Attributes:
      loaded: taken from the checkpoint.
      new: started anew, as the config says, or as the checkpoint lacks a half.
      missing: to be loaded, but the checkpoint has none.
      unexpected: the checkpoint has them, this network does not.
      other_shape: name -> (shape in the checkpoint, shape here).
    """

    loaded: list[str]
    new: list[str]
    missing: list[str]
    unexpected: list[str]
    other_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def problems(self) -> list[str]:
        """What did not fit, a line for each kind."""
        shapes = [f"{name} (checkpoint {list(then)}, here {list(now)})" for name, (then, now) in self.other_shape.items()]
        kinds = (("missing in the checkpoint", self.missing), ("in the checkpoint alone", self.unexpected),
                 ("of another shape", shapes))
        return [f"{len(found)} {kind}: {', '.join(found[:_SHOWN])}" + (", ..." if len(found) > _SHOWN else "")
                for kind, found in kinds if found]


def check_patterns(config, variables: Variables) -> None:
    """Raises ConfigError where a pattern of config.init means no variable of the network.

    Args:
      config: checked.
      variables: arrays or their shapes, before the first step.
    """
    keys = ("freeze", "load", "reinit") if config.train.init_from else ("freeze",)
    for key in keys:
        patterns.check(f"config.init.{key}", patterns.split(config.init[key]), sorted(_names(variables)))


def read_origin(config) -> Origin:
    """What config.train.init_from names.

    Raises:
      MissingInputError: there is no such thing.
      ConfigError: it cannot be read, or its optimizer's state is asked for and it has none.
    """
    path, folder = config.train.init_from, Path(config.train.init_from).absolute()
    if config.init.optimizer == "fresh":
        net = model.load(path, flag=_FLAG)
        return Origin(path, net.config, net.step, net.variables, missing_modalities=net.missing_modalities)
    if not (folder / "config.json").is_file():
        raise errors.ConfigError(f"config.init.optimizer: found 'kept', but {_FLAG}={path} is not the workdir of a run, and only "
                                 "those keep what the optimizer remembers; use 'fresh'.")
    source, _, state = model.load_state(folder, _FLAG)
    return Origin(path, source, int(state.step), {"params": state.params, **state.collections}, state.opt_state)


def fit(config, variables: Variables, origin: Origin) -> tuple[dict[str, Any], Fit]:
    """Variables of this network, with the values of the checkpoint where the config says so.

    Args:
      config: of this run.
      variables: as this system draws them; a schedule among them stays so.
      origin: the checkpoint.

    Raises:
      ConfigError: it is of another system or variant, or not every tensor matches, and config.init.allow_partial is off.
    """
    _check_kin(config, origin)
    load, anew = patterns.split(config.init.load), patterns.split(config.init.reinit)
    # Of a checkpoint of one half all that there is, is that half; by name, what it lacks is asked for in vain.
    lacking = _lacking(config, origin) if origin.missing_modalities and load == _EVERYTHING else set()

    def wanted(name: str) -> bool:
        return patterns.matches(load, name) and not patterns.matches(anew, name) and name not in lacking

    there, here = _but_the_schedule(origin.variables), _but_the_schedule(variables)
    found: dict[tuple[str, str], Any] = {(collection, name): leaf for collection, tree in there.items()
                                         for name, leaf in _leaves(tree) if wanted(name)}
    result = Fit([], [], [], [], {})

    def choose(collection: str, path, leaf):
        name = patterns.name_of(path)
        if not wanted(name):
            result.new.append(name)
            return leaf
        other = found.pop((collection, name), None)
        if other is None:
            result.missing.append(name)
            return leaf
        if other.shape != leaf.shape:
            result.other_shape[name] = (tuple(other.shape), tuple(leaf.shape))
            return leaf
        result.loaded.append(name)
        return np.asarray(other).astype(leaf.dtype)

    chosen = {collection: jax.tree_util.tree_map_with_path(lambda path, leaf, at=collection: choose(at, path, leaf), tree)
              for collection, tree in here.items()}
    result.unexpected.extend(name for _, name in sorted(found))
    _check_fit(config, origin, result)
    return {**variables, **chosen}, result


def _but_the_schedule(variables: Variables) -> Variables:
    return {collection: tree for collection, tree in variables.items() if collection != base.SCHEDULE}


def _lacking(config, origin: Origin) -> set[str]:
    """The variables that a network has because of the halves that a checkpoint lacks."""
    whole = systems.make(config)
    return _names(base.shapes_of(whole)) - _names(base.shapes_of(base.without(whole, origin.missing_modalities)))


def _names(variables: Variables) -> set[str]:
    return {name for tree in variables.values() for name in patterns.names(tree)}


def _leaves(tree) -> list[tuple[str, Any]]:
    return [(patterns.name_of(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _check_kin(config, origin: Origin) -> None:
    """Raises ConfigError for a checkpoint of another system or variant, unless parts of it are asked for by name."""
    kin = tuple(f"config.system.{key}:" for key in _KIN)
    lines = [line for line in differences(origin.config, config) if line.startswith(kin)]
    if lines and patterns.split(config.init.load) == _EVERYTHING and not config.init.allow_partial:
        raise errors.ConfigError(f"{_FLAG}={origin.path} is of another network:\n  " + "\n  ".join(lines)
                                 + "\nName the parts that both have in config.init.load, such as audio/*, or another checkpoint.")


def _check_fit(config, origin: Origin, result: Fit) -> None:
    problems = result.problems()
    if problems and not config.init.allow_partial:
        lines = problems + [f"the checkpoint has no {half} half" for half in origin.missing_modalities]
        lines += [f"the configs differ: {line}" for line in differences(origin.config, config)]
        raise errors.ConfigError(f"{_FLAG}={origin.path} does not fit this network:\n  " + "\n  ".join(lines)
                                 + "\nName what is to be loaded in config.init.load and what not in config.init.reinit, or set "
                                 "config.init.allow_partial to start what is left over anew.")
    if not result.loaded:
        raise errors.ConfigError(f"{_FLAG}={origin.path}: none of its variables fits what config.init.load="
                                 f"{config.init.load} means here." + "".join(f"\n  {line}" for line in problems))


def differences(source, config) -> list[str]:
    """What shapes and feeds the network and is not the same in two configs, one line each."""
    then, now = configs.to_dict(source), configs.to_dict(config)
    return [f"config.{section}.{name}: checkpoint {then[section].get(name)!r}, here {now[section].get(name)!r}"
            for section in ("system", "audio") for name in sorted(then[section].keys() | now[section].keys(), key=_names_first)
            if then[section].get(name) != now[section].get(name)]


def _names_first(name: str) -> tuple[bool, str]:
    return name not in _KIN, name


def keep_moments(config, opt_state, origin: Origin, loaded: list[str]):
    """The optimizer's state before the first step, with the moments of the parameters that were loaded.

    Raises:
      ConfigError: the checkpoint was trained with another update rule.
    """
    then = _rule_state(origin.opt_state)
    now = _rule_state(opt_state)
    if type(then) is not type(now):
        raise errors.ConfigError(f"config.init.optimizer: found 'kept', but {_FLAG}={origin.path} was trained with "
                                 f"config.optimizer.name={origin.config.optimizer.name}, this run with {config.optimizer.name}.")
    values = {name: leaf for name, leaf in _leaves(then) if not name.partition("/")[2] or name.partition("/")[2] in set(loaded)}

    def take(path, leaf):
        other = values.get(patterns.name_of(path), leaf)
        return np.asarray(other).astype(leaf.dtype) if other is not leaf else leaf

    filled = jax.tree_util.tree_map_with_path(take, now)
    return jax.tree.map(lambda part: filled if part is now else part, opt_state, is_leaf=lambda part: part is now)


def _rule_state(opt_state):
    """The state of the update rule within that of the whole chain."""
    return next(part for part in jax.tree.leaves(opt_state, is_leaf=lambda part: isinstance(part, _RULES))
                if isinstance(part, _RULES))


def start(config, state: State) -> tuple[State, dict[str, Any]]:
    """A state that starts from config.train.init_from, as NumPy arrays where they were loaded, and the facts for results.json.

    Args:
      config: of this run.
      state: before the first step, as the system draws it.

    Raises:
      ConfigError, MissingInputError: the checkpoint does not fit or is not there.
    """
    origin = read_origin(config)
    variables, result = fit(config, {"params": state.params, **state.collections}, origin)
    opt_state = state.opt_state
    if config.init.optimizer == "kept":
        opt_state = keep_moments(config, opt_state, origin, result.loaded)
    params = variables.pop("params")
    state = state.replace(params=params, collections=variables, opt_state=opt_state,
                          ema=None if state.ema is None else jax.tree.map(lambda leaf: leaf.copy(), params))
    return state, _facts(config, origin, result)


def _facts(config, origin: Origin, result: Fit) -> dict[str, Any]:
    return {
        "checkpoint": str(Path(origin.path).absolute()), "step": origin.step,
        "params_sha256": states.params_sha256(origin.variables["params"]),
        "system": origin.config.system.name, "lacks": list(origin.missing_modalities),
        "differences": differences(origin.config, config), "optimizer": config.init.optimizer,
        "loaded": len(result.loaded), "new": result.new, "missing": result.missing, "unexpected": result.unexpected,
        "other_shape": sorted(result.other_shape),
    }


def in_words(facts: Mapping[str, Any]) -> list[str]:
    """Lines of progress on where a run starts."""
    lines = [f"Starts from {facts['checkpoint']}, step {facts['step']}, sha256 {facts['params_sha256'][:12]}: {facts['loaded']} "
             f"variables loaded, {len(facts['new'])} new, optimizer {facts['optimizer']}."]
    lines += [f"  it has no {half} half, which starts anew" for half in facts["lacks"]]
    lines += [f"  not the same: {line}" for line in facts["differences"]]
    for kind in ("missing", "unexpected", "other_shape"):
        lines += [f"  {kind.replace('_', ' ')}: {name}" for name in facts[kind]]
    return lines


def kept(folder: Path) -> Checkpoints:
    """Where a run keeps the state that it started from."""
    return Checkpoints(folder / "initial", keep=1)
