"""Files of items that are damaged, or made to do damage, are refused with a word."""

import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

from avc_jax import errors
from avc_jax.data import limits
from avc_jax.data.items import captions, film, plain_pickle, spoken


def write_npz(path, header_shape=None, **arrays):
    np.savez(path, **arrays)
    if header_shape is not None:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data.replace(b"(2, 3)", header_shape))
    return path


@pytest.mark.parametrize("shape", [b"(9, 9)", b"(9**9)", b"(1, 3)"])
def test_npz_whose_header_promises_another_size_is_damaged(tmp_path, shape):
    path = write_npz(tmp_path / "a.npz", shape, features=np.zeros((2, 3), np.float32))
    with pytest.raises(errors.BadMedia) as caught:
        film.read_npz(path, "features")
    assert caught.value.kind == "damaged"


def test_npz_that_unpacks_to_more_than_the_limit_is_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", bytes(80 << 20))
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    before = limits.use(limits.Limits(memory_mb=64))
    try:
        with pytest.raises(errors.BadMedia, match="80 MB"):
            film.read_npz(tmp_path / "a.npz", "features")
    finally:
        limits.use(before)


def test_npz_in_whose_list_a_name_has_changed_is_damaged(tmp_path):
    path = write_npz(tmp_path / "a.npz", features=np.zeros((2, 3), np.float32), origin_s=np.float64(0.5))
    assert film.read_npz(path, "features")[1] == 0.5
    data = bytearray(path.read_bytes())
    data[data.rindex(b"origin_s")] ^= 1
    path.write_bytes(data)
    with pytest.raises(errors.BadMedia, match="differ") as caught:
        film.read_npz(path, "features")
    assert caught.value.kind == "damaged"


def test_pickle_that_asks_for_a_list_without_end_is_refused(tmp_path):
    # LONG_BINPUT: keep the value as number 0xFFFFFFF0 of a list.
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02]r" + struct.pack("<I", 0xFFFFFFF0) + b".")
    with pytest.raises(errors.DataError, match="MemoryError"):
        plain_pickle.read(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1, 2]))
    assert plain_pickle.read(tmp_path / "a.pkl") == [1, 2]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"v": {"start": [1' + "0" * 400 + '], "end": [2], "text": ["a"]}}'])
def test_json_that_is_too_deep_or_too_large_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(errors.DataError, match="cannot be read as captions"):
        captions.read(tmp_path / "a.json", {"v"})
    with pytest.raises(errors.DataError, match="cannot be read as a list"):
        spoken.read_list(tmp_path, tmp_path / "a.json")


def test_half_a_character_in_captions_has_a_digest(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"v": {"start": [0], "end": [1], "text": ["\ud83d"]}}))
    found, *_ = captions.read(tmp_path / "a.json", {"v"})
    assert len(found["v"].digest()) == 64
