"""The command that makes features of videos, as users type it, with small networks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import media
import numpy as np
import pytest
import torchfile
from end_to_end import here
from flax.traverse_util import flatten_dict

from avc_jax.published import translate
from avc_jax.visual import networks

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--depth_2d=18", "--width=0.03125", "--batch_size=8")


def start(*args) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "avc_jax.features", *map(str, args)], cwd=ROOT, text=True,
                            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(*args, expect=0) -> str:
    return here.call("avc_jax.features", *args, expect=expect)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two videos."""
    folder = tmp_path_factory.mktemp("videos")
    media.flash_and_click(folder / "a.mp4", seconds=2.0)
    media.flash_and_click(folder / "b.mkv", seconds=1.0, size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of weights as they are published."""
    folder, paths = tmp_path_factory.mktemp("weights"), {}
    for name in ("2d", "3d"):
        stream = networks.make_stream(name, 18, 1 / 32, "float32")
        rng = np.random.default_rng(0)
        ours = {path: np.float32(0.1 * rng.normal(size=leaf.shape) + path.endswith(("var", "scale")))
                for path, leaf in flatten_dict(dict(stream.shapes()), sep="/").items()}
        arrays = {f"module.{name}": array for name, array in translate.to_theirs(ours, stream.kind).items()}
        paths[name] = torchfile.write_before_1_6(folder / f"{name}.pth", {"arch": "any", "state_dict": arrays})
    return paths


def test_features_are_made_of_published_weights_and_the_second_time_they_are_there(folder, weights, tmp_path):
    args = (f"--videos={folder}", f"--out={tmp_path / 'out'}", *SMALL, "--spectrograms",
            *(f"--weights_{name}={path}" for name, path in weights.items()))
    process = start(*args)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert re.search(r"Features of 2 videos \(2 clips\)\. Rows: 3 of 2d, 5 of 3d, 30\d of spec\.", printed)
    assert "RANDOM" not in printed
    assert "--config.data.source=features" in printed
    facts = json.loads((tmp_path / "out" / "features.json").read_text())
    assert facts["streams"]["2d"]["weights"] == "2d.pth" and facts["streams"]["3d"]["rate_hz"] == 1.5
    assert facts["videos"] == str(folder)
    assert facts["streams"]["2d"]["network"] == "ResNet-18, width 0.03125" and facts["layout"] == "howto100m"
    names = sorted(path.name for path in (tmp_path / "out").glob("*.npz"))
    assert names == ["a_2d.npz", "a_3d.npz", "a_spec.npz", "b_2d.npz", "b_3d.npz", "b_spec.npz"]
    assert "made the features of 0 videos (2 were there)" in run(*args)


def test_random_features_say_so(folder, tmp_path):
    printed = run(f"--videos={folder}", f"--out={tmp_path / 'out'}", "--random_weights=3", "--streams=2d", *SMALL)
    assert "RANDOM WEIGHTS (seed 3)" in printed
    facts = json.loads((tmp_path / "out" / "features.json").read_text())
    assert list(facts["streams"]) == ["2d"] and "RANDOM (seed 3)" in facts["streams"]["2d"]["weights"]


USUAL = ("--videos={folder}", "--out={tmp}/out", "--random_weights=0", *SMALL)


@pytest.mark.parametrize(("args", "code", "words"), [
    (USUAL[:2], 64, "--weights_2d is missing: name the file of ImageNet weights"),
    ((*USUAL[:2], "--streams=3d"), 64, "--weights_3d is missing: name the file of Kinetics weights"),
    ((*USUAL, "--weights_2d={folder}/a.mp4"), 64, "found both"),
    ((*USUAL[:2], "--streams=2d", "--weights_2d={tmp}/none.pth"), 66, "none.pth: there is no such file"),
    ((*USUAL[:2], "--streams=2d", "--weights_2d={folder}/a.mp4"), 65, "is of no format that is read"),
    ((*USUAL[:2], "--streams=2d", "--weights_2d={weights}"), 64, "is no ResNet-152"),
    (USUAL[1:], 66, "--videos is empty"),
    ((USUAL[0], *USUAL[2:]), 64, "--out is missing"),
    (("--videos={tmp}/none", *USUAL[1:]), 66, "expected a folder of videos"),
    ((*USUAL, "--manifest=none.csv"), 66, "--manifest=none.csv"),
    ((*USUAL, "--depth_2d=19"), 64, "depth_2d"),
    ((*USUAL, "--split_fractions=1,1,1"), 64, "--split_fractions: found 1,1,1"),
    ((USUAL[0], "--out={folder}", *USUAL[2:]), 64, "no features.json")])
def test_bad_input_is_told_in_words_and_by_exit_code(folder, weights, tmp_path, args, code, words):
    filled = [arg.format(folder=folder, tmp=tmp_path, weights=weights["2d"]) for arg in args]
    assert words in run(*filled, expect=code)
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_goes_on(tmp_path, number):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    first = media.flash_and_click(videos / "000.mp4", seconds=1.0, size=(64, 64))
    for place in range(1, 150):
        (videos / f"{place:03d}.mp4").write_bytes(first.read_bytes())
    args = (f"--videos={videos}", f"--out={out}", "--random_weights=0", "--streams=2d", *SMALL)
    process = start(*args)
    while not list(out.glob("*_2d.npz")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "the same command goes on" in printed and "Traceback" not in printed, printed
    count = len(list(out.glob("*_2d.npz")))
    assert 0 < count < 150 and not list(out.rglob("*.tmp"))
    printed = run(*args)
    assert f"({count} were there)" in printed and len(list(out.glob("*_2d.npz"))) == 150


def test_the_numbers_are_those_of_the_network_asked_here(folder, weights, tmp_path):
    run(f"--videos={folder}", f"--out={tmp_path / 'out'}", *SMALL, "--streams=2d", f"--weights_2d={weights['2d']}")
    from avc_jax.visual import reading

    stream = networks.make_stream("2d", 18, 1 / 32, "float32")
    variables, _ = networks.load(stream, str(weights["2d"]), None)
    block, = reading.measure(folder / "a.mp4").blocks()
    pictures = np.stack(reading.read_block(folder / "a.mp4", block, ("2d",))["2d"].values)
    with np.load(tmp_path / "out" / "a_2d.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["features"], np.asarray(jax.jit(stream.apply)(variables, pictures)), atol=2e-3)
