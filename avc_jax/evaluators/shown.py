"""Frames and sounds of clips as the page shows them: small, short, and only where there are media to show."""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avc_jax import errors
from avc_jax.data import files, still
from avc_jax.data.decode import MediaFile
from avc_jax.data.moments import Format, evaluation_format
from avc_jax.data.pipeline import read_in_parallel
from avc_jax.data.plan import Plan
from avc_jax.data.processes import count_cores
from avc_jax.data.quarantine import Quarantine
from avc_jax.evaluators import arrays
from avc_jax.evaluators.base import Setting

# Pixels along a side of a frame, and seconds of a sound, at most.
SIDE, WINDOW_S = 128, 2.0
_AT_ONCE = 16
_CHARACTERS = 160


class Media(NamedTuple):
    """What can be shown of some clips.

    Attributes:
      row: clip -> its row in the arrays; clips of which nothing can be shown are not there.
      arrays: frame uint8[m, SIDE, SIDE, 3], waveform int16[m, n], which of both is there (seen, heard: bool[m]), and rate_hz.
    """

    row: dict[int, int]
    arrays: dict[str, Any]

    def rows(self, clips: np.ndarray) -> np.ndarray:
        """int64, in the shape of int[...] clips: their rows; -1 for those that cannot be shown."""
        return np.array([self.row.get(int(clip), -1) for clip in clips.reshape(-1)], np.int64).reshape(clips.shape)


def read(setting: Setting, clips: np.ndarray) -> Media:
    """The frame in the middle of held-out clips int[n], and the sound around it; the ledger of bad files is left alone."""
    own, clips = evaluation_format(setting.config), np.unique(clips)
    form = dataclasses.replace(own, short_side=SIDE, size=SIDE, window_s=min(own.window_s, WINDOW_S), frame_choice="any")
    return (_of_videos if setting.heldout.holds_pairs else _of_items)(setting, clips, form)


def _of_videos(setting: Setting, clips: np.ndarray, form: Format) -> Media:
    """Of a source whose clips have frames and sounds: files or records."""
    source = setting.heldout
    reader = source.reader(Plan(max(1, len(source.clips)), seed=0, batch_size=1), form, Quarantine(None, source.num_files, 1.0),
                           ("frame", "waveform"))
    parts = list(read_in_parallel(lambda number: reader.whole(int(clips[number])), len(clips), reader.shapes, ahead=_AT_ONCE,
                                  threads=setting.config.data.decode_threads))
    clip, frame, waveform = (np.concatenate([part[name] for part in parts]) for name in ("clip", "frame", "waveform"))
    there = np.ones(len(clip), bool)
    return Media({int(number): row for row, number in enumerate(clip)},
                 dict(frame=frame, waveform=waveform, seen=there, heard=there, rate_hz=form.rate_hz))


def _of_items(setting: Setting, clips: np.ndarray, form: Format) -> Media:
    """Of a source of items, whose pictures and sounds may lie in several files, or be features without media."""
    source: Any = setting.heldout

    def look(clip: int) -> np.ndarray | None:
        item = source.items[clip]
        try:
            if item.image:
                return still.read_crop(source.root / item.image, form.short_side, form.size)
            with MediaFile(source.media / item.path, audio=False) as media:
                return media.crops([_middle(media, item)], np.full((1, 2), 0.5), form.short_side, form.size)[0]
        except errors.BadMedia:
            return None

    def listen(clip: int) -> np.ndarray | None:
        try:
            with MediaFile(source.media / source.items[clip].path, video=False) as media:
                start_s = max(_middle(media, source.items[clip]) - form.window_s / 2, media.span.start_s)
                return media.sounds([start_s], form.window_s, form.rate_hz, pad=True)[0]
        except errors.BadMedia:
            return None

    with ThreadPoolExecutor(count_cores()) as pool:
        frames, sounds = (list(pool.map(ask, clips.tolist())) for ask in (look, listen))
    kept = [row for row in range(len(clips)) if frames[row] is not None or sounds[row] is not None]
    seen, heard = (np.array([found[row] is not None for row in kept], bool) for found in (frames, sounds))
    frame, waveform = np.zeros((len(kept), form.size, form.size, 3), np.uint8), np.zeros((len(kept), form.samples), np.int16)
    for whole, found in ((frame, frames), (waveform, sounds)):
        for row, place in enumerate(kept):
            value = found[place]
            if value is not None:
                whole[row] = value
    return Media({int(clips[place]): row for row, place in enumerate(kept)},
                 dict(frame=frame, waveform=waveform, seen=seen, heard=heard, rate_hz=form.rate_hz))


def _middle(media: MediaFile, item) -> float:
    span = files.cut_span(media.span, item)
    return (span.start_s + span.end_s) / 2


def write(path: Path, media: Media) -> None:
    """Writes the arrays; without a single clip that can be shown, removes those of the time before.

    Raises:
      CannotWriteError: they cannot be written.
    """
    if media.row:
        arrays.write(path, media.arrays, compress=True)
    else:
        path.unlink(missing_ok=True)


def short(texts: Sequence[str]) -> np.ndarray:
    """str[n]: texts of at most _CHARACTERS; an ellipsis where something was left out."""
    return np.array([text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}" for text in texts])
