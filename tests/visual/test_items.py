"""What the command makes is what training reads."""

import media
import numpy as np
import pytest
from visual.test_make import run

from avc_jax import config as configs
from avc_jax.data.moments import Format
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.systems.base import Feature

layouts = pytest.importorskip("avc_jax.data.items.layouts")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Features of three videos with clicks at 1 s and 3 s, and the width of a row; the clock of the last begins at 2 s."""
    from visual.small import small_stream

    root, out = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("made") / "out"
    media.flash_and_click(root / "a.mkv", seconds=5.0, events_s=[1.0, 3.0], acodec="pcm_s16le")
    media.flash_and_click(root / "b.mkv", seconds=5.0, events_s=[1.0, 3.0], acodec="pcm_s16le", size=(64, 96))
    media.flash_and_click(root / "c.mkv", seconds=7.0, events_s=[3.0, 5.0], acodec="pcm_s16le", audio_offset_s=2.0,
                          video_offset_s=2.0)
    (root / "m.csv").write_text("path,split,caption\na.mkv,train,a flash\nb.mkv,train,\nc.mkv,train,another\n")
    streams = {name: (small_stream(name), small_stream(name).initial(0)) for name in ("2d", "3d")}
    run(root, out, streams, sounds=True, manifest="m.csv")
    return out, sum(stream.width for stream, _ in streams.values())


def read(made, sound: str, window_s: float = 5.0):
    """The reader of the three films, and what it gives of them as a whole."""
    out, width = made
    tree = configs.default("avlnet")
    tree.data.update(source="features", root=str(out), pairing="none", sound=sound, window_s=window_s)
    items = layouts.open_items(tree)
    sounds = {"spectrogram": Feature((40, round(100 * window_s)), "float16", modality="audio")} if sound == "spectrogram" else {
        "waveform": Feature((round(16000 * window_s),), "int16", modality="audio")}
    features = {**sounds, f"{sound}_length": Feature((), "int32"), "video": Feature((width,), "float32", modality="video"),
                "video_length": Feature((), "int32")}
    reader = items.reader(Plan(3, 0, 3, 1), Format(32, 24, window_s, 16000), Quarantine(None, 3, 0.0), features)
    return items, reader.whole(np.arange(3))


def test_every_film_is_found_with_its_caption(made):
    items, _ = read(made, "spectrogram")
    assert [(item.path, item.split, list(item.captions.texts)) for item in items.items] == [
        ("a.mkv", "train", ["a flash"]), ("b.mkv", "train", []), ("c.mkv", "train", ["another"])]


def test_a_film_is_the_maximum_of_its_rows_as_unit_vectors(made):
    _, batch = read(made, "spectrogram")
    for row, name in enumerate("abc"):
        parts = []
        for stream in ("2d", "3d"):
            rows = np.load(made[0] / f"{name}_{stream}.npz")["features"].astype(np.float32)
            parts.append(rows.max(0) / np.linalg.norm(rows.max(0)))
        np.testing.assert_allclose(batch["video"][row], np.concatenate(parts), atol=1e-5)
        np.testing.assert_array_equal(batch["spectrogram"][row], np.load(made[0] / f"{name}_spec.npz")["arr_0"][:, :500])


def test_sounds_of_the_videos_themselves_have_the_clock_of_the_rows(made):
    _, batch = read(made, "waveform")
    for row in range(3):
        loud = np.flatnonzero(np.abs(batch["waveform"][row].astype(int)) > 10000) / 16000
        np.testing.assert_allclose([loud.min(), loud.max()], [1.0, 3.0], atol=0.01)
