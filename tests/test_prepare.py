"""The command that makes records: the same bytes whatever happens on the way, and every failure told."""

import dataclasses
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import media
import numpy as np
import pytest
import tiny
from data.test_records import RECIPE, flip, make_records

from avc_jax import errors, prepare
from avc_jax.data import sources
from avc_jax.data.records import layout, make, shard
from avc_jax.train.guard import Guard
from avc_jax.train.workdir import Workdir

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ("--fps=10", "--short_side=48", "--rate_hz=8000", "--window_s=0.5", "--clips_per_shard=2", "--split_fractions=1,0,0")
SMALL = layout.Recipe(10.0, 48, 90, 8000, 0.5, 600.0, 2, (1.0, 0.0, 0.0))


def start(*args) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "avc_jax.prepare", *map(str, args)], cwd=ROOT, text=True,
                            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(*args, expect=0) -> str:
    process = start(*args)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == expect, printed
    return printed


def files(out: Path) -> dict[str, bytes]:
    """Everything in a folder of records but the lock."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*"))
            if path.is_file() and path.name != "lock"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten videos and two that are none."""
    folder = tmp_path_factory.mktemp("prepare") / "videos"
    folder.mkdir()
    for number in range(10):
        tiny.write_video(folder / f"{number:02d}.mp4", number % 6)
    media.text_file(folder / "05a.mp4")
    media.empty_file(folder / "07a.mp4")
    return folder


@pytest.fixture(scope="module")
def reference(folder, tmp_path_factory) -> dict[str, bytes]:
    """What an undisturbed run in one process writes."""
    out = tmp_path_factory.mktemp("reference") / "out"
    make_records(folder, out, SMALL)
    return files(out)


# The same bytes ----------------------------------------------------------------------------------------------------------


NEEDS_BEAM = pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="Apache Beam is not installed")
HERE_OR_BEAM = pytest.mark.parametrize("runner", ["local", pytest.param("beam", marks=NEEDS_BEAM)])


@HERE_OR_BEAM
def test_four_workers_write_the_bytes_of_one_and_say_what_they_did(folder, reference, tmp_path, runner):
    printed = run(f"--videos={folder}", f"--out={tmp_path / 'out'}", "--workers=4", f"--runner={runner}",
                  "--quarantine_budget=0.5", "--verify", *FLAGS)
    assert files(tmp_path / "out") == reference
    assert "10 records of 12 clips" in printed and "Rejected: 2 (2 unreadable)" in printed
    assert "Verified: 10 records" in printed and "--config.data.source=records" in printed


def wait_for_shards(process, out: Path, count: int) -> None:
    while len([path for path in (out / "shards").glob("*.json") if path.name[0] != "."]) < count:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.002)


@HERE_OR_BEAM
def test_two_kills_in_the_middle_change_nothing(folder, reference, tmp_path, runner):
    out = tmp_path / "out"
    args = (f"--videos={folder}", f"--out={out}", "--workers=1", f"--runner={runner}", "--quarantine_budget=0.5", *FLAGS)
    for count in (1, 3):
        process = start(*args)
        wait_for_shards(process, out, count)
        process.kill()
        process.communicate()
        assert not (out / layout.INDEX).exists(), "it was over before it was killed, so nothing was tried"
    assert "were there" in run(*args)
    assert files(out) == reference


