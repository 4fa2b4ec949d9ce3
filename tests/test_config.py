"""Every key of every config is checked, and every message says what was found, what is allowed, and the nearest name."""

import ast
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

import ml_collections
import pytest
import tiny
from absl import flags
from ml_collections import config_flags

from avc_jax import config as configs
from avc_jax import errors, systems

REPO = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).resolve().parent / "golden"


def changed(**changes) -> ml_collections.ConfigDict:
    """The default config with keys set past all checks of ml_collections: `data__root=3`."""
    tree = configs.default("l3net").to_dict()
    for path, value in changes.items():
        section, _, name = path.partition("__")
        tree.setdefault(section, {})[name] = value
    return ml_collections.ConfigDict(tree)


def refusal(config) -> str:
    with pytest.raises(errors.ConfigError) as caught:
        configs.check(config)
    return str(caught.value)


@pytest.mark.parametrize("system", systems.names())
def test_default_of_every_system_passes(system):
    configs.check(configs.default(system))


@pytest.mark.parametrize("system", systems.names())
def test_every_key_has_help_and_a_default_within_its_own_bounds(system):
    for section, keys in configs.schema(system).items():
        for name, key in keys.items():
            assert key.help.endswith(".") and "\n" not in key.help, f"{section}.{name}"
            assert not key.choices or key.default in key.choices, f"{section}.{name}"
            assert (key.low is None) == (key.high is None), f"{section}.{name}"


def test_unknown_key_names_the_nearest_of_its_section():
    text = refusal(changed(train__stepz=5))
    assert "config.train.stepz: there is no such key." in text
    assert "Did you mean config.train.steps?" in text
    assert "keep_checkpoints" in text  # all keys of the section are listed


def test_unknown_section_names_the_sections():
    text = refusal(changed(optimiser__lr=0.1))
    assert "config.optimiser" in text
    assert "Did you mean optimizer" in text
    assert "Sections: system, data, audio" in text


def test_unknown_system_names_those_there_are():
    with pytest.raises(errors.ConfigError, match=r"found 'l3nett'.*Did you mean l3net\?"):
        configs.default("l3nett")
    assert "l3net" in refusal(changed(system__name="l3nett"))


def test_missing_key_is_said_with_its_help():
    tree = configs.default("l3net").to_dict()
    del tree["train"]["seed"]
    text = refusal(ml_collections.ConfigDict(tree))
    assert "config.train.seed is missing" in text
    assert "Seed of parameters" in text


def test_config_without_a_system_is_refused():
    assert "config.system.name is missing" in refusal(ml_collections.ConfigDict({"train": {"steps": 1}}))


@pytest.mark.parametrize(("change", "found", "expected"), [
    ({"train__steps": "many"}, "'many' (str)", "expected int"),
    ({"train__steps": 1.5}, "1.5 (float)", "expected int"),
    ({"train__steps": True}, "True (bool)", "expected int"),
    ({"train__remat": 1}, "1 (int)", "expected bool"),
    ({"optimizer__lr": "fast"}, "'fast' (str)", "expected float"),
    ({"optimizer__lr": False}, "False (bool)", "expected float"),
    ({"data__root": 3}, "3 (int)", "expected str"),
    ({"augment__gain": 1.0}, "1.0 (float)", "expected tuple"),
    ({"augment__gain": (1.0, "loud")}, "loud", "expected"),
])
def test_wrong_type_is_refused(change, found, expected):
    text = refusal(changed(**change))
    assert found in text
    assert expected in text


def test_int_is_accepted_where_a_float_is_expected():
    configs.check(changed(optimizer__lr=1, augment__gain=(1, 1)))


@pytest.mark.parametrize(("path", "value"), [
    ("train__steps", -1), ("optimizer__lr", -0.1), ("data__frame_size", 7), ("optimizer__lr", float("nan")),
    ("augment__gain", (0.9, 11.0)), ("augment__gain", (-0.1, 1.0)), ("data__quarantine_budget", 1.01), ("audio__rate_hz", 999),
    ("system__width", 0.0), ("optimizer__lr", float("inf")),
])
def test_number_out_of_bounds_is_refused(path, value):
    section, name = path.split("__")
    key = configs.schema("l3net")[section][name]
    text = refusal(changed(**{path: value}))
    assert f"config.{section}.{name}: found {value!r}" in text
    assert f"{key.low} to {key.high}" in text


@pytest.mark.parametrize(("section", "name"), [(section, name) for section, keys in configs.schema("l3net").items()
                                               for name, key in keys.items() if key.low is not None])
