"""Media for the page: of videos, of items whose picture and sound are files of their own, and of what cannot be read."""

from types import SimpleNamespace

import media
import numpy as np
import tiny
from evaluators import asking
from PIL import Image

from avc_jax import systems
from avc_jax.data import sources
from avc_jax.evaluators import shown


def setting(tmp_path, heldout):
    config = tiny.config(system__head="ave")
    return asking.setting(tmp_path, heldout, config=config, asked=systems.make(config), devices=None)


def test_bad_videos_are_left_out_and_stay_out_of_the_ledger(videos, tmp_path):
    found = sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    clips = (*found.clips[:3], sources.Clip(str(tmp_path / "bad.mp4"), 9, "test"))
    asked = setting(tmp_path, sources.Source(found.root, clips))
    got = shown.read(asked, np.array([2, 3, 0, 2]))
    assert got.rows(np.array([[0, 2], [3, 1]])).tolist() == [[0, 1], [-1, -1]]
    assert [tiny.picture_of(frame) for frame in got.arrays["frame"]] == [0, 2]
    assert [tiny.sound_of(sound, got.arrays["rate_hz"]) for sound in got.arrays["waveform"]] == [0, 2]
    assert asked.quarantine.reasons == {}


def test_items_show_pictures_and_sounds_of_their_own_files(videos, tmp_path):
    Image.new("RGB", (200, 150), (10, 200, 30)).save(tmp_path / "picture.png")
    media.write(tmp_path / "short.wav", sound=0.5 * np.sin(2 * np.pi * 800 * np.arange(1600) / 8000), rate_hz=8000)

    def item(path, image=""):
        return SimpleNamespace(path=str(path), image=image, start_s=-np.inf, end_s=np.inf)

    items = (item(tmp_path / "short.wav", "picture.png"), item(videos / "04.mp4"), item("nowhere.mp4"),
             item("nowhere.wav", "picture.png"))
    heldout = SimpleNamespace(root=tmp_path, media=tmp_path, clips=items, items=items, num_files=4, holds_pairs=False)
    got = shown.read(setting(tmp_path, heldout), np.arange(4))
    assert got.row == {0: 0, 1: 1, 3: 2}
    assert got.arrays["seen"].tolist() == [True, True, True] and got.arrays["heard"].tolist() == [True, True, False]
    assert got.arrays["frame"][[0, 2]].reshape(2, -1, 3).mean(1).tolist() == [[10, 200, 30]] * 2
    assert tiny.picture_of(got.arrays["frame"][1]) == 4 and tiny.sound_of(got.arrays["waveform"][1], 8000) == 4
    sound = np.abs(got.arrays["waveform"][0].astype(int))
    assert sound.max() > 10_000 and (sound[-800:] == 0).all()  # zeros follow what is too short


def test_nothing_to_show_leaves_no_file(tmp_path):
    (tmp_path / "media.npz").write_bytes(b"old")
    shown.write(tmp_path / "media.npz", shown.Media({}, {}))
    assert not (tmp_path / "media.npz").exists()


def test_long_texts_are_cut():
    short, long = shown.short(["a", "b" * 300])
    assert short == "a" and len(long) == 160 and long.endswith("\N{HORIZONTAL ELLIPSIS}")
