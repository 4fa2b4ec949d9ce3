"""Small item data sets in the published layouts, whose numbers say what they are."""

import json
import pickle
from pathlib import Path

import numpy as np
import tiny

from avc_jax import config as configs
from avc_jax.data.items import layouts, source
from avc_jax.data.moments import Format
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine
from avc_jax.systems.base import Feature

WIDTH, BANDS = 6, 4  # Of a row of a stream, and of a spectrogram.
WORDS = ("the", "salt", "and", "pepper", "mix", "well", "don't", "now", "bake", "it")
FEATURES = {
    "spectrogram": Feature((BANDS, 1000), "float16", modality="audio"),
    "spectrogram_length": Feature((), "int32"),
    "video": Feature((2 * WIDTH,), "float32", modality="video"),
    "video_length": Feature((), "int32"),
}
TEXT = {"words": Feature((5, 3), "float16", modality="text"), "words_length": Feature((), "int32")}


def config(source: str, root, *, system: str = "l3net", **changes):
    """A checked config of a source of items; changes as `data__streams="2d"`."""
    tree = configs.default(system)
    sound = {"features": "waveform", "spoken_captions": "waveform"}.get(source, "spectrogram")
    tree.data.update(source=source, root=str(root), pairing="none", sound=sound, window_s=10.0, split_fractions=(1.0, 0.0, 0.0))
    return tiny.changed(tree, changes)


def opened(kind: str, root, **changes) -> source.ItemSource:
    return layouts.open_items(config(kind, root, **changes))


def form(window_s: float = 10.0, **changes) -> Format:
    return Format(**{"short_side": 32, "size": 24, "window_s": window_s, "rate_hz": 8000} | changes)


def reader(items: source.ItemSource, features=None, *, window_s: float = 10.0, pairs: int = 3, seed: int = 0, budget: float = 0.5,
           batch_size: int = 6, together: bool = True, quarantine: Quarantine | None = None):
    plan = Plan(len(items.clips), seed, batch_size, pairs, together)
    return items.reader(plan, form(window_s), quarantine or Quarantine(None, items.num_files, budget),
                        FEATURES if features is None else features)


def write_film(root: Path, stem: str, *, seconds: int, number: int = 0, spectrogram: bool = True, width: int = WIDTH,
               bands: int = BANDS) -> None:
    """Features of a film: the first number of row r is number + r / 1000, in seconds for both streams; frame f is -f / 100."""
    (root / stem).parent.mkdir(parents=True, exist_ok=True)
    for name, rate in source.RATES_HZ.items():
        rows = np.zeros((int(seconds * rate), width), np.float16)
        rows[:, 0], rows[:, 1] = number + 1, np.arange(len(rows)) / rate / 100
        np.savez(root / f"{stem}_{name}.npz", features=rows)
    if spectrogram:
        frames = np.tile(-np.arange(100 * seconds) / 100, (bands, 1)).astype(np.float16)
        np.savez(root / f"{stem}_spec.npz", frames)


def write_howto100m(root: Path, films: int = 4, seconds: int = 40, bands: int = BANDS) -> Path:
    """A folder as HowTo100M's features lie, with its list and captions."""
    stems = [f"food/{number}/film{number:07d}" for number in range(films)]
    for number, stem in enumerate(stems):
        write_film(root, stem, seconds=seconds + number, number=number, bands=bands)
    (root / "list.csv").write_text("\n".join(["path", *stems, ""]))
    table = {Path(stem).name: {"start": [0.0, 3.0, 7.0, 20.0], "end": [3.0, 6.0, 12.0, 24.0],
                               "text": ["the salt", "and pepper", "mix well don't", f"now zzz{number} bake it"]}
             for number, stem in enumerate(stems)}
    (root / "caption.pickle").write_bytes(pickle.dumps(table))
    (root / "caption.json").write_text(json.dumps(table))
    write_vectors(root / "vectors.bin")
    return root


def vector(word: str) -> list[float]:
    return [float(WORDS.index(word)), float(len(word)), -0.5]


def write_vectors(path: Path, *, text: bool = False, header: bool = True) -> Path:
    """word2vec's file of WORDS, three numbers each."""
    lines = [f"{word} {' '.join(map(str, vector(word)))}\n".encode() if text else
             word.encode() + b" " + np.array(vector(word), "<f4").tobytes() + b"\n" for word in WORDS]
    path.write_bytes(b"".join([f"{len(WORDS)} 3\n".encode() if header else b"", *lines]))
    return path


def record(number: int, *, seconds: float = 8.0, **changes) -> dict:
    """A record as AVLnet evaluates YouCook2 on."""
    frames = np.tile(-np.arange(round(100 * seconds)) / 100, (BANDS, 1)).astype(np.float32)
    rows = np.zeros(WIDTH, np.float32)
    rows[0] = number + 1
    return {"2d": rows, "3d": 2 * rows, "audio": frames, "caption": "the salt", "id": f"video{number:06d}_clip{number}"} | changes
