"""Files of features with headers that are none: refused where they are read, made anew where they are made."""

import zipfile

import pytest

from avc_jax import errors
from avc_jax.data.items import film
from avc_jax.visual import folder


def write(path, header: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(12))


def test_a_good_header_is_read(tmp_path):
    write(tmp_path / "a_2d.npz", b"{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3)}\n")
    assert folder.is_whole(tmp_path / "a_2d.npz", "2d", 3)
    assert film.read_npz(tmp_path / "a_2d.npz", "features")[0].shape == (2, 3)


@pytest.mark.parametrize("header", [b"{'descr': (\n", b"{[]: 1}\n", b"'''abc\n", b"1\n", b"if x:\n    y\n  z\n", b"\0\n"],
                         ids=["open bracket", "unhashable", "open string", "number", "indentation", "null"])
def test_a_header_that_is_none_is_damage(tmp_path, header):
    write(tmp_path / "a_2d.npz", header)
    assert not folder.is_whole(tmp_path / "a_2d.npz", "2d", 3)
    with pytest.raises(errors.BadMedia, match="cannot be read"):
        film.read_npz(tmp_path / "a_2d.npz", "features")
