"""The one schema of every config: each key with its type, its default, its bounds, and one line of help.

A config is an `ml_collections.ConfigDict` made by `default(system)` in a file of `configs/`, changed by
`--config.section.key=value`, and checked by `check`. Whatever is not in the schema is an error.
"""

import dataclasses
import difflib
import importlib
import json
import os
import re
import sys
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from avc_jax import errors


@dataclasses.dataclass(frozen=True)
class Key:
    """One config key. Its type is the type of its default; an int is accepted where a float is expected.

    Attributes:
      default: the value unless a config file or flag says otherwise.
      help: one line, shown in errors and in docs/config.md.
      low, high: inclusive bounds for numbers (for each element of a tuple).
      choices: the values allowed, if they are few.
      free: True if the key may change when a run resumes, because it cannot change what is learned.
    """

    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    free: bool = False


# What only says which clips there are may change on resume: the work directory knows the list of clips by its digest.
_DATA = dict(
    source=Key("folder", "Where clips come from: files in a folder, records made of them by avc_jax.prepare, or demo clips "
               "rendered into the folder first.", choices=("folder", "records", "rendered"), free=True),
    root=Key("", "Folder that holds the videos (searched recursively), or the records.", free=True),
    manifest=Key("", "CSV beside or inside root with path[,split,label,start_s,end_s]; empty: every video found.",
                 free=True),
    split=Key("train", "Split to train on: train, validation, test, all, or a name in the manifest."),
    evaluate_split=Key("heldout", "Split to evaluate on; heldout means every clip that is not in data.split.",
                       free=True),
    split_fractions=Key((0.8, 0.1, 0.1), "Shares of train, validation, test, by a stable hash of the path, where "
                        "no manifest gives splits.", low=0.0, high=1.0, free=True),
    pairing=Key("independent", "How false pairs are made: sound of another file (independent, the paper), or the "
                "batch's own sounds rolled by one (shared: half the cost).", choices=("independent", "shared")),
    pairs_per_visit=Key(1, "Pairs taken from one visit to a file; they land in different batches.", low=1, high=1000),
    window_s=Key(1.0, "Length of the sound of a pair, in seconds.", low=0.05, high=60.0),
    frame_short_side=Key(256, "Frames are scaled so that the shorter side has this many pixels.", low=8, high=4096),
    frame_size=Key(224, "Side of the square crop, in pixels.", low=8, high=4096),
    quarantine_budget=Key(0.05, "Share of files that may be bad before the run stops (one file always may, unless 0).",
                          low=0.0, high=1.0, free=True),
    decode_threads=Key(0, "Files decoded at once; 0: one per core.", low=0, high=1024, free=True),
    prefetch_batches=Key(2, "Batches held ready on the host.", low=1, high=64, free=True),
    rendered_clips=Key(2048, "source=rendered: how many clips to render.", low=32, high=1_000_000, free=True),
)

_AUDIO = dict(
    rate_hz=Key(48000, "Sounds are resampled to this rate, mono.", low=1000, high=192000),
    stft_window_s=Key(0.01, "Length of the STFT window (periodic Hann), in seconds.", low=0.001, high=0.2),
    stft_hop_s=Key(0.005, "Step between STFT windows, in seconds.", low=0.0005, high=0.2),
    fft_length=Key(0, "FFT length in samples; 0: the next power of two of the window.", low=0, high=65536),
    log_floor=Key(1e-12, "Magnitudes are floored here before the logarithm.", low=1e-18, high=1.0),
    log_scale=Key(0.2, "The log-magnitude is multiplied by this.", low=1e-6, high=1e6),
)

_AUGMENT = dict(
    flip=Key(True, "Mirror half of the training frames."),
    brightness=Key(32 / 255, "Largest change of brightness, as a share of the full range.", low=0.0, high=1.0),
    saturation=Key((0.5, 1.5), "Range of the factor on HSV saturation.", low=0.0, high=10.0),
    gain=Key((0.9, 1.1), "Range of the factor on the whole second of sound.", low=0.0, high=10.0),
)

_OPTIMIZER = dict(
    name=Key("adam", "Update rule.", choices=("adam", "sgd")),
    lr=Key(1e-4, "Peak learning rate.", low=0.0, high=1e3),
    schedule=Key("constant", "Shape of the learning rate after warm-up; cosine ends at train.steps.",
                 choices=("constant", "cosine", "exponential")),
    warmup_steps=Key(0, "Steps of linear warm-up from zero.", low=0, high=10**9),
    decay_rate=Key(0.94, "schedule=exponential: factor applied every decay_steps.", low=0.0, high=1.0),
    decay_steps=Key(10000, "schedule=exponential: steps between factors.", low=1, high=10**9),
    momentum=Key(0.9, "name=sgd: momentum.", low=0.0, high=1.0),
    weight_decay=Key(1e-5, "Weight decay on kernels.", low=0.0, high=1.0),
    weight_decay_form=Key("l2", "l2: weight_decay * sum(W^2) is part of the loss (the paper's code); "
                          "decoupled: as in AdamW.", choices=("l2", "decoupled")),
    clip_norm=Key(0.0, "Clip gradients to this global norm; 0: never.", low=0.0, high=1e9),
)

