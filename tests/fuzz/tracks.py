"""What items are made of: features and spectrograms (.npz), pickles, captions and lists (JSON, CSV), pictures, word vectors.

Archives have checksums, and have to give what the good ones give. Texts have none; what is said of one video must not depend on
damage to another's. Pickles, pictures and vectors only have to be read or refused.
"""

import functools
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import layouts
import numpy as np
from fuzz.mutate import Damage, damage
from PIL import Image

from avc_jax import errors
from avc_jax.data import still
from avc_jax.data.items import captions, film, plain_pickle, spoken
from avc_jax.data.items.words import WordVectors

APART = True
_VIDEOS = tuple(f"video{number:02d}" for number in range(12))
_DRAWS = np.random.default_rng(0).random((2, 40))


def prepare(folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(folder / "features.npz", features=rng.normal(size=(30, 64)).astype(np.float16), origin_s=np.float64(0.5))
    np.savez_compressed(folder / "packed.npz", features=rng.normal(size=(30, 64)).astype(np.float32).round(1))
    np.savez(folder / "spec.npz", arr_0=rng.normal(size=(40, 200)).astype(np.float16))
    for protocol in (2, 4):
        clips = [layouts.clip(number, caption=f"stir bowl {number}", frames=12) for number in range(3)]
        for clip in clips:
            clip["2d"], clip["3d"] = clip["2d"][:32], clip["3d"][:32]
        layouts.write_pickle(folder / "clips.pkl", clips)
        said = {name: _said(number) for number, name in enumerate(_VIDEOS)}
        (folder / f"captions{protocol}.pkl").write_bytes(pickle.dumps(said, protocol))
    (folder / "captions.json").write_text(json.dumps(said, indent=1))
    layouts.write(folder / "captions.csv", "video,start_s,end_s,text",
                  *(f"{name},{place},{place + 2.5},word{place}" for name in _VIDEOS for place in range(3)))
    (folder / "a").mkdir()
    for number in range(2):
        layouts.picture(folder / "a" / f"{number}.jpg", 20 * number)
        (folder / "a" / f"{number}.wav").write_bytes(b"RIFF")
    layouts.write_json_list(folder / "list.json", [(f"a/{number}.jpg", f"a/{number}.wav") for number in range(2)])
    noise = rng.integers(0, 256, (48, 64, 3), np.uint8)
    for name in ("p.jpg", "p.png", "p.webp", "p.bmp", "p.tiff"):
        Image.fromarray(noise).save(folder / name)
    with open(folder / "vectors.bin", "wb") as file:
        file.write(b"20 8\n")
        for number in range(20):
            file.write(f"word{number} ".encode() + rng.normal(size=8).astype("<f4").tobytes() + b"\n")
    layouts.write(folder / "vectors.txt", *(f"word{number} " + " ".join(f"{x:.3f}" for x in rng.normal(size=8))
                                            for number in range(20)))


def _said(number: int) -> dict:
    starts = [2.5 * place for place in range(4)]
    return {"start": starts, "end": [start + 2.5 for start in starts],
            "text": [f"take {number} grains {place}" for place in range(4)]}


def check(folder: Path, scratch: Path, number: int, keep: Path | None) -> str:
    rng = np.random.default_rng([4, number])
    name = tuple(_READERS)[int(rng.integers(len(_READERS)))]
    good = _bytes(folder / name)
    damaged = damage(good, rng, [_bytes(folder / other) for other in ("features.npz", "captions.json", "p.jpg")])
    path = scratch / name
    damaged.write(path, number, keep)
    try:
        _READERS[name](folder, path, damaged)
    except (errors.BadMedia, errors.DataError, errors.MissingInputError) as error:
        return getattr(error, "kind", type(error).__name__)
    return "read"


@functools.cache
def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _npz(key: str) -> Callable[[Path, Path, Damage], None]:
    def read(folder: Path, path: Path, damaged: Damage) -> None:
        found, origin_s = film.read_npz(path, key)
        expected, said_s = film.read_npz(folder / path.name, key)
        same = np.array_equal(found, expected) and found.dtype == expected.dtype and origin_s == said_s
        assert same, f"{damaged.kind}: other numbers"

    return read


def _captions(folder: Path, path: Path, damaged: Damage) -> None:
    found, *_ = captions.read(path, set(_VIDEOS))
    for one in found.values():
        assert one.start_s.shape == one.end_s.shape == (len(one.texts),) and isinstance(one.digest(), str)
    if damaged.touched is None or path.suffix == ".pkl":
        return
    expected, *_ = captions.read(folder / path.name, set(_VIDEOS))
    good = _bytes(folder / path.name)
    places = {name: [match.span() for match in re.finditer(_span(name, path.suffix), good)] for name in _VIDEOS}
    hurt = {name for name, spans in places.items()
            if any(begin < span[1] and end > span[0] for begin, end in damaged.touched for span in spans)}
    inside = all(any(span[0] <= begin and end <= span[1] for spans in places.values() for span in spans)
                 for begin, end in damaged.touched)
    # A quotation mark or a new name may take the next video along; then its name is gone, or said twice.
    if inside and len(hurt) == 1 and len(found) == len(_VIDEOS):
        for name in set(_VIDEOS) - hurt:
            assert found[name].digest() == expected[name].digest(), f"{damaged.kind}: {name}, which was not touched, differs"


def _span(name: str, suffix: str) -> bytes:
    if suffix == ".csv":
        return rb"(?m)^%s,[^\n]*" % name.encode()
    return rb'(?s)(?<="%s": \{)[^}]*' % name.encode()


def _pickle(folder: Path, path: Path, damaged: Damage) -> None:
    plain_pickle.read(path)


def _list(folder: Path, path: Path, damaged: Damage) -> None:
    for pair in spoken.read_list(folder, path):
        assert isinstance(pair.image, str) and isinstance(pair.wav, str) and isinstance(pair.text, str)


def _picture(folder: Path, path: Path, damaged: Damage) -> None:
    assert still.read_random(path, _DRAWS, 24).shape == (2, 24, 24, 3)
    found = still.read_crop(path, 32, 24)
    assert found.shape == (24, 24, 3) and found.dtype == np.uint8
    if path.suffix == ".png":  # has checksums
        assert np.array_equal(found, still.read_crop(folder / path.name, 32, 24)), f"{damaged.kind}: another picture"


def _vectors(folder: Path, path: Path, damaged: Damage) -> None:
    vectors = WordVectors(path)
    assert vectors.rows([f"word{number}" for number in range(20)], 20).shape[1] == vectors.width


_READERS: dict[str, Callable[[Path, Path, Damage], None]] = {
    "features.npz": _npz("features"), "packed.npz": _npz("features"), "spec.npz": _npz("arr_0"),
    "clips.pkl": _pickle, "captions2.pkl": _captions, "captions4.pkl": _captions, "captions.json": _captions,
    "captions.csv": _captions, "list.json": _list, "p.jpg": _picture, "p.png": _picture, "p.webp": _picture, "p.bmp": _picture,
    "p.tiff": _picture,
    "vectors.bin": _vectors, "vectors.txt": _vectors}
