"""The features of folders: rows are those of their pictures, whole files stay, and every bad video is told."""

import csv
import dataclasses
import io
import json

import flax.linen as nn
import jax
import media
import numpy as np
import pytest
import tiny
from visual.small import small_stream

from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data.quarantine import Quarantine
from avc_jax.train.guard import Guard
from avc_jax.train.workdir import Workdir
from avc_jax.visual import folder, make, networks, reading

STREAMS = ("2d", "3d")


@pytest.fixture(scope="module")
def streams():
    return {name: (small_stream(name), small_stream(name).initial(0)) for name in STREAMS}


@pytest.fixture(scope="module")
def videos_folder(tmp_path_factory):
    """Five videos of several shapes and lengths in two folders, one without sound, and one that is none."""
    root = tmp_path_factory.mktemp("raw")
    (root / "b").mkdir()
    media.flash_and_click(root / "wide.mp4", seconds=3.2, size=(96, 64))
    media.flash_and_click(root / "b" / "tall.mkv", seconds=2.1, size=(64, 96))
    media.flash_and_click(root / "b" / "short.webm", seconds=0.3)
    media.flash_and_click(root / "mute.mp4", seconds=1.4, audio=False)
    tiny.write_video(root / "c.mp4", 3)
    media.text_file(root / "text.mp4")
    return root


def run(root, out, streams, *, sounds=False, batch_size=8, manifest="", budget=0.5, guard=None):
    """Makes the features of a folder as the command does; returns (summary, what was printed)."""
    source = sources.open_folder(str(root), manifest, (1, 0, 0))
    rows = sources.read_manifest(root, manifest, "--manifest") if manifest else [{"path": clip.path} for clip in source.clips]
    printed = io.StringIO()
    workdir = Workdir(str(out))
    try:
        facts = {name: {"network": stream.title} for name, (stream, _) in streams.items()}
        folder.claim(workdir, root, facts | ({"spec": {}} if sounds else {}), {})
        ledger = Quarantine(out / folder.LEDGER, source.num_files, budget, setting="--quarantine_budget")
        maker = make.Maker(root, workdir, streams, networks.spectrogram if sounds else None, batch_size=batch_size, workers=2,
                           ledger=ledger, guard=guard or Guard(), progress=make.Progress(printed))
        maker.make(sorted({clip.path for clip in source.clips}))
        return make.finish(source, rows, workdir, maker, ledger), printed.getvalue()
    finally:
        workdir.close()


def files(out) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.npz"))}


@pytest.fixture(scope="module")
def made(videos_folder, streams, tmp_path_factory):
    """(folder of features, summary, what was printed)"""
    out = tmp_path_factory.mktemp("made") / "out"
    return out, *run(videos_folder, out, streams)


def features(out, name: str, stream: str) -> np.ndarray:
    with np.load(out / f"{name}_{stream}.npz", allow_pickle=False) as arrays:
        return arrays["features"]


@pytest.mark.parametrize(("video", "rows"), [("wide.mp4", (3, 5)), ("b/tall.mkv", (2, 4)), ("b/short.webm", (1, 1)),
                                             ("c.mp4", (2, 3))])
def test_every_row_is_that_of_its_pictures(made, videos_folder, streams, video, rows):
    out = made[0]
    block, = reading.measure(videos_folder / video).blocks()
    read = reading.read_block(videos_folder / video, block, STREAMS)
    for name, count in zip(STREAMS, rows, strict=True):
        stream, variables = streams[name]
        found = features(out, video.rsplit(".", 1)[0], name)
        assert found.shape == (count, stream.width) and found.dtype == np.float16
        wanted = np.asarray(jax.jit(stream.apply)(variables, np.stack(read[name].values)))
        np.testing.assert_allclose(found, wanted, atol=2e-3)
        np.testing.assert_allclose(np.linalg.norm(found.astype(np.float32), axis=1), 1, atol=2e-3)


def test_rows_do_not_depend_on_which_share_a_batch(made, videos_folder, streams, tmp_path):
    run(videos_folder, tmp_path / "out", streams, batch_size=16)
    for name, content in files(made[0]).items():
        one, other = (np.load(io.BytesIO(text))["features"] for text in (content, files(tmp_path / "out")[name]))
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=2e-3)


