"""The answer as one self-contained page: each file with a frame, its sound from the moment that was found, and its score."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from avc_jax import audio, errors
from avc_jax.data import still
from avc_jax.data.decode import MediaFile
from avc_jax.report import media
from avc_jax.report.frame import Section, frame, save
from avc_jax.report.text import count, esc, missing, plural
from avc_jax.search.ask import Answer, Hit, Question
from avc_jax.search.index import Index

EXCERPT_S = 6.0  # what a player holds at most
_SHORT_SIDE = 192
_SOUNDS, _PICTURES = 6_000_000, 3_000_000  # base64 characters: the page stays under 10 MB
WORDS = {"audio": "sound", "video": "picture", "text": "words", "audio+text": "sound and words"}


class Excerpt(NamedTuple):
    """What the page shows of a file.

    Attributes:
      frame: uint8[h, w, 3], or None.
      sound: int16[n] from the moment on, or None.
      lost: why there is neither; empty where there is one.
    """

    frame: np.ndarray | None
    sound: np.ndarray | None
    lost: str


def write(path: str, index: Index, asked: Question, answer: Answer, config: Any, folder: str) -> None:
    """Writes the page.

    Args:
      path: the file to write.
      index, asked, answer: what was asked of what, and found.
      config: that of the network; sounds are shown as it hears them.
      folder: of the index.

    Raises:
      CannotWriteError: it cannot be written.
    """
    sheet = _Sheet(index, asked, config)
    name = esc(" + ".join(part for part in (os.path.basename(asked.path), asked.words and f"\N{LEFT DOUBLE QUOTATION MARK}"
                                            f"{asked.words}\N{RIGHT DOUBLE QUOTATION MARK}") if part))
    cards = "".join(sheet.card(number, hit) for number, hit in enumerate(answer.hits, 1))
    found = f'<p>{told(index, answer)}</p>{sheet.scale.legend()}<div class="pairs">{cards}</div>'
    page = frame(kind="search", title=f"Like {name}", heading=f"What is like {name}", top=_figures(index, answer),
                 sections=[Section("question", "The question", sheet.question()), Section("answer", "The nearest files", found)],
                 origin=f'the index <code class="path">{esc(os.path.abspath(folder))}</code>')
    save(Path(path), page, "Name another file for --page.")


def told(index: Index, answer: Answer) -> str:
    """In a sentence or two: what was compared with what, and how."""
    compared = " and ".join(f"the {WORDS.get(query, query)} with "
                            + " and ".join(f"{WORDS.get(name, name)}s" for name in names)
                            for query, names in answer.among.items() if names)
    left_out = len(index.files) - answer.ranked
    text = f"Compared {compared} of {plural(answer.ranked, 'file')}; each file counts by its best window."
    if left_out:
        text += f" {plural(left_out, 'more file')} of the index {'has' if left_out == 1 else 'have'} no such windows."
    if answer.recall < 1:
        text += f" The search was approximate: it finds {answer.recall:.0%} of the hundred nearest windows."
    return text


def _figures(index: Index, answer: Answer) -> str:
    windows = {f"{WORDS.get(name, name)}s": count(len(rows.file)) for name, rows in index.rows.items()}
    shown = {"files": count(len(index.files)), **windows,
             "network": f"{esc(index.facts['system'])} <small>step {count(index.facts['step'])}</small>",
             "nearness": esc({"dot": "dot product"}.get(index.facts["similarity"], index.facts["similarity"])),
             "search": "exact" if answer.recall == 1 else "approximate"}
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in shown.items())
    return f'<dl class="figures">{rows}</dl>'


class _Sheet:
    """Cards of files; keeps count of the room that is left."""

    def __init__(self, index: Index, asked: Question, config: Any):
        self._index, self._asked, self._config = index, asked, config
        self._front_end = jax.jit(audio.front_end(config.audio))
        self._sounds, self._pictures = media.Budget(_SOUNDS), media.Budget(_PICTURES)
        self._own = self._read(asked.path, asked.at_s or 0.0) if asked.path else Excerpt(None, None, "")
        levels = self._levels(self._own.sound) if self._own.sound is not None else None
        self.scale = media.colour_scale(levels if levels is not None else np.zeros((1, 1), np.float32))
        self._best = 1.0

    def question(self) -> str:
        """What was asked with."""
        asked = self._asked
        if not asked.path:
            return f"<p>The words: {esc(asked.words)}</p>"
        when = "all of it" if asked.at_s is None else f"at {asked.at_s:.2f} s"
        name = f'<span class="path">{esc(os.path.basename(asked.path))}</span> <span class="kind">{asked.kind}, {when}</span>'
        return (f'<div class="pairs"><article class="pair" aria-labelledby="asked"><h3 id="asked">{name}</h3>'
                f"{self._media(self._own, asked.path, asked.at_s or 0.0)}{_origin(asked.path, None)}</article></div>")

    def card(self, number: int, hit: Hit) -> str:
        """A file that was found."""
        file = self._index.files[hit.file]
        if number == 1:
            self._best = max(hit.score, 1e-12)
        own = file.path == self._asked.path or file.digest == self._asked.digest
        # Cosines have a scale of their own; dot products only that of the best.
        share = min(max(hit.score if self._index.facts["similarity"] == "cosine" else hit.score / self._best, 0.0), 1.0)
        mark = '<span class="mark">the file you asked with</span>' if own else ""
        return (
            f'<article class="pair" aria-labelledby="hit-{number}"><h3 id="hit-{number}">{number} '
            f'<span class="path">{esc(os.path.basename(file.path))}</span>{mark}</h3>'
            f"{self._media(self._read(file.path, hit.time_s), file.path, hit.time_s)}"
            f'<p class="score"><span class="says">by its {WORDS.get(hit.modality, hit.modality)}</span>'
            f'<span class="bar plain" aria-hidden="true"><span style="width:{share * 100:.1f}%"></span></span>'
            f'<span class="value">{hit.score:.3f}</span></p>'
            f"{_origin(file.path, hit.time_s)}</article>"
        )

    def _read(self, path: str, at_s: float) -> Excerpt:
        """A frame, and the sound from a moment on."""
        try:
            if still.is_still(path):
                return Excerpt(still.read_crop(path, _SHORT_SIDE, _SHORT_SIDE), None, "")
        except errors.BadMedia as error:
            return Excerpt(None, None, str(error))
        frame, sound, lost = None, None, ""
        try:
            with MediaFile(path, audio=False) as file:
                frame = file.frames([max(at_s, file.span.start_s)], _SHORT_SIDE)[0]
        except errors.BadMedia as error:
            lost = str(error)
        try:
            with MediaFile(path, video=False) as file:
                sound = file.stretch(at_s, at_s + EXCERPT_S, self._config.audio.rate_hz)[1]
        except errors.BadMedia as error:
            lost = str(error)
        return Excerpt(frame, sound, lost if frame is None and sound is None else "")

    def _levels(self, sound: np.ndarray) -> np.ndarray:
        """float32[F, T]: the sound as the network hears it; what is shorter than the window of that is filled up with zeros."""
        whole = round(EXCERPT_S * self._config.audio.rate_hz)  # one length, so that it is compiled once
        levels = np.asarray(self._front_end(np.pad(sound, (0, max(0, whole - len(sound))))[None, :whole] / np.float32(32768)))[0]
        return levels[:, : max(1, round(levels.shape[1] * min(1.0, len(sound) / whole)))]

    def _media(self, excerpt: Excerpt, path: str, at_s: float) -> str:
        if excerpt.lost:
            return missing(f"It cannot be shown: {esc(excerpt.lost)}")
        where, boxes = media.moment(os.path.basename(path), at_s), []
        uris = []
        if excerpt.frame is not None:
            uris.append(media.frame_image(excerpt.frame))
            boxes.append(media.frame_box(uris[-1], f"Frame of {where}"))
        if excerpt.sound is not None:
            levels = self._levels(excerpt.sound)
            axes = media.Axes(audio.row_hz(self._config.audio, len(levels)), len(excerpt.sound) / self._config.audio.rate_hz)
            uris.append(media.spectrogram_image(self.scale(levels)))
            boxes.append(media.spectrogram_box(uris[-1], f"Spectrogram of {where}", axes))
        if not self._pictures.take(*uris):
            boxes = [missing("Pictures left out to keep the page small.")]
        return f'<div class="media">{"".join(boxes)}</div>{self._player(excerpt.sound, where)}'

    def _player(self, sound: np.ndarray | None, where: str) -> str:
        if sound is None:
            return '<p class="sub">It has no sound here.</p>'
        data = media.mp3(sound, self._config.audio.rate_hz)
        if not self._sounds.take(data):
            return '<p class="sub">Sound left out to keep the page small.</p>'
        return media.player(data, f"Sound of {where}")


def _origin(path: str, at_s: float | None) -> str:
    rows = [("file", esc(path)), *([("from", f"{at_s:.2f} s")] if at_s is not None else [])]
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows) + "</dl>"
