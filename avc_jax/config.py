"""Configs: made, checked against the schema, overridden by flags, compared.

A config is an `ml_collections.ConfigDict` made by `default(system)` in a file of `configs/`, changed by
`--config.section.key=value`, and checked by `check`. Whatever is not in the schema is an error.
"""

import difflib
import json
import os
import re
import sys
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from avc_jax import errors
from avc_jax.schema import ITEM_SOURCES, SECTIONS, Key, nearest, schema


def default(system: str) -> ml_collections.ConfigDict:
    """The config of a system with every key at its default."""
    tree = {section: {name: key.default for name, key in keys.items()} for section, keys in schema(system).items()}
    return ml_collections.ConfigDict(tree)


def check(config: ml_collections.ConfigDict) -> None:
    """Checks every key against the schema.

    Raises:
      ConfigError: naming the key, what was found, what is allowed, and the nearest valid name.
    """
    system = config.get("system", {}).get("name")
    if not isinstance(system, str):
        raise errors.ConfigError("config.system.name is missing: start from avc_jax.config.default('l3net').")
    keys_of = schema(system)
    for section in config:
        if section not in keys_of:
            raise errors.ConfigError(_unknown(section, keys_of))
        for name in config[section]:
            if name not in keys_of[section]:
                raise errors.ConfigError(_unknown(f"{section}.{name}", keys_of))
    for section, keys in keys_of.items():
        for name, key in keys.items():
            if name not in config.get(section, {}):
                raise errors.ConfigError(f"config.{section}.{name} is missing. {key.help}")
            _check_value(f"config.{section}.{name}", config[section][name], key)
    _check_together(config)


def _check_value(path: str, value: Any, key: Key) -> None:
    wanted = type(key.default)
    fits = isinstance(value, (int, float)) if wanted is float else isinstance(value, wanted)
    if isinstance(value, bool) != (wanted is bool) or not fits:
        raise errors.ConfigError(f"{path}: found {value!r} ({type(value).__name__}), expected {wanted.__name__}. {key.help}")
    if key.choices and value not in key.choices:
        raise errors.ConfigError(
            f"{path}: found {value!r}, expected one of {', '.join(map(str, key.choices))}.{nearest(value, key.choices)}")
    numbers = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and len(value) != len(key.default):
        raise errors.ConfigError(f"{path}: found {len(value)} values, expected {len(key.default)}. {key.help}")
    for number in numbers:
        if isinstance(value, tuple) and (isinstance(number, bool) or not isinstance(number, (int, float))):
            raise errors.ConfigError(f"{path}: found {value!r}, expected {len(key.default)} numbers. {key.help}")
        if key.low is not None and not (key.low <= number <= key.high):
            raise errors.ConfigError(f"{path}: found {value!r}, expected {key.low} to {key.high}. {key.help}")


