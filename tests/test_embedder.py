"""From windows to vectors: batches of one shape, rows in their places, a sound in three lines."""

import os
import subprocess
import sys
import wave
from pathlib import Path

import jax
import media
import numpy as np
import pytest
import tiny

from avc_jax import embedder as embedders
from avc_jax import errors, model, systems
from avc_jax.data import windows
from avc_jax.data.moments import make_format


def block(file: int, count: int, start: int = 0) -> windows.Block:
    numbers = np.arange(start, start + count)
    return windows.Block(file, numbers / 2, np.repeat(100 * file + numbers, 3).reshape(-1, 3).astype(np.int16), [])


@pytest.fixture(scope="module")
def net():
    config = tiny.config(audio__stft_window_s=0.032, audio__stft_hop_s=0.016)
    system = systems.make(config)
    return model.Model(config, system, tiny.variables(system), 7)


def sounds(net, count: int, file: int = 0) -> windows.Block:
    values = np.random.default_rng(file).integers(-9999, 9999, (count, *net.system.features["waveform"].shape)).astype(np.int16)
    return windows.Block(file, np.arange(count) / 2, values, [])


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_regrouped_rows_keep_their_order_file_and_time(size):
    blocks = [block(0, 5), block(0, 2, 5), block(1, 0), block(2, 1), block(3, 4)]
    groups = list(embedders.regroup(blocks, size))
    assert [len(group.file) for group in groups] == [size] * (12 // size) + [12 % size] * bool(12 % size)
    file, time_s, values = map(np.concatenate, zip(*groups, strict=True))
    assert file.tolist() == [0] * 7 + [2] + [3] * 4 and file.dtype == np.int32
    assert time_s.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 0, 0, 0.5, 1, 1.5]
    assert values[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 200, 300, 301, 302, 303]
    assert list(embedders.regroup([block(0, 0)], size)) == []


def test_vectors_are_those_of_the_system_in_one_compiled_shape(net):
    blocks = [sounds(net, 11, 0), sounds(net, 9, 1), sounds(net, 1, 2)]
    embedder = embedders.Embedder(net, "audio", batch_size=8)
    groups = list(embedder(blocks))
    assert embedder._apply._cache_size() == 1 and [len(group.file) for group in groups] == [8, 8, 5]
    expected = net.embed(waveform=np.concatenate([one.values for one in blocks]))["audio"]
    found = np.concatenate([group.values for group in groups])
    assert found.shape == (21, embedder.width)
    # Batches of other sizes are summed in another order.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_few_windows_do_not_pay_for_a_whole_batch(net):
    embedder = embedders.Embedder(net, "audio", batch_size=64)
    seen = []
    embedder._apply = lambda variables, batch: seen.append(batch["waveform"]) or {"audio": batch["waveform"]}
    assert [len(rows.file) for rows in embedder([sounds(net, 9)])] == [9]
    # Eight devices, of which each gets as many.
    assert [one.shape[0] for one in seen] == [16] and len(seen[0].sharding.device_set) == jax.device_count() == 8


def test_sizes_choose_among_what_the_network_gives(net):
    assert (embedders.Embedder(net, "audio").output, embedders.Embedder(net, "audio").width) == ("embed", 32)
    assert embedders.Embedder(net, "audio", 128).output == "transfer"
    assert embedders.Embedder(net, "video", 128).output == "transfer"
    with pytest.raises(errors.ConfigError, match=r"--embedding_size=6144: of audio, this network gives 32 \(embed\) or 128"):
        embedders.Embedder(net, "audio", 6144)


def test_a_sound_in_memory_gets_the_vectors_of_the_same_sound_in_a_file(net, tmp_path):
    rng = np.random.default_rng(0)
    tone = rng.normal(size=250000).clip(-3, 3) / 4
    path = media.write(tmp_path / "a.wav", sound=tone, rate_hz=44100)
    steps = windows.Steps("audio", make_format(net.config), 0.1, center=True)
    rows = list(embedders.Embedder(net, "audio")(windows.read_files([str(path)], steps)))
    with media.av.open(str(path)) as file:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    time_s, vectors = net.embed_sound(samples, 44100, 0.1, center=True)
    np.testing.assert_array_equal(time_s, np.concatenate([one.time_s for one in rows]))
    np.testing.assert_array_equal(vectors, np.concatenate([one.values for one in rows]))
    assert len(time_s) > windows._WINDOWS - 20
    _, floats = net.embed_sound(np.stack([samples, samples], 1) / 32768.0, 44100, 0.1, center=True)
    np.testing.assert_allclose(floats, vectors, rtol=0.05, atol=0.05 * np.abs(vectors).max())


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros((2, 3, 4), np.float32), np.zeros(9, np.uint8)])
def test_what_is_no_sound_is_refused(net, samples):
    with pytest.raises(errors.ConfigError, match="embed_sound: samples are"):
        net.embed_sound(samples, 8000)


@pytest.mark.parametrize(("front_end", "wanted", "fits"), [
    ("linear", "linear", True), ("openl3_linear", "linear", True), ("mel128", "mel128", True), ("log", None, True),
    ("mel256", "mel128", False), ("log", "linear", False)])
def test_input_repr_is_the_front_end_of_the_checkpoint(front_end, wanted, fits):
    config = tiny.config()
    with config.unlocked():
        config.audio.front_end = front_end
    if fits:
        embedders.check_input_repr(config, wanted)
    else:
        with pytest.raises(errors.ConfigError, match=f"--input_repr={wanted}.*front_end={front_end}"):
            embedders.check_input_repr(config, wanted)


PEAK = """
import resource, sys
import tiny
from avc_jax import model, systems, vectors
from avc_jax.data import windows
from avc_jax.data.moments import make_format
from avc_jax.embedder import Embedder
config = tiny.config(audio__rate_hz=48000, data__window_s=1.0)
system = systems.make(config)
embedder = Embedder(model.Model(config, system, tiny.variables(system), 0), "audio")
steps = windows.Steps("audio", make_format(config), 0.5)
for path in sys.argv[1:]:
    with vectors.Output(path + ".npz") as output:
        writer = vectors.Npz(output.temporary, [path], embedder.width, {})
        for rows in embedder(windows.read_files([path], steps, threads=2)):
            writer.add(*rows)
        writer.close([])
        output.commit([])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_embedding_1000_seconds_takes_no_more_memory_than_100(tmp_path):
    for name, seconds in (("short", 100), ("long", 1000)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, 48000, 0, "NONE", ""))
            second = np.random.default_rng(0).integers(-9999, 9999, 48000).astype(np.int16).tobytes()
            for _ in range(seconds):
                file.writeframes(second)
    tests = Path(__file__).parent
    changes = {"PYTHONPATH": f"{tests.parent}:{tests}", "XLA_FLAGS": ""}  # one device
    printed = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path / "short"), str(tmp_path / "long")], text=True, check=True,
                             env=os.environ | changes, capture_output=True).stdout
    before, after = map(int, printed.split())
    # In MB. The windows of the long file are 192 MB; what malloc keeps of freed batches goes up and down by 40, 50 were seen.
    assert after - before < 96
    with np.load(tmp_path / "long.npz") as file:
        assert file["embedding"].shape == (1999, 32)
        np.testing.assert_allclose(file["embedding"][:, 0][3:1999:2], file["embedding"][1, 0], rtol=1e-4)
