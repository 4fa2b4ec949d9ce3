"""The command that embeds files: right vectors at right times, every failure told, nothing half written."""

import csv
import json
import re
import signal
import time
from pathlib import Path

import media
import numpy as np
import pytest
from end_to_end import command, here
from PIL import Image

from avc_jax import model
from avc_jax.data import visit as visits
from avc_jax.data.decode import MediaFile
from avc_jax.data.moments import make_format
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.data.sources import open_folder


def flags(finished, inputs, out, *args) -> list[str]:
    return [f"--checkpoint={finished}", *(f"--inputs={one}" for one in inputs), f"--out={out}", *args]


def run(*args, expect: int = 0) -> str:
    return here.call("avc_jax.embed", *flags(*args), expect=expect)


def load(path) -> dict:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def net(finished):
    return model.load(finished)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two sounds, a video, two images, and two files that are none; the second sound goes on for 70 s."""
    folder = tmp_path_factory.mktemp("embed") / "inputs"
    folder.mkdir()
    media.tone_video(folder / "a.wav", video=False, seconds=2.2, rate_hz=44100)
    media.write(folder / "b.flac", sound=np.random.default_rng(0).normal(size=70 * 16000).clip(-3, 3) / 4, rate_hz=16000)
    media.flash_and_click(folder / "c.mp4", seconds=3.0, events_s=[1.0])
    Image.fromarray(media.numbered(1365)).save(folder / "d.jpg")
    Image.fromarray(media.numbered(682)).save(folder / "e.png")
    media.text_file(folder / "f.wav")
    media.empty_file(folder / "g.mp4")
    return folder


@pytest.fixture(scope="module")
def sounds(folder, finished, cache):
    """What the command makes of the sounds, and what it says."""
    out = folder.parent / "sounds.npz"
    asked = flags(finished, [folder], out, "--hop_s=0.25", "--batch_size=16")
    return out, command.run(cache, *asked, module="avc_jax.embed", expect=65)


def test_sounds_get_vectors_at_their_times(sounds, folder, net):
    found = load(sounds[0])
    names = [Path(path).name for path in found["files"]]
    assert names == ["a.wav", "b.flac", "c.mp4", "f.wav", "g.mp4"]
    assert found["embedding"].dtype == np.float32 and found["file"].dtype == np.int32
    for place, (name, seconds) in enumerate((("a.wav", 2.2), ("b.flac", 70.0), ("c.mp4", 3.0))):
        rows = found["file"] == place
        with MediaFile(folder / name, video=False) as file:
            end_s = file.measure().end_s
            assert end_s == pytest.approx(seconds, abs=0.05)
            inside = found["time_s"][rows] + 1.0 <= end_s - 0.05
            windows = file.sounds(found["time_s"][rows][inside].tolist(), 1.0, 8000)
        assert np.array_equal(found["time_s"][rows], 0.25 * np.arange(rows.sum()))
        assert inside.sum() in (rows.sum() - 1, rows.sum())
        np.testing.assert_allclose(found["embedding"][rows][inside], net.embed(waveform=windows)["audio"], rtol=1e-4, atol=1e-5)


def test_bad_files_are_told_and_stop_nothing(sounds):
    out, printed = sounds
    assert "f.wav: unreadable: The file is no video or sound" in printed and "g.mp4: unreadable: The file is empty" in printed
    assert "2 of 5 files could not be read" in printed and "Traceback" not in printed
    with open(f"{out}.failed.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(Path(row["path"]).name, row["kind"]) for row in rows] == [("f.wav", "unreadable"), ("g.mp4", "unreadable")]
    assert [Path(path).name for path in load(out)["failed_files"]] == ["f.wav", "g.mp4"]


def test_facts_say_where_the_vectors_come_from(sounds, finished):
    facts = json.loads(str(load(sounds[0])["facts"]))
    assert facts["params_sha256"] == command.results(finished)["train"]["params_sha256"] and facts["step"] == 60
    assert (facts["modality"], facts["output"], facts["hop_s"], facts["rate_hz"]) == ("audio", "embed", 0.25, 8000)


def test_the_other_formats_hold_the_same(folder, finished, tmp_path):
    import pyarrow.parquet

    inputs = [folder / "a.wav", folder / "*.flac"]
    for name in ("o.npz", "o.csv", "o.parquet", "o.txt"):
        run(finished, inputs, tmp_path / name, "--hop_s=0.25", "--batch_size=16", *["--format=csv"] * name.endswith("txt"))
    assert (tmp_path / "o.csv").read_text() == (tmp_path / "o.txt").read_text()
    with open(tmp_path / "o.csv", newline="") as file:
        lines = list(csv.reader(file))[1:]
    table, expected = pyarrow.parquet.read_table(tmp_path / "o.parquet"), load(tmp_path / "o.npz")
    np.testing.assert_array_equal([float(line[1]) for line in lines], expected["time_s"])
    np.testing.assert_array_equal(np.array([line[2:] for line in lines], np.float32), expected["embedding"])
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), expected["embedding"])
    assert table["file"].to_pylist() == [line[0] for line in lines] and Path(lines[0][0]).name == "a.wav"


def test_frames_and_images_are_embedded(folder, finished, net, tmp_path):
    run(finished, [folder / "c.mp4", folder / "?.jpg", folder / "e.png"], tmp_path / "o.npz", "--modality=video",
        "--embedding_size=128")
    found = load(tmp_path / "o.npz")
    assert json.loads(str(found["facts"]))["output"] == "transfer"
    assert found["file"].tolist() == [0] * 6 + [1, 2] and found["time_s"].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 0, 0]
    with MediaFile(folder / "c.mp4", audio=False) as file:
        frames = file.crops(found["time_s"][:6].tolist(), np.full((6, 2), 0.5), 40, 32)
    expected = np.asarray(net.system.transfer(net.variables, {"frame": frames})["video"])
    np.testing.assert_allclose(found["embedding"][:6], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.abs(found["embedding"][6] - found["embedding"][7]).max() > 0


def test_vectors_equal_those_of_the_pairs_that_evaluation_reads(finished, net, tmp_path):
    for number in range(2):  # not AAC, whose decoder makes up another noise at each visit
        media.tone_video(tmp_path / f"{number}.mov", seconds=2.5, tone_hz=200 + 100 * number, acodec="pcm_s16le")
    source = open_folder(str(tmp_path), "", (1.0, 0.0, 0.0))
    reader = visits.Reader(source, Plan(len(source.clips), 0, batch_size=2, pairs_per_visit=2), make_format(net.config),
                           Quarantine(None, source.num_files, 0.0), pairing="independent")
    pairs = reader.evaluate(np.arange(2))
    row = int(np.flatnonzero(pairs["label"] == 1)[0])
    path = tmp_path / source.clips[pairs["clip"][row]].path
    for modality, time_s, name in (("audio", pairs["sound_s"][row], "waveform"), ("video", pairs["frame_s"][row], "frame")):
        # One hop that ends exactly at the moment of the pair.
        run(finished, [path], tmp_path / "o.npz", f"--modality={modality}", f"--hop_s={float(time_s)!r}")
        found = load(tmp_path / "o.npz")
        place = int(np.abs(found["time_s"] - time_s).argmin())
        assert found["time_s"][place] == pytest.approx(time_s, abs=1e-9)
        expected = net.embed(**{name: pairs[name][row : row + 1]})[modality]
        np.testing.assert_allclose(found["embedding"][place : place + 1], expected, rtol=1e-4, atol=1e-4)


def test_odd_media_ends_with_every_file_embedded_or_named(shared, finished, tmp_path):
    inputs = shared / "data" / "odd_media" / "files"
    for modality in ("audio", "video"):
        run(finished, [f"{inputs}/*"], tmp_path / "o.npz", f"--modality={modality}", expect=65)
        found = load(tmp_path / "o.npz")
        embedded = {found["files"][place] for place in found["file"]}
        assert set(found["files"]) == embedded | set(found["failed_files"]) and len(found["files"]) == 71 and len(embedded) > 30
        assert np.isfinite(found["embedding"]).all()
        assert (np.diff(found["file"]) >= 0).all()
        assert (np.diff(found["time_s"])[np.diff(found["file"]) == 0] > 0).all()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_says_so_and_leaves_nothing(finished, cache, tmp_path, number):
    path = tmp_path / "in" / "long.wav"
    path.parent.mkdir()
    media.write(path, sound=np.zeros(8000 * 2000), rate_hz=8000)
    process = command.start(cache, f"--checkpoint={finished}", f"--inputs={path}", f"--out={tmp_path / 'out' / 'o.csv'}",
                            "--hop_s=0.01", module="avc_jax.embed")
    temporary = tmp_path / "out" / ".o.csv.tmp"
    while not temporary.exists() or temporary.stat().st_size < 100000:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 75, printed
    assert f"Stopped by {number.name}. Nothing was written; the same command starts anew." in printed
    assert "Traceback" not in printed and not list((tmp_path / "out").iterdir())


USUAL = ("--checkpoint={run}", "--inputs={folder}/a.wav", "--out={tmp}/o")


@pytest.mark.parametrize(("args", "code", "words"), [
    (USUAL[1:], 66, "--checkpoint="),
    ((USUAL[0], USUAL[2]), 66, "--inputs is missing"),
    ((USUAL[0], "--inputs={tmp}/*.wav", USUAL[2]), 66, "*.wav: expected a file"),
    ((USUAL[0], "--inputs={tmp}", USUAL[2]), 66, "expected a folder with files for --modality=audio"),
    (USUAL[:2], 64, "--out is missing"),
    ((*USUAL[:2], "--out={folder}/a.wav/o"), 74, "--out="),
    ((*USUAL, "--hop_s=0"), 64, "hop_s"),
    ((*USUAL, "--modality=smell"), 64, "modality"),
    ((*USUAL, "--embedding_size=512"), 64, "32 (embed) or 384 (transfer)"),
    ((*USUAL, "--input_repr=mel128"), 64, "found config.audio.front_end=log"),
    ((USUAL[0], "--inputs={folder}/f.wav", USUAL[2]), 65, "1 of 1 files could not be read")])
def test_bad_input_is_told_in_words_and_by_exit_code(finished, folder, tmp_path, args, code, words):
    filled = [arg.format(run=finished, folder=folder, tmp=tmp_path) for arg in args]
    assert words in here.call("avc_jax.embed", *filled, expect=code)
    assert code == 65 or not list(tmp_path.iterdir())


def test_the_lines_of_the_readme_work(finished, folder, net, tmp_path, monkeypatch):
    readme = (command.ROOT / "README.md").read_text()
    code = re.search(r"```python\n(.*?embed_sound.*?)```", readme, re.DOTALL)[1]
    assert len(code.strip().splitlines()) == 3
    made: dict = {"samples": np.zeros(5 * 44100, np.float32)}
    exec(code.replace("runs/mine", str(finished)), made)
    assert made["time_s"].tolist() == [0.5 * k for k in range(9)] and made["vectors"].shape == (9, 32)
