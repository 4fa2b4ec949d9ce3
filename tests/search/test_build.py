"""An index is brought up to date: what is known is not embedded again, what is gone is dropped, what is bad is told."""

import dataclasses
import io
import os
import shutil
import signal
import time

import media
import numpy as np
import pytest
from PIL import Image
from search import nets

from avc_jax import errors, model
from avc_jax.data.decode import MediaFile
from avc_jax.search import build
from avc_jax.search.build import Wish
from avc_jax.search.index import Store
from avc_jax.search.network import Network
from avc_jax.train.guard import Guard


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return nets.save(tmp_path_factory.mktemp("net") / "model")


@pytest.fixture
def folder(videos, tmp_path):
    """A folder of two videos, a sound, an image, and a file that is nothing."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("00.mp4", "01.mp4"):
        shutil.copy2(videos / name, folder)
    media.tone_video(folder / "02.wav", video=False, seconds=1.2, rate_hz=16000)
    Image.fromarray(media.numbered(1365)).save(folder / "03.jpg")
    media.text_file(folder / "04.mp4")
    return folder


@pytest.fixture
def refresh(net, tmp_path, monkeypatch):
    """A function that brings the index up to date; it returns the index, the files that were embedded, and what was said."""
    embedded: set[str] = set()
    embed = Network.embed_files

    def counting(network, modality, paths, *args):
        embedded.update(os.path.basename(path) for path in paths)
        return embed(network, modality, paths, *args)

    monkeypatch.setattr(Network, "embed_files", counting)

    def refresh(*inputs, **wish):
        embedded.clear()
        said = io.StringIO()
        with Store(str(tmp_path / "index")) as store, Guard() as guard:
            index = build.refresh(store, Wish([str(one) for one in inputs], **{"checkpoint": str(net)} | wish), guard, said)
        return index, sorted(embedded), said.getvalue()

    return refresh


def names(index) -> list[str]:
    return [os.path.basename(file.path) for file in index.files]


def test_a_folder_is_embedded_as_the_network_embeds(folder, net, refresh):
    index, embedded, said = refresh(folder)
    assert names(index) == embedded == ["00.mp4", "01.mp4", "02.wav", "03.jpg", "04.mp4"]
    network = model.load(net)
    sounds, pictures = index.rows["audio"], index.rows["video"]
    # Windows of half a second follow each other; the last of the sound of 1.2 s is filled up.
    assert sounds.time_s[sounds.file == 2].tolist() == [0, 0.5, 1.0] and 3 not in sounds.file
    assert pictures.time_s[pictures.file == 1].tolist() == [0, 0.5, 1.0, 1.5]
    assert pictures.time_s[pictures.file == 3].tolist() == [0]
    with MediaFile(folder / "00.mp4") as file:
        frames = file.crops([0.5], np.full((1, 2), 0.5), 32, 32)
    np.testing.assert_allclose(pictures.vectors[1:2], network.embed(frame=frames)["video"], atol=1e-5)
    for rows in (sounds, pictures):
        np.testing.assert_allclose(np.linalg.norm(rows.vectors, axis=1), 1, atol=1e-5)
    # A sound has no picture and an image no sound, which is no failure.
    assert [bool(file.failures) for file in index.files] == [False] * 4 + [True]
    assert index.files[4].failures[0][:2] == ("audio", "unreadable") and "04.mp4: audio: unreadable" in said
    assert index.facts["similarity"] == "cosine" and index.facts["step"] == 7


def test_only_new_and_changed_files_are_embedded_again(folder, videos, refresh):
    first, _, _ = refresh(folder)
    index, embedded, said = refresh()
    # What could not be read may be readable by now.
    assert embedded == ["04.mp4"] and "(1 embedded now, 4 known before, 0 dropped)" in said
    (folder / "04.mp4").unlink()
    os.utime(folder / "00.mp4", (1, 1))  # touched: the same bytes
    (folder / "sub").mkdir()
    (folder / "02.wav").rename(folder / "sub" / "05.wav")  # moved
    shutil.copy2(videos / "02.mp4", folder / "01.mp4")  # changed
    (folder / "03.jpg").unlink()  # gone
    shutil.copy2(videos / "03.mp4", folder / "06.mp4")  # new
    index, embedded, said = refresh()
    assert embedded == ["01.mp4", "06.mp4"] and names(index) == ["00.mp4", "01.mp4", "06.mp4", "05.wav"]
    assert "(2 embedded now, 2 known before, 3 dropped)" in said
    for rows in index.rows.values():
        assert (np.diff(rows.file) >= 0).all()
    old, new = first.entries(), index.entries()
    for before, after in ((old[0], new[0]), (old[2], new[3])):
        for modality, (time_s, vectors) in before.windows.items():
            np.testing.assert_array_equal(after.windows[modality][1], vectors)
            np.testing.assert_array_equal(after.windows[modality][0], time_s)
    assert np.abs(old[1].windows["video"][1] - new[1].windows["video"][1]).max() > 0
    fresh, embedded, _ = refresh()
    assert embedded == [] and fresh.files[0].mtime_ns == 10**9


def test_nothing_is_loaded_or_written_where_nothing_changed(folder, refresh, tmp_path):
    (folder / "04.mp4").unlink()
    refresh(folder)
    written = (tmp_path / "index" / "index.json").stat().st_mtime_ns
    shutil.move(folder, tmp_path / "kept")
    shutil.move(tmp_path / "kept", folder)
    refresh(checkpoint="")
    assert (tmp_path / "index" / "index.json").stat().st_mtime_ns == written


def test_inputs_are_added_and_forgotten_but_never_lost_by_a_missing_disk(folder, videos, refresh, tmp_path):
    refresh(folder / "0[01].mp4")
    index, embedded, _ = refresh(videos)
    assert len(names(index)) == 8 and embedded == [f"0{number}.mp4" for number in range(2, 6)]  # of two, the bytes are known
    folder.rename(tmp_path / "away")
    with pytest.raises(errors.MissingInputError, match=r"names no file any more. Bring it back, or leave it out with --forget="):
        refresh(videos)
    index, embedded, said = refresh(forget=[f"{folder}/0[01].mp4"])
    assert names(index) == [f"0{number}.mp4" for number in range(6)] and embedded == [] and "2 dropped" in said
    with pytest.raises(errors.MissingInputError, match="--forget=/nowhere: expected one of what the index was made of"):
        refresh(forget=["/nowhere"])


def test_another_network_or_hop_is_refused(folder, refresh, tmp_path):
    refresh(folder / "00.mp4")
    other = nets.save(tmp_path / "other", seed=1)
    with pytest.raises(errors.ConfigError, match=r"The index was made with step 7 of .*, found step 7 of .*other"):
        refresh(checkpoint=str(other))
    with pytest.raises(errors.ConfigError, match=r"--hop_s=0.25: the index was made with 0.5"):
        refresh(hop_s=0.25)


def test_the_running_statistics_belong_to_the_network(net, tmp_path):
    import jax

    changed = model.load(net)
    statistics = jax.tree.map(lambda leaf: leaf + 1, changed.variables["batch_stats"])
    variables = {**changed.variables, "batch_stats": statistics}
    moved = model.save(tmp_path / "moved", model.Model(changed.config, changed.system, variables, 7))
    one, other = (Network(str(path), 0.0, 8).facts() for path in (net, moved))
    assert one["params_sha256"] == other["params_sha256"] and one["network_sha256"] != other["network_sha256"]


def test_a_network_without_a_common_space_is_refused_with_those_that_have_one(tmp_path):
    plain = nets.save(tmp_path / "plain", system__head="l3")
    with pytest.raises(errors.ConfigError, match=r"no common space.*l3net with config.system.head=ave"):
        Network(str(plain), 0.0, 8)


def test_a_network_that_compares_maps_is_refused(net, monkeypatch):
    whole = model.load(net)
    monkeypatch.setattr(model, "load", lambda _: dataclasses.replace(
        whole, system=dataclasses.replace(whole.system, compare=lambda *_: None)))
    with pytest.raises(errors.ConfigError, match="compares all places of a picture with all moments"):
        Network("maps", 0.0, 8)


def test_half_a_network_is_refused(net, monkeypatch):
    half = dataclasses.replace(model.load(net), missing_modalities=("video",))
    monkeypatch.setattr(model, "load", lambda _: half)
    with pytest.raises(errors.ConfigError, match="has no video half"):
        Network("half", 0.0, 8)


def test_a_stop_keeps_what_is_finished(folder, refresh, monkeypatch):
    monkeypatch.setattr(build, "_TOGETHER", 1)
    embed, seen = Network.embed_files, []

    def stopped(self, modality, paths, *args):
        seen.extend(paths)
        if len(set(seen)) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        return embed(self, modality, paths, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "embed_files", stopped)
        with pytest.raises(errors.Stopped, match=r"Stopped by SIGTERM. 2 of 5 files are in the index; the same command goes on"):
            refresh(folder)
    index, embedded, _ = refresh()
    assert embedded == ["02.wav", "03.jpg", "04.mp4"] and len(names(index)) == 5


def test_progress_is_committed_now_and_then(folder, refresh, monkeypatch):
    monkeypatch.setattr(build, "_TOGETHER", 2)
    monkeypatch.setattr(build, "_COMMIT_S", 0.0)
    commits, commit = [], Store.commit

    def counting(store, facts, entries):
        commits.append(len(entries))
        commit(store, facts, entries)

    monkeypatch.setattr(Store, "commit", counting)
    refresh(folder)
    assert commits[:3] == [2, 4, 5]