def test_bad_videos_are_in_the_ledger_and_not_in_the_manifest(made):
    out, summary, printed = made
    row, = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert row["path"] == "text.mp4" and row["kind"] == "unreadable" and row["reason"] in printed
    assert summary["bad"] == {"unreadable": 1} and summary["videos"] == 5
    assert summary["rows"] == {"2d": 9, "3d": 16}
    with open(out / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["b/short.webm", "b/tall.mkv", "c.mp4", "mute.mp4", "wide.mp4"]
    assert list(rows[0]) == ["path", "split", "label", "start_s", "end_s"] and {row["split"] for row in rows} == {"train"}
    assert "Bad: 1 (1 unreadable)" in make.summary_text(summary)


def test_whole_files_stay_and_others_are_made_anew(made, videos_folder, streams, tmp_path):
    out = tmp_path / "out"
    for name, content in files(made[0]).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    before = files(out)
    (out / "wide_2d.npz").write_bytes(before["wide_2d.npz"][:-40])  # cut
    (out / "b" / "tall_3d.npz").unlink()
    np.savez(out / "c_2d.npz", features=np.zeros((2, 7), np.float16))  # of another width
    np.savez(out / "mute_3d.npz", features=np.zeros((3, 64), np.float32))  # of another type
    (out / "b" / ".tall_3d.npz.tmp").write_bytes(b"half")  # what a kill leaves
    times = {name: (out / name).stat().st_mtime_ns for name in before if (out / name).exists()}
    summary, _ = run(videos_folder, out, streams)
    assert set(files(out)) == set(before) and summary["videos"] == 5 and not list(out.rglob("*.tmp"))
    new = {name for name, then in times.items() if (out / name).stat().st_mtime_ns != then} | {"b/tall_3d.npz"}
    assert new == {"wide_2d.npz", "b/tall_3d.npz", "c_2d.npz", "mute_3d.npz"}
    for name in new:
        one, other = (np.load(io.BytesIO(texts[name]))["features"] for texts in (before, files(out)))
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=2e-3)


def test_other_streams_are_added_and_other_networks_refused(videos_folder, streams, tmp_path):
    out = tmp_path / "out"
    run(videos_folder, out, {"2d": streams["2d"]})
    before = files(out)
    run(videos_folder, out, streams)
    assert {name: content for name, content in files(out).items() if name in before} == before
    assert len(files(out)) == 2 * len(before)
    other = networks.make_stream("2d", 34, 1 / 8, "float32")
    with pytest.raises(errors.ConfigError, match=r"other features:\n  2d.network: was 'ResNet-18.*is 'ResNet-34"):
        run(videos_folder, out, {"2d": (other, None)})


def test_the_manifest_says_what_the_input_manifest_says(streams, tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    media.flash_and_click(root / "a.mp4", seconds=2.0)
    media.flash_and_click(root / "late.ts", seconds=4.4, audio_offset_s=1.4, video_offset_s=1.4)
    start_s = reading.measure(root / "late.ts").origin_s
    assert start_s > 1
    (root / "m.csv").write_text("path,split,label,caption,start_s,end_s\na.mp4,test,dog,\"a dog, barking\",0.5,1.5\n"
                                f"late.ts,train,,words,{start_s + 1},\n")
    summary, _ = run(root, tmp_path / "out", {"2d": streams["2d"]}, manifest="m.csv")
    with open(tmp_path / "out" / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"path": "a.mp4", "split": "test", "label": "dog", "start_s": "0.5", "end_s": "1.5", "caption": "a dog, barking"},
        {"path": "late.ts", "split": "train", "label": "", "start_s": "1.0", "end_s": "", "caption": "words"}]
    assert summary["clips"] == 2
    run(root, tmp_path / "out", {"2d": streams["2d"]}, manifest="m.csv")  # where nothing is decoded
    with open(tmp_path / "out" / "manifest.csv", newline="") as file:
        assert list(csv.DictReader(file)) == rows