def _check_together(config: ml_collections.ConfigDict) -> None:
    """The rules that join several keys."""
    data, train = config.data, config.train
    if data.frame_size > data.frame_short_side:
        raise errors.ConfigError(f"config.data.frame_size: found {data.frame_size}, expected at most "
                                 f"config.data.frame_short_side = {data.frame_short_side}, which it is cut from.")
    for divisor, name in ((train.accumulate, "config.train.accumulate"), (data.pairs_per_visit, "config.data.pairs_per_visit")):
        if train.batch_size % divisor:
            raise errors.ConfigError(f"config.train.batch_size: found {train.batch_size}, expected a multiple of "
                                     f"{name} = {divisor}.")
    _check_items(data)
    window = round(config.audio.stft_window_s * config.audio.rate_hz)
    if config.audio.fft_length and config.audio.fft_length < window:
        raise errors.ConfigError(f"config.audio.fft_length: found {config.audio.fft_length}, expected 0 or at least "
                                 f"the {window} samples of the window.")
    samples = round(data.window_s * config.audio.rate_hz)
    if config.audio.front_end == "mel40" and config.audio.rate_hz != 16000:
        raise errors.ConfigError(f"config.audio.rate_hz: found {config.audio.rate_hz}, expected 16000, which "
                                 "config.audio.front_end=mel40 is made for.")
    if config.audio.front_end not in ("log", "mel40") and samples < 2048:
        raise errors.ConfigError(f"config.data.window_s: found {data.window_s} s = {samples} samples, expected at least the 2048 "
                                 f"of config.audio.front_end={config.audio.front_end}.")
    if data.window_s < config.audio.stft_window_s:
        raise errors.ConfigError("config.data.window_s is shorter than config.audio.stft_window_s.")
    probe = config.probe
    for path, (low, high) in (("augment.saturation", config.augment.saturation), ("augment.gain", config.augment.gain),
                              ("probe.crop_area", probe.crop_area), ("probe.crop_aspect", probe.crop_aspect),
                              ("probe.saturation", probe.saturation)):
        if low > high:
            raise errors.ConfigError(f"config.{path}: found {(low, high)}, expected the smaller number first.")
    if abs(sum(data.split_fractions) - 1) > 1e-6:
        raise errors.ConfigError(f"config.data.split_fractions: found {data.split_fractions}, expected a sum of 1.")


def _check_items(data) -> None:
    """The rules of sources of items."""
    if data.source not in ITEM_SOURCES:
        return
    if data.pairing != "none":
        raise errors.ConfigError(f"config.data.pairing: found {data.pairing!r}, expected none: config.data.source={data.source} "
                                 "gives true pairs only, and the loss compares them with each other.")
    sounds = {"howto100m": "spectrogram", "clip_pickles": "spectrogram", "spoken_captions": "waveform"}
    expected = sounds.get(data.source, data.sound)
    if data.sound != expected:
        raise errors.ConfigError(f"config.data.sound: found {data.sound!r}, expected {expected}: so config.data.source="
                                 f"{data.source} holds its sounds.")
    if data.clip_choice == "captions" and data.source == "howto100m" and not data.captions:
        raise errors.ConfigError("config.data.captions is empty, and config.data.clip_choice=captions takes clips around them: "
                                 "name the file of captions, or choose random clips.")


def _unknown(path: str, keys_of: dict[str, dict[str, Key]]) -> str:
    valid = [f"{section}.{name}" for section, keys in keys_of.items() for name in keys]
    section, _, name = path.partition(".")
    if section in keys_of and name:
        close = difflib.get_close_matches(name, keys_of[section], n=1, cutoff=0.5)
        hint = f" Did you mean config.{section}.{close[0]}?" if close else nearest(path, valid)
        allowed = f"Section {section} has: {', '.join(sorted(keys_of[section]))}."
    else:
        hint = nearest(path, valid) or nearest(section, list(keys_of))
        allowed = f"Sections: {', '.join(keys_of)}."
    return f"config.{path}: there is no such key.{hint} {allowed}"


def define_flag() -> flags.FlagHolder:
    """Defines `--config=FILE[:arg]`, whose keys `--config.a.b=value` overrides."""
    return config_flags.DEFINE_config_file("config", None, "A file of configs/, optionally with :argument.", lock_config=True)


def parse_flags(argv: list[str], holder: flags.FlagHolder) -> ml_collections.ConfigDict:
    """Parses argv into the absl flags and returns the checked config.

    Raises:
      ConfigError: whatever is wrong with the flags, in words.
      MissingInputError: the config file does not exist.
    """
    for arg in argv:
        match = re.match(r"--?config=([^:]+)", arg)
        if match and not os.path.isfile(match.group(1)):
            raise errors.MissingInputError(f"--config={match.group(1)}: there is no such file; look in configs/.")
    try:
        extra = flags.FLAGS(argv)[1:]
    except flags.IllegalFlagValueError as error:
        raise errors.ConfigError(_illegal_value(str(error))) from error
    except flags.Error as error:
        raise errors.ConfigError(str(error)) from error
    except (AttributeError, KeyError, TypeError, ValueError, ImportError, SyntaxError) as error:
        raise errors.ConfigError(_bad_override(argv, error)) from error
    if extra:
        raise errors.ConfigError(f"Found {extra[0]!r}, which is no flag; flags look like --config.train.steps=100.")
    if holder.value is None:
        raise errors.ConfigError("--config is missing: name a file of configs/, e.g. --config=configs/flickr.py.")
    check(holder.value)
    return holder.value


