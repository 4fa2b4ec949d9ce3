"""Clips in rows, as the sheets of retrieval and of concepts show them: a frame, a player, and what is said of it."""

import dataclasses

import numpy as np

from avc_jax.report import media
from avc_jax.report.read import Run
from avc_jax.report.text import esc

# Name -> number of axes; the first one is that of the clips.
FIELDS = dict(frame=4, waveform=2, seen=1, heard=1, rate_hz=0)


@dataclasses.dataclass
class Sheet:
    """Media of clips: arrays as in FIELDS, None where there are none; what they may still spend; those that are on the page."""

    arrays: dict[str, np.ndarray] | None
    budget: media.Budget


def read(run: Run, name: str, budget: int) -> Sheet:
    """The media in a file of the work directory, with a note if they are not what they should be."""
    found = run.arrays(name, FIELDS)
    if found is not None and (found["frame"].shape[-1] != 3 or not 1 <= found["rate_hz"] <= 1e6):
        run.notes.append(f"{name} holds arrays of unexpected shapes.")
        found = None
    return Sheet(found, media.Budget(budget))


def item(sheet: Sheet, row: int, clip: object, caption: str, *, heard: bool = True) -> str:
    """One clip as <li>: its frame and its sound where they are there, a caption, and its name.

    Args:
      sheet: the media.
      row: of the clip in them; negative: it has none.
      clip: its name.
      caption: trusted markup.
      heard: whether there is a player.
    """
    return (f'<li class="item">{_media(sheet, row, clip, heard)}<p class="caption">{caption}</p>'
            f'<p class="sub path name">{esc(clip)}</p></li>')


def _media(sheet: Sheet, row: int, clip: object, heard: bool) -> str:
    """Frame and player; '' where there are none, a sentence where the page would become too large."""
    if sheet.arrays is None or not 0 <= row < len(sheet.arrays["frame"]):
        return ""
    field = {key: array[row] if array.ndim else array for key, array in sheet.arrays.items()}
    frame = media.frame_image(field["frame"]) if field["seen"] else ""
    sound = media.mp3(field["waveform"], float(field["rate_hz"])) if heard and field["heard"] else ""
    if not sheet.budget.take(frame, sound):
        return '<p class="sub">Left out to keep the page small.</p>'
    picture = media.frame_box(frame, f"Frame in the middle of {esc(clip)}") if frame else ""
    return picture + (media.player(sound, f"Sound in the middle of {esc(clip)}") if sound else "")