def test_spectrograms_have_the_published_form(videos_folder, streams, tmp_path):
    summary, _ = run(videos_folder, tmp_path / "out", {"2d": streams["2d"]}, sounds=True)
    with np.load(tmp_path / "out" / "wide_spec.npz", allow_pickle=False) as arrays:
        found = arrays["arr_0"]
    assert found.shape == (40, 321) and found.dtype == np.float16 and -0.01 < found.max() <= 0 and found.min() == -80
    loudest = np.abs(found.astype(np.float32).mean(0) - found.astype(np.float32).mean(0).max()) < 1
    assert set(np.flatnonzero(loudest)) <= {98, 99, 100, 101, 102, 298, 299, 300, 301, 302}  # the clicks, at 1 s and 3 s
    assert set(summary["without_sound"]) == {"mute.mp4"} and "no_audio" in summary["without_sound"]["mute.mp4"]
    assert not (tmp_path / "out" / "mute_spec.npz").exists() and (tmp_path / "out" / "mute_2d.npz").exists()


def test_spectrogram_does_not_depend_on_the_length_that_it_is_padded_to(monkeypatch):
    samples = (np.random.default_rng(0).normal(size=16000) * 3000).astype(np.int16)
    short = networks.spectrogram(samples)
    monkeypatch.setattr(networks, "_SHORTEST", 16000)
    np.testing.assert_allclose(short.astype(np.float32), networks.spectrogram(samples).astype(np.float32), atol=0.1)
    assert short.shape == (40, 101)


def test_too_many_bad_videos_stop_the_command_and_none_is_bad_data(streams, tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    for number in range(3):
        media.text_file(root / f"{number}.mp4")
    with pytest.raises(errors.DataError, match=r"2 of 3 files unusable.*--quarantine_budget"):
        run(root, tmp_path / "out", streams, budget=0.05)
    with pytest.raises(errors.DataError, match="Not one of the 3 videos"):
        run(root, tmp_path / "out", streams, budget=1.0)
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_names_that_would_clash_or_lie_elsewhere_are_refused():
    with pytest.raises(errors.DataError, match=r"a/x\.mkv and a/x\.mp4 would both"):
        folder.refuse_clashes(["a/x.mkv", "a/x.mp4", "b/x.mp4"])
    for path in ("../x.mp4", "/abs/x.mp4"):
        with pytest.raises(errors.DataError, match="not below the folder of videos"):
            folder.refuse_clashes([path])


def test_another_folder_is_not_written_into(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(errors.ConfigError, match=r"holds thesis\.txt and no features\.json"):
        folder.refuse_other_folder(str(tmp_path))


def test_stopping_leaves_whole_files_only(videos_folder, streams, tmp_path):
    guard, clips = Guard(), {"3d": streams["3d"]}
    taken, take = [], make.Maker._take

    def count(self, result):
        take(self, result)
        taken.append(result)
        if len(taken) == 5:
            guard.signal_name = "SIGTERM"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make.Maker, "_take", count)
        with pytest.raises(errors.Stopped):
            run(videos_folder, tmp_path / "out", clips, batch_size=1, guard=guard)
    found = files(tmp_path / "out")
    for name in found:
        assert folder.is_whole(tmp_path / "out" / name, name[-6:-4], streams[name[-6:-4]][0].width)
    assert len(found) < 5
    run(videos_folder, tmp_path / "out", clips)
    assert len(files(tmp_path / "out")) == 5


# Real media ------------------------------------------------------------------------------------------------------------------


class Colours(nn.Module):
    """What a network is at the least: its features are the mean colour."""

    def __call__(self, x, train):
        return x


@pytest.mark.slow
def test_every_odd_medium_gets_features_or_a_reason(shared, tmp_path):
    root = shared / "data" / "odd_media" / "files"
    paths = sorted(path.name for path in root.iterdir())
    names = {}
    for path in paths:  # two of one name would have the same features
        names.setdefault(folder.stem_of(path), path)
    (tmp_path / "m.csv").write_text("path\n" + "\n".join(f'"{path}"' for path in names.values()))
    # Of 3-D pictures alone, which take one program: whole pictures of odd media have as many shapes as there are files.
    stream = dataclasses.replace(small_stream("3d"), network=Colours())
    summary, _ = run(root, tmp_path / "out", {"3d": (stream, {})}, sounds=True, manifest=str(tmp_path / "m.csv"), budget=1.0)
    assert summary["videos"] + sum(summary["bad"].values()) == len(names) and summary["videos"] > 15
    for path in (tmp_path / "out").rglob("*_?d.npz"):
        assert np.isfinite(np.load(path)["features"]).all()
    for path in (tmp_path / "out").rglob("*_spec.npz"):
        found = np.load(path)["arr_0"]
        assert found.shape[0] == 40 and (found <= 0).all() and (found >= -80).all()
