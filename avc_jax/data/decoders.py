"""Decodes media for the threads of this process in processes of their own.

PyAV gives up the interpreter's lock while it decodes, but takes it back a thousand times in a visit, and every time it has to
wait costs tens of microseconds. And a file that crashes the decoder, hangs it, or has it allocate without end (see `limits`) ends
a process that holds nothing, instead of the run.
"""

import atexit
import contextlib
import fcntl
import functools
import multiprocessing
import multiprocessing.util
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.data import files, limits, processes
from avc_jax.data.decode import MediaFile, Span
from avc_jax.data.moments import Format, Request

_ATTEMPTS = 2
WHOLE_S = 600.0  # For what reads a whole film, which takes longer than a visit, and is not limited by config.data.decode_limit_s.
_START_S = 300.0  # A process imports for a second, on a busy machine for many.
_KILLED_S = 10.0  # One that waits for a network file system may outlive its SIGKILL.
_PIPE_BYTES = 1 << 20  # The most that Linux gives to everybody; a visit's pictures then cross in a few pieces.

_lock = threading.Lock()
_idle: list["_Decoder"] = []
_all: set["_Decoder"] = set()


class _TimeIsUp(Exception):
    """A process did not answer within its limit."""


def read(path: Path, clip: files.Clip, request: Request, form: Format) -> files.Read:
    """Reads one clip of a media file; see `files.read_clip`. There are as many processes as threads that call this at once.

    Raises:
      BadMedia: the file cannot give what was asked of it; crashed: it ends the decoder; hangs, too_large: it is over a limit.
    """
    # The result is written where the request wants it here, so the process needs only to know how many rows there are.
    sounds = request.sounds[0]
    rows = np.zeros_like(request.rows)
    rows[0, sounds] = np.arange(np.count_nonzero(sounds))
    lean = request._replace(rows=rows, waveform=np.empty((0, form.samples), np.int16))
    found, waveform = _apart(lambda decoder: decoder.ask(path, (clip.start_s, clip.end_s), lean, form))
    request.waveform[request.rows[0, sounds]] = waveform
    return found


def call(function: Callable[..., Any], *args, limit_s: float | None = None) -> Any:
    """function(*args) of a function that reads media. What it takes and gives is copied.

    Args:
      function, args: of a module.
      limit_s: seconds that it may take; None: as many as decoding.

    Raises:
      BadMedia: as the function does, or as `read` does.
    """
    return _apart(lambda decoder: decoder.call(function, *args, limit_s=limit_s))


def read_sound(path: Path, clip: files.Clip, rate_hz: int, *, video: bool = False) -> np.ndarray:
    """int16[n]: all the sound that there is in a file between the ends of a clip; with `video`, where it has pictures, too.

    Raises:
      BadMedia: as `read` does.
    """
    return call(_read_sound, path, files.Stretch(clip.start_s, clip.end_s), rate_hz, video, limit_s=WHOLE_S)


def _read_sound(path: Path, stretch: files.Stretch, rate_hz: int, video: bool) -> np.ndarray:
    with MediaFile(path, video=video) as media:
        return files.read_sound(media, stretch, rate_hz)


class Sound:
    """The sound of a media file: what `decode.MediaFile` answers, each time from the file opened anew in a decoder's process."""

    def __init__(self, path: Path):
        self._path = path

    @functools.cached_property
    def span(self) -> Span:
        return call(_ask_sound, self._path, "span", ())

    def measure(self) -> Span:
        return call(_ask_sound, self._path, "measure", ())

    def sounds(self, starts_s: Sequence[float], window_s: float, rate_hz: int) -> np.ndarray:
        return call(_ask_sound, self._path, "sounds", (starts_s, window_s, rate_hz))

    def stretch(self, start_s: float, end_s: float, rate_hz: int) -> tuple[float, np.ndarray]:
        return call(_ask_sound, self._path, "stretch", (start_s, end_s, rate_hz))


def _ask_sound(path: Path, what: str, args: tuple) -> Any:
    with MediaFile(path, video=False) as media:
        return media.span if what == "span" else getattr(media, what)(*args)


def _apart(ask: Callable[["_Decoder"], Any]) -> Any:
    """What a decoder answers. One that ends, or lacks memory, may do so for what it did before: a new one is asked again."""
    for attempt in range(_ATTEMPTS):
        with _lock:
            decoder = _idle.pop() if _idle and not attempt else _Decoder()
        try:
            answer = ask(decoder)
        except (EOFError, ConnectionError):
            failure = errors.BadMedia("crashed", f"Decoding it ended the decoder {_ATTEMPTS} times ({decoder.end()}).")
            if processes.ending.is_set():
                raise errors.Stopped("The run is ending.") from None
        except _TimeIsUp as limit:
            decoder.end(wait_s=0.0)
            raise errors.BadMedia("hangs", f"Decoding it was given up after {limit} s.") from None
        except errors.BadMedia as error:
            if error.kind != "too_large":
                _idle.append(decoder)
                raise
            decoder.end(wait_s=0.0)
            failure = error
        except BaseException:  # what it was about to say is not what the next one asks
            decoder.end()
            raise
        else:
            _idle.append(decoder)
            return answer
    raise failure


