"""Clips are decoded in processes of their own: the same samples, and whatever befalls such a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avc_jax import errors
from avc_jax.data import decoders, files, limits
from avc_jax.data.decode import MediaFile
from avc_jax.data.moments import Format, Request

FORM = Format(short_side=32, size=32, window_s=0.5, rate_hz=8000)
WHOLE = files.Stretch(-np.inf, np.inf)


def request(moments: int = 3) -> Request:
    """Of one clip: every frame, and the sounds of all moments but the second, to be written into rows 1, 3, 4 ..."""
    rng = np.random.default_rng(0)
    all_, sounds = np.ones((1, moments), bool), np.arange(moments)[None] != 1
    return Request(np.zeros(1, np.int64), rng.random((1, moments, 2)), rng.random((1, moments, 2)), all_, all_, sounds,
                   np.cumsum(1 + all_ * sounds, axis=1) - 1, np.zeros((2 * moments, FORM.samples), np.int16))


@pytest.fixture
def no_decoders():
    """No process is idle, so that the next to be asked is started here."""
    with decoders._lock:
        kept, decoders._idle[:] = list(decoders._idle), []
    yield
    with decoders._lock:
        decoders._idle += kept


def test_process_gives_what_decoding_here_gives(videos):
    here, there = request(), request()
    path = videos / "02.mp4"
    expected = files.read_clip(MediaFile, path, WHOLE, here, FORM)
    found = decoders.read(path, WHOLE, there, FORM)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert here.waveform.any()
    np.testing.assert_array_equal(here.waveform, there.waveform)


def test_what_is_not_asked_for_is_not_sent(videos):
    asked = request()
    asked = asked._replace(frames=np.zeros_like(asked.frames), sounds=np.zeros_like(asked.sounds))
    assert decoders.read(videos / "02.mp4", WHOLE, asked, FORM).frames == []
    assert not asked.waveform.any()


def test_bad_file_is_told_with_its_kind_and_the_process_goes_on(videos, tmp_path, no_decoders):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(errors.BadMedia, match="no video or sound") as caught:
        decoders.read(tmp_path / "text.mp4", WHOLE, request(), FORM)
    assert caught.value.kind == "unreadable"
    (decoder,) = decoders._idle
    decoders.read(videos / "02.mp4", WHOLE, request(), FORM)
    assert decoders._idle == [decoder]


def test_defect_is_raised_with_its_traceback_and_never_taken_for_a_bad_file(videos, no_decoders):
    broken = request()._replace(draws=np.zeros((1, 1, 1)))
    with pytest.raises(RuntimeError, match="in draw_sounds"):
        decoders.read(videos / "02.mp4", WHOLE, broken, FORM)
    assert not decoders._idle


def test_process_that_is_killed_once_is_replaced_and_the_clip_read_again(videos, no_decoders):
    expected = decoders.read(videos / "02.mp4", WHOLE, request(), FORM)
    (decoder,) = decoders._idle
    os.kill(decoder._process.pid, signal.SIGKILL)
    found = decoders.read(videos / "02.mp4", WHOLE, request(), FORM)
    np.testing.assert_array_equal(found.frames, expected.frames)
    assert decoder not in decoders._idle


def test_file_that_ends_every_process_is_bad(videos, monkeypatch, no_decoders):
    ask = decoders._Decoder.ask

    def ask_and_crash(decoder, *args):
        os.kill(decoder._process.pid, signal.SIGSEGV)
        return ask(decoder, *args)

    monkeypatch.setattr(decoders._Decoder, "ask", ask_and_crash)
    with pytest.raises(errors.BadMedia, match="SIGSEGV") as caught:
        decoders.read(videos / "02.mp4", WHOLE, request(), FORM)
    assert caught.value.kind == "crashed"


@pytest.fixture
def tight(no_decoders):
    """Limits that are soon reached."""
    before = limits.use(limits.Limits(decode_s=1.0, memory_mb=64))
    yield
    limits.use(before)


def test_decoder_that_does_not_answer_is_given_up_and_ended(videos, tight):
    decoders.call(os.getpid)
    (decoder,) = decoders._idle
    began = time.monotonic()
    with pytest.raises(errors.BadMedia, match="given up after 1 s") as caught:
        decoders.call(time.sleep, 60)
    assert caught.value.kind == "hangs" and time.monotonic() - began < 10
    assert decoder not in decoders._idle and not Path(f"/proc/{decoder._process.pid}").exists()
    assert decoders.read(videos / "02.mp4", WHOLE, request(), FORM).frames


def test_what_takes_too_much_memory_is_bad(videos, tight):
    with pytest.raises(errors.BadMedia, match="more memory") as caught:
        decoders.call(bytearray, 256 << 20)
    assert caught.value.kind == "too_large"
    assert decoders.read(videos / "02.mp4", WHOLE, request(), FORM).frames


def test_memory_that_files_of_before_took_is_not_held_against_the_next(tight):
    for _ in range(4):
        decoders.call(exec, "import sys; sys.kept = [*getattr(sys, 'kept', []), bytearray(30 << 20)]")


def test_signals_to_stop_the_run_do_not_reach_its_decoders(videos, no_decoders):
    decoders.read(videos / "02.mp4", WHOLE, request(), FORM)
    (decoder,) = decoders._idle
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(decoder._process.pid, number)
    decoders.read(videos / "02.mp4", WHOLE, request(), FORM)
    assert decoders._idle == [decoder]


def test_processes_are_gone_when_the_run_is_killed(videos):
    script = ("import sys, time, pathlib; sys.path.insert(0, 'tests/data')\n"
              "import test_decoders as test, avc_jax.data.decoders as decoders\n"
              f"decoders.read(pathlib.Path({str(videos / '02.mp4')!r}), test.WHOLE, test.request(), test.FORM)\n"
              "print(decoders._idle[0]._process.pid, flush=True); time.sleep(60)")
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                           cwd=Path(__file__).resolve().parents[2])
    child = int(run.stdout.readline())
    os.kill(child, 0)  # it is there
    run.kill()
    run.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.1)
    raise AssertionError("The decoder's process is still there.")


def test_any_function_that_reads_media_can_be_called(videos, tmp_path, no_decoders):
    from avc_jax.visual import reading

    assert decoders.call(reading.measure, videos / "02.mp4") == reading.measure(videos / "02.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(errors.BadMedia, match="no video or sound") as caught:
        decoders.call(reading.measure, tmp_path / "text.mp4")
    assert caught.value.kind == "unreadable" and len(decoders._idle) == 1
    with pytest.raises(RuntimeError, match="measure") as defect:
        decoders.call(reading.measure)
    assert "TypeError" in str(defect.value)
    with pytest.raises(errors.BadMedia) as caught:
        decoders.call(os._exit, 3)
    assert caught.value.kind == "crashed" and "exit code 3" in str(caught.value)