_TRAIN = dict(
    steps=Key(234375, "Steps to train for.", low=1, high=10**9, free=True),
    batch_size=Key(256, "Pairs per step, over all devices and hosts (shared pairing scores twice as many).",
                   low=2, high=1 << 20),
    seed=Key(0, "Seed of parameters, order and random choices.", low=0, high=2**31 - 1),
    accumulate=Key(1, "Split each batch into this many pieces and add up their gradients.", low=1, high=1024),
    precision=Key("float32", "Precision of the computation; parameters are always float32.",
                  choices=("float32", "bfloat16")),
    remat=Key(False, "Recompute activations in the backward pass to save memory."),
    ema_decay=Key(0.0, "Decay of the moving average of parameters that evaluation uses; 0: none.", low=0.0, high=0.999999),
    nonfinite_budget=Key(10, "Steps with a non-finite loss or gradient that are skipped before the run stops.",
                         low=0, high=10**9, free=True),
    checkpoint_every=Key(1000, "Steps between checkpoints; the last step is always saved.", low=1, high=10**9, free=True),
    keep_checkpoints=Key(3, "Checkpoints kept.", low=1, high=1000, free=True),
    evaluate_every=Key(5000, "Steps between evaluations; 0: only at the end.", low=0, high=10**9, free=True),
    log_every=Key(50, "Steps between lines of metrics.", low=1, high=10**9, free=True),
    profile_at=Key(-1, "Step at which to record a profile; -1: never.", low=-1, high=10**9, free=True),
    profile_steps=Key(5, "Steps in the profile.", low=1, high=1000, free=True),
    compilation_cache=Key(True, "Keep compiled programs on disk, so that a restart does not compile again.", free=True),
)

_MESH = dict(
    data=Key(-1, "Devices along the data axis; -1: all that are left.", low=-1, high=10**6, free=True),
    fsdp=Key(1, "Devices along the axis that parameters are sharded over.", low=1, high=10**6, free=True),
)

_EVALUATE = dict(
    batch_size=Key(0, "Pairs per evaluation step; 0: as in training.", low=0, high=1 << 20, free=True),
    max_clips=Key(2000, "Clips scored by an evaluation during training; the last one and --mode=evaluate score all; "
                  "0: always all.", low=0, high=10**9, free=True),
    seed=Key(0, "Seed of the moments and false pairs that are scored.", low=0, high=2**31 - 1, free=True),
    pairs_on_page=Key(16, "True and false pairs shown on the report page.", low=0, high=200, free=True),
)

_SECTIONS = dict(data=_DATA, audio=_AUDIO, augment=_AUGMENT, optimizer=_OPTIMIZER, train=_TRAIN, mesh=_MESH,
                 evaluate=_EVALUATE)


def schema(system: str) -> dict[str, dict[str, Key]]:
    """section -> key -> Key, with the section `system` as the file of that system declares it (`CONFIG`).

    Raises:
      ConfigError: there is no such system.
    """
    from avc_jax import systems

    if system not in systems.names():
        raise errors.ConfigError(
            f"config.system.name: found {system!r}, expected one of {', '.join(systems.names())}."
            + _nearest(system, systems.names()))
    module = importlib.import_module(f"avc_jax.systems.{system}")
    own = dict(name=Key(system, "Which system: a file of avc_jax/systems.", choices=tuple(systems.names())))
    return {"system": own | module.CONFIG, **_SECTIONS}


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
            f"{path}: found {value!r}, expected one of {', '.join(map(str, key.choices))}.{_nearest(value, key.choices)}")
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
    window = round(config.audio.stft_window_s * config.audio.rate_hz)
    if config.audio.fft_length and config.audio.fft_length < window:
        raise errors.ConfigError(f"config.audio.fft_length: found {config.audio.fft_length}, expected 0 or at least "
                                 f"the {window} samples of the window.")
    if data.window_s < config.audio.stft_window_s:
        raise errors.ConfigError("config.data.window_s is shorter than config.audio.stft_window_s.")
    for path, (low, high) in (("augment.saturation", config.augment.saturation), ("augment.gain", config.augment.gain)):
        if low > high:
            raise errors.ConfigError(f"config.{path}: found {(low, high)}, expected the smaller number first.")
    if abs(sum(data.split_fractions) - 1) > 1e-6:
        raise errors.ConfigError(f"config.data.split_fractions: found {data.split_fractions}, expected a sum of 1.")


def _nearest(found: Any, names: Any) -> str:
    close = difflib.get_close_matches(str(found), [str(name) for name in names], n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""


def _unknown(path: str, keys_of: dict[str, dict[str, Key]]) -> str:
    valid = [f"{section}.{name}" for section, keys in keys_of.items() for name in keys]
    section, _, name = path.partition(".")
    if section in keys_of and name:
        close = difflib.get_close_matches(name, keys_of[section], n=1, cutoff=0.5)
        nearest = f" Did you mean config.{section}.{close[0]}?" if close else _nearest(path, valid)
        allowed = f"Section {section} has: {', '.join(sorted(keys_of[section]))}."
    else:
        nearest = _nearest(path, valid) or _nearest(section, list(keys_of))
        allowed = f"Sections: {', '.join(keys_of)}."
    return f"config.{path}: there is no such key.{nearest} {allowed}"


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
    return {"system": merged, **_SECTIONS}


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