def _illegal_value(message: str) -> str:
    """Turns absl's message about a value of the wrong type into one that names key, value and expectation."""
    if message.startswith("flag --config="):
        return f"The config file cannot be loaded: {message.strip().splitlines()[-1]}"
    match = re.match(r"flag --(?:no)?(config\.(\w+)\.(\w+))=(.*?): ", message, re.S)
    keys_of = schema_of_flags()
    if not match or match.group(2) not in keys_of or match.group(3) not in keys_of[match.group(2)]:
        return message
    key = keys_of[match.group(2)][match.group(3)]
    return f"{match.group(1)}: found {match.group(4)!r}, expected {type(key.default).__name__}. {key.help}"


def _bad_override(argv: list[str], error: Exception) -> str:
    keys_of = schema_of_flags()
    for arg in argv:
        match = re.match(r"--?(?:no)?config\.([\w.]+)", arg)
        if not match:
            continue
        section, _, name = match.group(1).partition(".")
        if section not in keys_of or name not in keys_of[section]:
            return _unknown(match.group(1), keys_of)
    return f"The config cannot be loaded: {type(error).__name__}: {error}"


def schema_of_flags() -> dict[str, dict[str, Key]]:
    """The schema for error messages before a config is loaded: of every system at once."""
    from avc_jax import systems

    merged: dict[str, Key] = {}
    for name in systems.names():
        merged |= schema(name)["system"]
    return {"system": merged, **SECTIONS}


def to_dict(config: ml_collections.ConfigDict) -> dict[str, dict[str, Any]]:
    """The config as plain JSON values (tuples become lists)."""
    return json.loads(json.dumps(config.to_dict()))


def from_dict(tree: dict[str, Any]) -> ml_collections.ConfigDict:
    """The checked config that `to_dict` was made from.

    Raises:
      ConfigError: it is not one, or one of another version with other keys.
    """
    config = default(tree.get("system", {}).get("name", ""))
    for section, keys in tree.items():
        for name, value in keys.items():
            if section not in config or name not in config[section]:
                raise errors.ConfigError(_unknown(f"{section}.{name}", schema(config.system.name)))
            config[section][name] = tuple(value) if isinstance(value, list) else value
    check(config)
    return config


def differences(old: dict[str, Any], config: ml_collections.ConfigDict) -> list[str]:
    """What a resumed run may not change but has changed, one line each.

    Args:
      old: `to_dict` of the config that the work directory was made with.
      config: the config of now.
    """
    # A key that is younger than the work directory had what is now its default.
    new, before = to_dict(config), to_dict(default(config.system.name))
    lines = []
    for section, keys in schema(config.system.name).items():
        for name, key in keys.items():
            then, now = old.get(section, {}).get(name, before[section][name]), new[section][name]
            if then != now and not key.free:
                lines.append(f"config.{section}.{name}: was {then!r}, is {now!r}")
    return lines


def describe(system: str) -> str:
    """Every key of a system as Markdown tables, for docs/config.md."""
    lines = []
    for section, keys in schema(system).items():
        lines += [f"## {section}", "", "| key | default | allowed | meaning |", "|---|---|---|---|"]
        for name, key in keys.items():
            allowed = ", ".join(map(str, key.choices)) or ("" if key.low is None else f"{key.low} to {key.high}")
            lines.append(f"| `{section}.{name}` | `{key.default!r}` | {allowed} | {key.help} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe(sys.argv[1] if len(sys.argv) > 1 else "l3net"))
