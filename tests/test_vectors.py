"""Files of embeddings: the same rows in every format, complete or not there."""

import csv
import json

import numpy as np
import pytest

from avc_jax import errors, vectors

FILES = ["a.wav", "b, c.wav", "ö.mp4"]
FAILURES = [vectors.Failure("b, c.wav", "damaged", 'At 3 s: "broken".')]
WIDTH = 5


def rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(count, WIDTH)) * 10.0 ** rng.integers(-30, 30, (count, WIDTH))).astype(np.float32)
    return np.sort(rng.integers(0, 3, count)).astype(np.int32), rng.uniform(0, 1e5, count), values


def write(path, kind: str, parts, failures=()):
    with vectors.Output(str(path)) as output:
        writer = vectors.FORMATS[kind](output.temporary, FILES, WIDTH, {"hop_s": 0.5})
        for part in parts:
            writer.add(*part)
        writer.close(failures)
        assert not path.exists(), "it has its name before it is complete"
        return output.commit(failures)


def read(path, kind: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    if kind == "npz":
        with np.load(path) as file:
            assert json.loads(str(file["facts"])) == {"hop_s": 0.5}
            return [str(file["files"][place]) for place in file["file"]], file["time_s"], file["embedding"]
    if kind == "parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        assert json.loads(table.schema.metadata[b"avc_jax"]) == {"hop_s": 0.5}
        vectors_ = np.array(table["embedding"].to_pylist(), np.float32).reshape(-1, WIDTH)
        return table["file"].to_pylist(), table["time_s"].to_numpy(), vectors_
    with open(path, newline="", encoding="utf-8") as file:
        head, *lines = csv.reader(file)
    assert head == ["file", "time_s", *(f"e{k}" for k in range(WIDTH))]
    return ([line[0] for line in lines], np.array([float(line[1]) for line in lines]),
            np.array([line[2:] for line in lines], np.float32).reshape(-1, WIDTH))


@pytest.mark.parametrize("kind", list(vectors.FORMATS))
@pytest.mark.parametrize("counts", [(), (7,), (4, 4, 1)])
def test_every_format_gives_back_every_bit(tmp_path, kind, counts):
    parts = [rows(count, seed) for seed, count in enumerate(counts)]
    assert write(tmp_path / "deep" / "o", kind, parts) is None
    names, time_s, embedding = read(tmp_path / "deep" / "o", kind)
    assert names == [FILES[place] for part in parts for place in part[0]]
    np.testing.assert_array_equal(time_s, np.concatenate([np.zeros(0), *(part[1] for part in parts)]))
    np.testing.assert_array_equal(embedding, np.concatenate([np.zeros((0, WIDTH), np.float32), *(part[2] for part in parts)]))
    assert embedding.dtype == np.float32
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["o"]


def test_parquet_is_written_in_groups_of_rows(tmp_path, monkeypatch):
    import pyarrow.parquet

    monkeypatch.setattr(vectors, "_ROW_GROUP_BYTES", 10 * 4 * WIDTH)
    write(tmp_path / "o", "parquet", [rows(4, seed) for seed in range(7)])
    assert pyarrow.parquet.ParquetFile(tmp_path / "o").metadata.num_row_groups == 3
    np.testing.assert_array_equal(read(tmp_path / "o", "parquet")[2], np.concatenate([rows(4, seed)[2] for seed in range(7)]))


@pytest.mark.parametrize("kind", list(vectors.FORMATS))
def test_failures_are_listed_beside_the_file_and_an_old_list_goes(tmp_path, kind):
    listed = write(tmp_path / "o", kind, [rows(3)], FAILURES)
    with open(listed, newline="") as file:
        assert list(csv.reader(file)) == [["path", "kind", "reason"], list(FAILURES[0])]
    if kind == "npz":
        with np.load(tmp_path / "o") as file:
            assert file["failed_files"].tolist() == ["b, c.wav"] and file["failed_reasons"].tolist() == [FAILURES[0].reason]
    (tmp_path / "o").unlink()
    write(tmp_path / "o", kind, [rows(3)])
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


@pytest.mark.parametrize("kind", list(vectors.FORMATS))
def test_what_is_interrupted_leaves_the_old_file_and_nothing_else(tmp_path, kind):
    (tmp_path / "o").write_text("old")
    with vectors.Output(str(tmp_path / "o")) as output:
        writer = vectors.FORMATS[kind](output.temporary, FILES, WIDTH, {})
        writer.add(*rows(100))
    assert (tmp_path / "o").read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["o"]


def test_what_cannot_be_written_is_told_before_anything_is_computed(tmp_path):
    (tmp_path / "file").write_text("")
    for out, kind in (("", errors.ConfigError), (str(tmp_path), errors.CannotWriteError),
                      (str(tmp_path / "file" / "o"), errors.CannotWriteError)):
        with pytest.raises(kind, match="--out"):
            vectors.Output(out)


def test_a_full_disk_is_told(tmp_path):
    with vectors.Output(str(tmp_path / "o")) as output, pytest.raises(errors.CannotWriteError, match="No space"), \
            output.writing():
        raise OSError(28, "No space left on device")


def test_without_pyarrow_parquet_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.ConfigError, match="pip install pyarrow"):
        write(tmp_path / "o", "parquet", [])
