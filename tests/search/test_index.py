"""The index on the disk: complete or as it was, and never taken for something else."""

import json
import os

import numpy as np
import pytest

from avc_jax import errors
from avc_jax.search import index as indexes
from avc_jax.search.index import Entry, File, Store

FACTS = {"checkpoint": "/run", "similarity": "cosine"}


def entries(count: int, seed: int = 0, width: int = 4) -> list[Entry]:
    """Files of which every second one has a sound, every third one a picture."""
    rng, made = np.random.default_rng(seed), []
    for place in range(count):
        windows = {}
        for modality, every in (("audio", 2), ("video", 3)):
            if place % every == 0:
                rows = int(rng.integers(1, 4))
                windows[modality] = np.arange(rows) / 2, rng.normal(size=(rows, width)).astype(np.float32)
        failures = () if windows else (("audio", "unreadable", "It is nothing."),)
        made.append(Entry(File(f"/files/{place}\udcff.mp4", 10 + place, 20 + place, f"{place:032x}", failures), windows))
    return made


def commit(folder, made, facts=FACTS) -> None:
    with Store(str(folder)) as store:
        store.commit(facts, made)


def same(found: list[Entry], expected: list[Entry]) -> None:
    assert [entry.file for entry in found] == [entry.file for entry in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.windows.keys() == other.windows.keys()
        for modality, (time_s, vectors) in other.windows.items():
            np.testing.assert_array_equal(one.windows[modality][0], time_s)
            np.testing.assert_array_equal(one.windows[modality][1], vectors)


def test_what_is_written_is_read(tmp_path):
    commit(tmp_path / "i", entries(7))
    found = indexes.load(tmp_path / "i")
    assert found.facts == FACTS
    same(found.entries(), entries(7))
    assert found.rows["audio"].file.tolist() == sorted(found.rows["audio"].file.tolist())
    listed = [json.loads(line) for line in (tmp_path / "i" / "quarantine.jsonl").read_text().splitlines()]
    assert [(row["path"], row["kind"], row["reason"]) for row in listed] == [
        (f"/files/{place}\udcff.mp4", "unreadable", "audio: It is nothing.") for place in (1, 5)]


def test_an_index_is_replaced_by_entries_of_its_own_and_nothing_is_left_over(tmp_path):
    commit(tmp_path / "i", entries(7))
    read = indexes.load(tmp_path / "i")  # keeps what it has mapped
    with Store(str(tmp_path / "i")) as store:
        kept = store.read().entries()[2:]
        store.commit(FACTS, kept)
    same(indexes.load(tmp_path / "i").entries(), entries(7)[2:])
    same(read.entries(), entries(7))
    assert len(list((tmp_path / "i").glob("*.npy"))) == 6


def test_a_commit_that_dies_leaves_the_index_as_it_was(tmp_path, monkeypatch):
    commit(tmp_path / "i", entries(7))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            commit(tmp_path / "i", entries(9, seed=1))
    same(indexes.load(tmp_path / "i").entries(), entries(7))
    commit(tmp_path / "i", entries(3, seed=2))
    same(indexes.load(tmp_path / "i").entries(), entries(3, seed=2))
    assert len(list((tmp_path / "i").glob("*.npy"))) == 6


def test_a_folder_of_something_else_is_not_written_to(tmp_path):
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "thesis.tex").write_text("")
    with pytest.raises(errors.ConfigError, match="holds something that is no index"):
        Store(str(tmp_path / "i"))
    assert [path.name for path in (tmp_path / "i").iterdir()] == ["thesis.tex"]
    with pytest.raises(errors.ConfigError, match="--out is missing"):
        Store("")


def test_two_cannot_write_at_once(tmp_path):
    with Store(str(tmp_path / "i")), pytest.raises(errors.ConfigError, match="in use"):
        Store(str(tmp_path / "i"))


def test_what_is_missing_damaged_or_of_another_version_is_told(tmp_path):
    with pytest.raises(errors.MissingInputError, match="expected an index, found none"):
        indexes.load(tmp_path)
    folder = tmp_path / "i"
    commit(folder, entries(7))
    told = json.loads((folder / "index.json").read_text())
    for change, error, words in (
            ({"version": 99}, errors.ConfigError, "version 99, expected 1"),
            ({"files": told["files"][:2]}, errors.DataError, "do not fit together"),
            ({"arrays": {"audio": told["arrays"]["audio"] | {"name": "gone-7"}}}, errors.DataError, "gone-7.* is missing")):
        (folder / "index.json").write_text(json.dumps(told | change))
        with pytest.raises(error, match=words):
            indexes.load(folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(errors.ConfigError, match="is damaged"):
        indexes.load(folder)
    (folder / "index.json").write_text(json.dumps(told))
    vectors = folder / f"{told['arrays']['audio']['name']}.vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-8])
    with pytest.raises(errors.DataError, match="is damaged"):
        indexes.load(folder)


def test_large_modalities_get_lists_once(tmp_path):
    rng = np.random.default_rng(0)
    made = [Entry(File(f"/{place}", 1, 1, str(place)), {
        "audio": (np.arange(30.0), rng.normal(size=(30, 4)).astype(np.float32)),
        "video": (np.zeros(1), rng.normal(size=(1, 4)).astype(np.float32))}) for place in range(20)]
    with Store(str(tmp_path / "i")) as store:
        store.commit(FACTS, made)
        assert store.add_lists(599, {"audio": "video"}) == ["audio"]
        assert store.add_lists(599, {"audio": "video"}) == []
        assert store.add_lists(600, {}) == []
        found = store.read()
        assert found.rows["audio"].lists.is_file() and found.rows["video"].lists is None
        assert found.rows["audio"].probes >= 1 and found.rows["audio"].recall >= 0.98
        store.commit(FACTS, made[:5])
        assert store.read().rows["audio"].lists is None and not list((tmp_path / "i").glob("*.faiss"))