def children(pid: int) -> list[int]:
    """The workers of a process."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="workers are found in /proc")
def test_killed_worker_is_told_and_loses_nothing(folder, reference, tmp_path):
    out = tmp_path / "out"
    args = (f"--videos={folder}", f"--out={out}", "--workers=2", "--quarantine_budget=0.5", *FLAGS)
    process = start(*args)
    wait_for_shards(process, out, 1)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 70 and "A worker ended" in printed and "Traceback" not in printed, printed
    run(*args)
    assert files(out) == reference


@HERE_OR_BEAM
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_command_says_so_and_leaves_no_half_shard(folder, tmp_path, number, runner):
    for attempt in range(5):  # it may be done before the signal comes
        out = tmp_path / str(attempt)
        process = start(f"--videos={folder}", f"--out={out}", "--workers=2", f"--runner={runner}", "--quarantine_budget=0.5",
                        *FLAGS)
        wait_for_shards(process, out, 1)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
        if process.returncode != 0:
            break
    assert process.returncode == 75 and "the same command goes on" in printed and "Traceback" not in printed, printed
    assert not list(out.rglob("*.tmp"))


def test_stop_between_clips_in_one_process(folder, tmp_path):
    job = shard.Job(folder, tmp_path, layout.assign(sources.open_folder(str(folder), "", (1, 0, 0)), 3)[0], SMALL)
    (tmp_path / "shards").mkdir()
    asked = []
    with pytest.raises(errors.Stopped):
        shard.make_shard(job, lambda: asked.append(0) or len(asked) > 1)
    assert len(asked) == 2 and [path.name for path in tmp_path.rglob("*")] == ["shards"]


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone", "sidecar", "leftover"])
def test_only_what_was_damaged_is_made_anew(folder, reference, tmp_path, harm):
    out = tmp_path / "out"
    make_records(folder, out, SMALL)
    victim = sorted(out.glob("*.array_record-*"))[1]
    others = {path: path.stat().st_mtime_ns for path in out.glob("*.array_record-*") if path != victim}
    if harm == "flipped":
        flip(victim, b".mp4")
    elif harm == "cut":
        os.truncate(victim, victim.stat().st_size // 2)
    elif harm == "gone":
        victim.unlink()
    elif harm == "sidecar":
        layout.sidecar(out, victim.name).write_text("{")
    else:
        (out / f".{victim.name}.1.tmp").write_text("half")
    make_records(folder, out, SMALL)
    assert files(out) == reference
    assert all(path.stat().st_mtime_ns == then for path, then in others.items())


def test_video_that_was_replaced_is_read_again(folder, tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for path in folder.glob("0[0-3].mp4"):
        (videos / path.name).write_bytes(path.read_bytes())
    make_records(videos, out, SMALL)
    before = files(out)
    media.text_file(videos / "02.mp4")
    make_records(videos, out, SMALL)
    after = files(out)
    assert {name for name in before if name.startswith("clips-") and before[name] != after[name]} == {
        "clips-train.array_record-00001-of-00002"}
    assert json.loads(after["quarantine.jsonl"])["path"] == "02.mp4"


# What is told ------------------------------------------------------------------------------------------------------------


def test_bad_files_are_in_the_ledger_with_their_reasons_and_in_no_record(reference):
    rows = [json.loads(line) for line in reference["quarantine.jsonl"].splitlines()]
    assert [(row["path"], row["kind"]) for row in rows] == [("05a.mp4", "unreadable"), ("07a.mp4", "unreadable")]
    assert all(len(row["reason"]) > 10 for row in rows)
    index = {json.loads(line)["clip"][0]: json.loads(line) for line in reference["clips.jsonl"].splitlines()}
    assert index["05a.mp4"]["reason"] == rows[0]["reason"] and "shard" not in index["05a.mp4"]
    assert not any(b"05a.mp4" in content for name, content in reference.items() if name.startswith("clips-"))


def test_too_many_bad_files_stop_the_command(folder, tmp_path):
    with pytest.raises(errors.DataError, match=r"2 of 12 files unusable.*--quarantine_budget"):
        make_records(folder, tmp_path / "out", SMALL, budget=0.05)
    assert not (tmp_path / "out" / layout.INDEX).exists()


def test_folder_without_one_usable_clip_is_bad_data(tmp_path):
    (tmp_path / "videos").mkdir()
    media.text_file(tmp_path / "videos" / "a.mp4")
    with pytest.raises(errors.DataError, match="Not one of the 1 clips"):
        make_records(tmp_path / "videos", tmp_path / "out", SMALL)


def test_summary_counts_and_measures(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    rate_hz = 8000
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4 * rate_hz) / rate_hz)
    for name, heard_s in (("full", 4), ("quarter", 1)):
        times = [k / 25 for k in range(100)]
        media.write(videos / f"{name}.mov", pictures=(media.numbered(k) for k in range(100)), times_s=times,
                    sound=np.where(np.arange(len(tone)) < heard_s * rate_hz, tone, 0), rate_hz=rate_hz, acodec="pcm_s16le")
    media.text_file(videos / "bad.mp4")
    make_records(videos, tmp_path / "out", SMALL)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["clips"], summary["records"], summary["rejected"]) == (3, 2, {"unreadable": 1})
    assert summary["hours"] == pytest.approx(8 / 3600, abs=1e-6)
    # A sine of half the full scale is 9.03 dB below it, and a quarter of it another 6.02.
    assert summary["loudness_rms_dbfs"]["p95"] == pytest.approx(-9.03 - 0.05 * 6.02, abs=0.05)
    assert summary["loudness_rms_dbfs"]["p05"] == pytest.approx(-15.05 + 0.05 * 6.02, abs=0.05)
    assert summary["silence"] == {"clips_more_than_half_silent": 0.5, "silent_windows": 0.375}
    assert "1 unreadable" in make.summary_text(summary) and "Not the clips of the folder" not in make.summary_text(summary)
    long = summary | {"rejected": {"too_long": 3}}
    assert "Not the clips of the folder: 3 longer than --longest_s have no record" in make.summary_text(long)


def test_progress_is_plain_lines_where_there_is_no_terminal(monkeypatch):
    now, stream = [0.0], io.StringIO()
    monkeypatch.setattr(make.time, "monotonic", lambda: now[0])
    progress = make.Progress(4, stream)
    for _ in range(4):
        now[0] += 6.0
        progress.add({"kept": False, "records": [1, 2], "rejected": [3]})
    progress.end()
    assert stream.getvalue().splitlines() == ["preparing: 2 of 4 shards, 12 s left", "preparing: 4 of 4 shards, 0 s left",
                                              "prepared 4 shards (0 were there) in 24 s: 8 records, 4 rejected"]


# Verify ------------------------------------------------------------------------------------------------------------------


def verify(out: Path) -> int:
    with Guard() as guard:
        return make.verify(out, guard)


def test_verify_counts_what_is_good(folder, tmp_path):
    make_records(folder, tmp_path / "out", SMALL)
    assert verify(tmp_path / "out") == 10


@pytest.mark.parametrize("place", range(0, 101, 10))
def test_verify_finds_one_flipped_byte_anywhere(folder, tmp_path, place):
    out = tmp_path / "out"
    make_records(folder, out, SMALL)
    victim = sorted(out.glob("*.array_record-*"))[2]
    data = bytearray(victim.read_bytes())
    data[min(len(data) * place // 100, len(data) - 1)] ^= 16
    victim.write_bytes(data)
    with pytest.raises(errors.DataError, match=victim.name):
        verify(out)


def test_verify_names_shard_record_and_path_and_ends_with_65(folder, tmp_path):
    out = tmp_path / "out"
    make_records(folder, out, SMALL)
    flip(out / "clips-train.array_record-00001-of-00006", b"03.mp4")
    printed = run(f"--out={out}", "--verify", expect=65)
    assert "clips-train.array_record-00001-of-00006, record 1 (03.mp4)" in printed and "record 0" not in printed


def test_verify_of_what_is_not_there_is_missing_input(tmp_path):
    assert "nothing to verify" in run(f"--out={tmp_path / 'none'}", "--verify", expect=66)
    assert "found none there" in run(f"--out={tmp_path}", "--verify", expect=66)


# tensorflow-datasets -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_tensorflow_datasets_reads_the_folder(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(4):
        tiny.write_video(videos / f"{number}.mp4", number)
    media.text_file(videos / "bad.mp4")
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,split,label\n0.mp4,train,a\n1.mp4,train,b\n2.mp4,train,a\n3.mp4,test,b\nbad.mp4,broken,a\n")
    make_records(videos, tmp_path / "out", SMALL, str(manifest))
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(tmp_path / "out")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 3, "test": 1, "broken": 0}
    train = builder.as_data_source("train")
    assert [train[i]["path"] for i in range(3)] == [b"0.mp4", b"1.mp4", b"2.mp4"]
    example = train[2]
    assert example["label"] == b"a" and example["clip"] == 2 and example["rate_hz"] == 8000
    assert example["frame_s"].dtype == np.float64 and example["sound"].dtype == np.int16
    assert [tiny.picture_of(np.asarray(frame)) for frame in example["frames"]] == [2] * len(example["frame_s"])
    assert tiny.sound_of(example["sound"][:4000], 8000) == 2


# Bad input ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("args", "code", "words"), [
    (("--out={tmp}/o",), 66, "--videos is empty"), (("--videos={tmp}/none", "--out={tmp}/o"), 66, "found nothing there"),
    (("--videos={videos}", "--manifest=none.csv", "--out={tmp}/o"), 66, "--manifest=none.csv"),
    (("--videos={videos}",), 64, "--out is missing"), (("--videos={videos}", "--out={tmp}/o", "--fps=0"), 64, "fps"),
    (("--videos={videos}", "--out={tmp}/o", "--split_fractions=1,2"), 64, "three shares"),
    (("--videos={videos}", "--out={tmp}/o", "--workers=-1"), 64, "workers"), (("--video=x",), 64, "video"),
    (("--videos={videos}", "--out={tmp}/o", "--runner=spark"), 64, "should be one of <local|beam>"),
    (("--videos={videos}", "--out={tmp}/o", "--beam_pipeline_options=runner=FlinkRunner"), 64, "add --runner=beam"),
    (("--videos={videos}", "--out={tmp}/o", "--runner=beam"), 64, "pip install -r requirements-beam.txt"),
    (("--videos={videos}", "--out={videos}"), 64, "is no folder of records"),
    (("--videos={videos}", "--out={videos}/00.mp4/o"), 74, "--out")])
def test_bad_input_is_told_in_words_and_by_exit_code(folder, tmp_path, args, code, words, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)  # as if it were not installed
    for name in ("videos", "out", "manifest", "fps", "split_fractions", "workers", "runner", "beam_pipeline_options"):
        prepare._FLAGS[name].unparse()
    try:
        assert prepare.main(["prepare", *(arg.format(tmp=tmp_path, videos=folder) for arg in args)]) == code
    finally:
        prepare._FLAGS.unparse_flags()
    printed = capfd.readouterr().err
    assert words in printed and "Traceback" not in printed
    assert not (folder / "lock").exists(), "something was written into a folder that is not ours"
    assert code != 64 or not (tmp_path / "o").exists(), "a folder was made for nothing"


@pytest.mark.parametrize(("change", "words"), [
    ({"fps": 4.0}, "fps: was 10.0, is 4.0"), ({"rate_hz": 16000}, "rate_hz"), ({"clips_per_shard": 3}, "clips_per_shard")])
def test_folder_of_another_recipe_is_refused(folder, tmp_path, change, words):
    make_records(folder, tmp_path / "out", SMALL)
    with pytest.raises(errors.ConfigError, match=words):
        make_records(folder, tmp_path / "out", dataclasses.replace(SMALL, **change))


def test_folder_of_other_clips_is_refused(folder, videos, tmp_path):
    make_records(folder, tmp_path / "out", SMALL)
    with pytest.raises(errors.ConfigError, match="the videos: files"):
        make_records(videos, tmp_path / "out", SMALL)


def test_folder_in_use_is_refused(folder, tmp_path):
    held = Workdir(str(tmp_path / "out"), flag="--out")
    try:
        assert "in use" in run(f"--videos={folder}", f"--out={tmp_path / 'out'}", expect=64)
    finally:
        held.close()


def test_shard_that_cannot_be_written_is_told(folder, tmp_path):
    job = shard.Job(folder, tmp_path / "none", layout.assign(sources.open_folder(str(folder), "", (1, 0, 0)), 3)[0], RECIPE)
    with pytest.raises(errors.CannotWriteError, match="cannot be written"):
        shard.make_shard(job, lambda: False)


def test_what_reads_back_differently_is_never_named_a_shard(folder, tmp_path, monkeypatch):
    real = shard.array_record_module

    class Forgetful:
        ArrayRecordReader = real.ArrayRecordReader

        class ArrayRecordWriter:
            def __init__(self, path, options):
                self._writer = real.ArrayRecordWriter(path, options)
                self.close = self._writer.close

            def write(self, record):
                self._writer.write(record[:-1])

    monkeypatch.setattr(shard, "array_record_module", Forgetful)
    with pytest.raises(errors.CannotWriteError, match="reads back differently"):
        make_records(folder, tmp_path / "out", SMALL)
    assert not list((tmp_path / "out").glob("clips-*"))