class _Decoder:
    """A process that reads clips, one after another."""

    def __init__(self):
        _end_with_this_process()
        context = multiprocessing.get_context("spawn")
        answers, its_answers = context.Pipe(duplex=False)
        its_questions, questions = context.Pipe(duplex=False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(answers.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._process = processes.start(_serve, its_questions, its_answers, limits.current().memory_mb)
        self._questions, self._answers = questions, answers
        # Only the process holds the other ends, so that its end is an end of file here.
        its_answers.close()
        its_questions.close()
        self._is_ready = False
        _all.add(self)

    def ask(self, path: Path, stretch: tuple[float, float], request: Request, form: Format) -> tuple[files.Read, np.ndarray]:
        """What the clip gave, and int16[r, samples].

        Raises:
          BadMedia: see `read`.
          EOFError, ConnectionError: the process has ended.
          _TimeIsUp: it does not answer.
        """
        frame_s, sound_s, num_frames, num_sounds = self._ask(None, _answer, path, stretch, request, form)
        frames = np.empty((num_frames, form.size, form.size, 3), np.uint8)
        waveform = np.empty((num_sounds, form.samples), np.int16)
        for array in (frames, waveform):
            if array.size:
                self._answers.recv_bytes_into(array.data.cast("B"))
        return files.Read(list(frames), frame_s, sound_s), waveform

    def call(self, function: Callable[..., Any], *args, limit_s: float | None) -> Any:
        """function(*args); raises as `ask` does."""
        return self._ask(limit_s, _answer_call, function, args)[0]

    def _ask(self, limit_s: float | None, *question) -> list:
        if not self._is_ready:  # its start is not the file's fault, however long it takes
            if not self._answers.poll(_START_S):
                raise RuntimeError(f"A process to decode in could not be started in {_START_S:g} s.")
            self._is_ready = self._answers.recv() == ("ready",)
        self._questions.send(question)
        limit_s = limits.current().decode_s if limit_s is None else limit_s
        if not self._answers.poll(limit_s):
            raise _TimeIsUp(f"{limit_s:g}")
        kind, *rest = self._answers.recv()
        if kind == "bad":
            raise errors.BadMedia(*rest)
        if kind == "defect":
            raise RuntimeError(f"Decoding failed ({question[1:3]}):\n{rest[0]}")
        return rest

    def end(self, wait_s: float = 1.0) -> str:
        """Ends the process, and says how it ended if it had done so before."""
        _all.discard(self)
        self._process.join(wait_s)
        code = self._process.exitcode
        self._process.kill()
        self._process.join(_KILLED_S)
        self._questions.close()
        self._answers.close()
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def _serve(questions, answers, memory_mb: int) -> None:
    """The work of a decoder's process: answers until nobody is there to ask."""
    # Whoever stops the run may signal all of its processes; this one ends when the run has no more use for it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with limits.at_most(memory_mb << 20), contextlib.suppress(EOFError, ConnectionError):
        answers.send(("ready",))
        while True:
            answer, *question = questions.recv()
            answer(answers, *question)


def _answer_call(answers, function: Callable[..., Any], args: tuple) -> None:
    try:
        answers.send(("good", function(*args)))
    except Exception as error:  # whoever asked raises it
        answers.send(_failure(error))


def _failure(error: Exception) -> tuple:
    if isinstance(error, errors.BadMedia):
        return "bad", error.kind, str(error)
    if isinstance(error, MemoryError):
        return "bad", "too_large", "Decoding it takes more memory than config.data.decode_memory_mb."
    return "defect", traceback.format_exc()


def _answer(answers, path: Path, stretch: tuple[float, float], request: Request, form: Format) -> None:
    request = request._replace(waveform=np.empty((np.count_nonzero(request.sounds), form.samples), np.int16))
    try:
        found = files.read_clip(MediaFile, path, files.Stretch(*stretch), request, form)
        frames = np.array(found.frames, np.uint8)
    except Exception as error:  # whoever asked raises it
        answers.send(_failure(error))
        return
    answers.send(("good", found.frame_s, found.sound_s, len(frames), len(request.waveform)))
    for array in (frames, request.waveform):
        if array.size:
            answers.send_bytes(array.data.cast("B"))


@functools.cache
def _end_with_this_process() -> None:
    """In a process of multiprocessing nothing is called at its exit but this, and then its children are waited for."""
    atexit.register(end_all)
    multiprocessing.util.Finalize(None, end_all, exitpriority=100)


def end_all() -> None:
    """Ends every process, where this one is about to end; who waits for one, or for a source to come back, gets Stopped."""
    processes.ending.set()
    for decoder in list(_all):
        decoder._process.kill()
