"""Decodes media for the threads of this process in processes of their own.

PyAV gives up the interpreter's lock while it decodes, but takes it back a thousand times in a visit, and every time it has to
wait costs tens of microseconds. And a file that crashes the decoder ends a process that holds nothing, instead of the run.
"""

import atexit
import contextlib
import fcntl
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avc_jax import errors
from avc_jax.data import files, processes
from avc_jax.data.decode import MediaFile
from avc_jax.data.moments import Format, Request

_ATTEMPTS = 2  # A process may be killed for what is not the file's fault.
_PIPE_BYTES = 1 << 20  # The most that Linux gives to everybody; a visit's pictures then cross in a few pieces.

_lock = threading.Lock()
_idle: list["_Decoder"] = []
_all: set["_Decoder"] = set()


def read(path: Path, clip: files.Clip, request: Request, form: Format) -> files.Read:
    """Reads one clip of a media file; see `files.read_clip`. There are as many processes as threads that call this at once.

    Raises:
      BadMedia: the file cannot give what was asked of it, or crashes the decoder.
    """
    # The result is written where the request wants it here, so the process needs only to know how many rows there are.
    sounds = request.sounds[0]
    rows = np.zeros_like(request.rows)
    rows[0, sounds] = np.arange(np.count_nonzero(sounds))
    lean = request._replace(rows=rows, waveform=np.empty((0, form.samples), np.int16))
    found, waveform = _apart(lambda decoder: decoder.ask(path, (clip.start_s, clip.end_s), lean, form))
    request.waveform[request.rows[0, sounds]] = waveform
    return found


def call(function: Callable[..., Any], *args) -> Any:
    """function(*args) of a function that reads media. What it takes and gives is copied.

    Raises:
      BadMedia: as the function does; or it crashes the decoder.
    """
    return _apart(lambda decoder: decoder.call(function, *args))


def _apart(ask: Callable[["_Decoder"], Any]) -> Any:
    """What a decoder answers; one that ends is asked anew."""
    for _ in range(_ATTEMPTS):
        with _lock:
            decoder = _idle.pop() if _idle else _Decoder()
        try:
            answer = ask(decoder)
        except (EOFError, ConnectionError):
            ended = decoder.end()
            continue
        except errors.BadMedia:
            _idle.append(decoder)
            raise
        except BaseException:  # what it was about to say is not what the next one asks
            decoder.end()
            raise
        _idle.append(decoder)
        return answer
    raise errors.BadMedia("crashed", f"Decoding it ended the decoder {_ATTEMPTS} times ({ended}).")


class _Decoder:
    """A process that reads clips, one after another."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        answers, its_answers = context.Pipe(duplex=False)
        its_questions, questions = context.Pipe(duplex=False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(answers.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._process = processes.start(_serve, its_questions, its_answers)
        self._questions, self._answers = questions, answers
        # Only the process holds the other ends, so that its end is an end of file here.
        its_answers.close()
        its_questions.close()
        _all.add(self)

    def ask(self, path: Path, stretch: tuple[float, float], request: Request, form: Format) -> tuple[files.Read, np.ndarray]:
        """What the clip gave, and int16[r, samples].

        Raises:
          BadMedia: see `read`.
          EOFError, ConnectionError: the process has ended.
        """
        frame_s, sound_s, num_frames, num_sounds = self._ask(_answer, path, stretch, request, form)
        frames = np.empty((num_frames, form.size, form.size, 3), np.uint8)
        waveform = np.empty((num_sounds, form.samples), np.int16)
        for array in (frames, waveform):
            if array.size:
                self._answers.recv_bytes_into(array.data.cast("B"))
        return files.Read(list(frames), frame_s, sound_s), waveform

    def call(self, function: Callable[..., Any], *args) -> Any:
        """function(*args); raises as `ask` does."""
        return self._ask(_answer_call, function, args)[0]

    def _ask(self, *question) -> list:
        self._questions.send(question)
        kind, *rest = self._answers.recv()
        if kind == "bad":
            raise errors.BadMedia(*rest)
        if kind == "defect":
            raise RuntimeError(f"Decoding failed ({question[1:3]}):\n{rest[0]}")
        return rest

    def end(self) -> str:
        """Ends the process, and says how it ended if it had done so before."""
        _all.discard(self)
        self._process.join(1.0)
        code = self._process.exitcode
        self._process.kill()
        self._process.join()
        self._questions.close()
        self._answers.close()
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def _serve(questions, answers) -> None:
    """The work of a decoder's process: answers until nobody is there to ask."""
    # Whoever stops the run may signal all of its processes; this one ends when the run has no more use for it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            answer, *question = questions.recv()
            answer(answers, *question)


def _answer_call(answers, function: Callable[..., Any], args: tuple) -> None:
    try:
        answers.send(("good", function(*args)))
    except errors.BadMedia as error:
        answers.send(("bad", error.kind, str(error)))
    except Exception:  # whoever asked raises it
        answers.send(("defect", traceback.format_exc()))


def _answer(answers, path: Path, stretch: tuple[float, float], request: Request, form: Format) -> None:
    request = request._replace(waveform=np.empty((np.count_nonzero(request.sounds), form.samples), np.int16))
    try:
        found = files.read_clip(MediaFile, path, files.Stretch(*stretch), request, form)
    except errors.BadMedia as error:
        answers.send(("bad", error.kind, str(error)))
        return
    except Exception:  # whoever asked raises it
        answers.send(("defect", traceback.format_exc()))
        return
    frames = np.array(found.frames, np.uint8)
    answers.send(("good", found.frame_s, found.sound_s, len(frames), len(request.waveform)))
    for array in (frames, request.waveform):
        if array.size:
            answers.send_bytes(array.data.cast("B"))


@atexit.register
def _end_all() -> None:
    for decoder in list(_all):
        decoder._process.kill()