def test_every_bound_is_enforced_on_both_sides(section, name):
    key = configs.schema("l3net")[section][name]
    for outside in (key.low - 1, key.high * 2 + 1):
        value = type(key.default)(outside) if not isinstance(key.default, tuple) else (outside,) * len(key.default)
        with pytest.raises(errors.ConfigError, match=rf"config\.{section}\.{name}"):
            configs.check(changed(**{f"{section}__{name}": value}))


def test_bad_choice_lists_the_choices_and_the_nearest():
    text = refusal(changed(optimizer__schedule="cosin"))
    assert "expected one of constant, cosine, exponential. Did you mean cosine?" in text


@pytest.mark.parametrize("value", [(0.9,), (0.9, 1.0, 1.1), ()])
def test_tuple_of_another_length_is_refused(value):
    assert f"found {len(value)} values, expected 2" in refusal(changed(augment__gain=value))


@pytest.mark.parametrize(("change", "words"), [
    ({"data__frame_size": 300}, "config.data.frame_size: found 300, expected at most config.data.frame_short_side = 256"),
    ({"train__accumulate": 3}, "expected a multiple of config.train.accumulate = 3"),
    ({"data__pairs_per_visit": 3}, "expected a multiple of config.data.pairs_per_visit = 3"),
    ({"audio__fft_length": 256}, "config.audio.fft_length: found 256, expected 0 or at least the 480 samples"),
    ({"data__window_s": 0.05, "audio__stft_window_s": 0.1}, "config.data.window_s is shorter than config.audio.stft_window_s"),
    ({"audio__front_end": "mel256", "audio__rate_hz": 2000}, "found 1.0 s = 2000 samples, expected at least the 2048 of"),
    ({"augment__gain": (1.1, 0.9)}, "config.augment.gain: found (1.1, 0.9), expected the smaller number first"),
    ({"augment__saturation": (1.5, 0.5)}, "config.augment.saturation"),
    ({"data__split_fractions": (0.8, 0.1, 0.2)}, "config.data.split_fractions"),
])
def test_keys_that_contradict_each_other_are_refused(change, words):
    assert words in refusal(changed(**change))


@pytest.mark.parametrize("change", [
    {"data__frame_size": 256}, {"train__accumulate": 256}, {"data__pairs_per_visit": 256}, {"audio__fft_length": 480},
    {"audio__front_end": "linear", "audio__rate_hz": 2048}, {"augment__gain": (1.0, 1.0)},
    {"data__split_fractions": (1.0, 0.0, 0.0)},
])
def test_the_edges_of_the_joint_rules_are_allowed(change):
    configs.check(changed(**change))


# The command line -----------------------------------------------------------------------------------------------------


@pytest.fixture
def parse(monkeypatch):
    """Parses flags as the command does, with absl flags of its own."""
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)

    def parse(*args: str):
        argv = ["main", *args]
        monkeypatch.setattr(sys, "argv", argv)
        holder = config_flags.DEFINE_config_file("config", None, "", lock_config=True, flag_values=values)
        return configs.parse_flags(argv, holder)

    return parse


FLICKR = f"--config={REPO}/configs/flickr.py"


def test_flags_override_keys_of_every_kind(parse):
    config = parse(f"{FLICKR}:tiny", "--config.train.steps=7", "--config.optimizer.lr=1", "--config.augment.gain=(0.8, 1.2)",
                   "--config.data.root=/here", "--config.augment.flip=false", "--noconfig.train.compilation_cache")
    assert config.train.steps == 7
    assert config.optimizer.lr == 1.0
    assert config.augment.gain == (0.8, 1.2)
    assert config.data.root == "/here"
    assert config.augment.flip is False
    assert config.train.compilation_cache is False
    assert config.train.batch_size == 16  # of the variant


@pytest.mark.parametrize(("args", "words"), [
    (["--config.train.stepz=5"], ["config.train.stepz", "Did you mean config.train.steps?"]),
    (["--config.trian.steps=5"], ["config.trian.steps", "train"]),
    (["--config.train.steps=many"], ["config.train.steps: found 'many', expected int"]),
    (["--config.train.steps=1.5"], ["config.train.steps", "1.5", "int"]),
    (["--config.train.steps=-1"], ["config.train.steps: found -1, expected 0 to"]),
    (["--config.augment.flip=perhaps"], ["config.augment.flip", "perhaps", "bool"]),
    (["--config.data.pairing=sharde"], ["config.data.pairing", "Did you mean shared?"]),
    (["--steps=5"], ["steps"]),
    (["train.steps=5"], ["'train.steps=5', which is no flag"]),
])
def test_bad_flag_is_refused_in_words(parse, args, words):
    with pytest.raises(errors.ConfigError) as caught:
        parse(FLICKR, *args)
    for word in words:
        assert word in str(caught.value)


def test_config_that_is_not_named_is_asked_for(parse):
    with pytest.raises(errors.ConfigError, match="--config is missing"):
        parse()


def test_config_file_that_is_not_there_is_missing_input(parse):
    with pytest.raises(errors.MissingInputError, match=r"nowhere\.py"):
        parse("--config=nowhere.py")


@pytest.mark.parametrize("text", ["def get_config(:\n", "import nothing_of_this_name\n",
                                  "def get_config():\n  raise ValueError('no such luck')\n"])
def test_config_file_that_does_not_run_is_refused_in_words(parse, tmp_path, text):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(errors.ConfigError):
        parse(f"--config={path}")


def test_variant_that_does_not_exist_is_refused_in_words(parse):
    with pytest.raises(errors.ConfigError, match="found variant 'gigantic', expected tiny"):
        parse(f"{FLICKR}:gigantic")


# The files of configs/ -------------------------------------------------------------------------------------------------


def load(path: Path, *variant: str) -> ml_collections.ConfigDict:
    spec = importlib.util.spec_from_file_location(f"configs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*variant)


def variants(path: Path) -> list[tuple[str, ...]]:
    """No variant, and those that the file lists in VARIANTS, or `tiny` where it has that."""
    listed = re.search(r"^VARIANTS = (\([^)]*\))", path.read_text(), re.M)
    if listed:
        return [(), *((variant,) for variant in ast.literal_eval(listed[1]))]
    return [(), ("tiny",)] if "tiny" in path.read_text() else [()]


FILES = [(path, variant) for path in sorted((REPO / "configs").glob("*.py")) for variant in variants(path)]


@pytest.mark.parametrize(("path", "variant"), FILES, ids=["_".join((path.stem, *variant)) for path, variant in FILES])
def test_config_file_passes_and_reads_as_it_was_committed(path, variant):
    """A changed default shows up in review. UPDATE_GOLDEN=1 writes the files anew."""
    config = load(path, *variant)
    configs.check(config)
    text = json.dumps(configs.to_dict(config), indent=2, sort_keys=True) + "\n"
    golden = GOLDEN / f"{'_'.join((path.stem, *variant))}.json"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(text)
    assert golden.is_file(), f"{golden} is missing: run the tests once with UPDATE_GOLDEN=1 and read what it wrote"
    assert text == golden.read_text(), "the config changed; if it should have, run the tests once with UPDATE_GOLDEN=1"


def test_every_golden_config_has_its_file():
    names = {"_".join((path.stem, *variant)) for path, variant in FILES}
    assert {path.stem for path in GOLDEN.glob("*.json")} <= names


def test_every_key_that_readers_are_told_to_set_exists():
    pages = [REPO / "README.md", REPO / "Makefile", *(REPO / "docs").rglob("*.md"), *(REPO / "configs").glob("*.py")]
    told = {(page.name, *match) for page in pages for match in re.findall(r"--(?:no)?config\.(\w+)\.(\w+)", page.read_text())}
    keys = configs.schema_of_flags() | {"section": {"key": None}}  # what README calls them
    assert len(told) > 50
    assert not [place for place in told if place[2] not in keys.get(place[1], {})]


# What a resumed run may change ------------------------------------------------------------------------------------------


def test_differences_report_each_key_that_is_not_free_and_no_other():
    old = tiny.config()
    for section, keys in configs.schema("l3net").items():
        for name, key in keys.items():
            if name == "name" and section == "system":
                continue
            tree = old.to_dict()
            then = tree[section][name]
            tree[section][name] = ("other",)
            now = json.loads(json.dumps(("other",)))
            lines = configs.differences(configs.to_dict(old), ml_collections.ConfigDict(tree))
            assert lines == ([] if key.free else [f"config.{section}.{name}: was {json.loads(json.dumps(then))!r}, is {now!r}"])


def test_equal_configs_do_not_differ_also_after_json():
    config = tiny.config()
    assert configs.differences(json.loads(json.dumps(configs.to_dict(config))), config) == []


def test_what_decides_what_is_learned_is_not_free():
    schema = configs.schema("l3net")
    for section in ("system", "audio", "augment", "optimizer"):
        # transfer_tap only says where a finished network is read off.
        assert [name for name, key in schema[section].items() if key.free] == (["transfer_tap"] if section == "system" else [])
    for name in ("batch_size", "seed", "accumulate", "precision", "ema_decay"):
        assert not schema["train"][name].free


def test_describe_lists_every_key():
    text = configs.describe("l3net")
    for section, keys in configs.schema("l3net").items():
        for name in keys:
            assert f"`{section}.{name}`" in text
