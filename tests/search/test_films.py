"""Folders of features are indexed from what is stored, and asked with sounds of any length and with words."""

import io
import json
import shutil

import av
import media
import numpy as np
import pytest
import tiny
from data.items import made

from avc_jax import config as configs
from avc_jax import errors, model, systems
from avc_jax.search import ask, build, films, page
from avc_jax.search.ask import Words
from avc_jax.search.build import Wish
from avc_jax.search.index import Store
from avc_jax.search.network import Network
from avc_jax.train.guard import Guard

WIDTH, WINDOW_S, RATE_HZ = 4, 2.0, 16000
NAMES = ("a/00.mp4", "a/01.mp4", "02.mp4")


def save(folder, seed: int = 0, **changes):
    """A model folder of a small AVLnet."""
    small = {"system__trunk_width": 1 / 32, "system__embedding": 8, "system__video_width": 2 * WIDTH, "data__window_s": WINDOW_S,
             "data__max_words": 4, "data__sound": "spectrogram"}
    config = tiny.changed(configs.default("avlnet"), small | changes)
    system = systems.make(config)
    return model.save(folder, model.Model(config, system, tiny.variables(system, seed), 5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Features of three videos as avc_jax.features lays them out, and the videos: 5 s with a tone each."""
    base = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for name in NAMES:
        (base / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        media.tone_video(base / "videos" / name, seconds=5.0, rate_hz=RATE_HZ)
        stem = base / "features" / name.removesuffix(".mp4")
        stem.parent.mkdir(parents=True, exist_ok=True)
        for stream, rate in (("2d", 1.0), ("3d", 1.5)):
            np.savez(f"{stem}_{stream}.npz", features=rng.uniform(size=(int(5 * rate), WIDTH)).astype(np.float16), origin_s=0.0)
        np.savez(f"{stem}_spec.npz", arr_0=rng.uniform(-80, 0, (40, 500)).astype(np.float16), origin_s=0.0)
    (base / "features" / "features.json").write_text(json.dumps({"layout": "howto100m", "videos": str(base / "videos")}))
    (base / "features" / "manifest.csv").write_text("\n".join(["path,split", *(f"{name},train" for name in NAMES), ""]))
    return base / "features"


def refresh(out, checkpoint, *inputs):
    with Store(str(out)) as store, Guard() as guard:
        return build.refresh(store, Wish([str(one) for one in inputs], checkpoint=str(checkpoint)), guard, io.StringIO())


@pytest.fixture(scope="module", params=["spectrogram", "waveform"])
def indexed(request, folder, tmp_path_factory):
    """A network, and its index of the films."""
    base = tmp_path_factory.mktemp(request.param)
    net = save(base / "net", data__sound=request.param)
    return Network(str(net), 0.0, 8), refresh(base / "index", net, folder), base


def test_films_are_embedded_window_by_window(indexed, folder):
    network, index, _ = indexed
    assert [file.path for file in index.files] == [str(folder.parent / "videos" / name) for name in NAMES]
    assert index.facts["similarity"] == "dot" and not any(file.failures for file in index.files)
    rows = index.rows["video"]
    assert rows.file.tolist() == [0] * 3 + [1] * 3 + [2] * 3 and rows.time_s.tolist() == [0, 2, 4] * 3
    pooled = []
    for stream, (begin, end) in (("2d", (2, 4)), ("3d", (3, 6))):  # from 2 s to 2 + int(2.0125) s, both included
        with np.load(folder / f"a/01_{stream}.npz") as arrays:
            most = arrays["features"][begin : end + (stream == "2d") + (stream == "3d")].astype(np.float32).max(0)
        pooled.append(most / np.linalg.norm(most))
    expected = network.model.embed(video=np.concatenate(pooled)[None], video_length=np.ones(1, np.int32))["video"]
    np.testing.assert_allclose(rows.vectors[4:5], expected, rtol=1e-4, atol=1e-5)
    # The last window of sound holds what is left.
    assert index.rows["audio"].file.tolist() == rows.file.tolist()


def test_a_second_time_nothing_is_read(indexed, folder, monkeypatch):
    _, index, base = indexed
    monkeypatch.setattr(films.Films, "embed", lambda *_: pytest.fail("embedded again"))
    again = refresh(base / "index", base / "net")
    assert again.files == index.files and again.facts == index.facts


def test_short_sounds_ask_films_and_the_page_shows_the_videos(indexed, tmp_path):
    network, index, _ = indexed
    sound = media.tone_video(tmp_path / "q.wav", video=False, seconds=0.7, rate_hz=RATE_HZ)
    asked = ask.question(network, str(sound), None, None, lambda: None)
    with av.open(str(sound)) as file:
        samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)])
    # What follows the end has no part in it, although windows are longer.
    padded = np.zeros((1, round(WINDOW_S * RATE_HZ)), np.int16)
    padded[0, : len(samples)] = samples
    length = np.array([len(samples) - np.argmax(samples[::-1] != 0)], np.int32)
    expected = network.model.embed(waveform=padded, waveform_length=length)["audio"][0]
    np.testing.assert_allclose(asked.vectors["audio"], expected, rtol=1e-3, atol=1e-4)
    answer = ask.answer(index, asked, network.model.system.directions)
    assert len(answer.hits) == 3 and {hit.modality for hit in answer.hits} == {"video"}
    scores = index.rows["video"].vectors @ expected
    assert answer.hits[0].score == pytest.approx(scores.max(), rel=1e-3)
    page.write(str(tmp_path / "p.html"), index, asked, answer, network.model.config, "i")
    text = (tmp_path / "p.html").read_text()
    assert text.count("<audio ") == 4 and text.count('alt="Frame of') == 3


def test_videos_ask_with_their_sound_as_the_network_takes_no_frames(indexed, folder):
    network, index, _ = indexed
    video = str(folder.parent / "videos" / NAMES[0])
    assert ask.question(network, video, None, None, lambda: None).kind == "sound"
    found = ask.question(network, video, "clip", None, lambda: None, index=index)
    np.testing.assert_allclose(found.vectors["video"], index.rows["video"].vectors[:3].mean(0), rtol=1e-5)
    found = ask.question(network, video, "picture", 2.2, lambda: None, index=index)
    np.testing.assert_allclose(found.vectors["video"], index.rows["video"].vectors[1], rtol=1e-5)
    with pytest.raises(errors.ConfigError, match=r"no vectors of the picture of a media file alone; it takes the sound"):
        ask.question(network, video, "clip", None, lambda: None)
    with pytest.raises(errors.ConfigError, match="--words: this network takes no words"):
        ask.question(network, "", None, None, lambda: None, Words("mix well"))


def test_a_film_without_a_spectrogram_is_found_by_its_picture(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "features")
    (copy / "02_spec.npz").unlink()
    index = refresh(tmp_path / "index", save(tmp_path / "net"), copy)
    assert not any(file.failures for file in index.files)
    assert set(index.rows["video"].file.tolist()) == {0, 1, 2} and set(index.rows["audio"].file.tolist()) == {0, 1}


def test_bad_films_are_told_and_the_others_found(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "features")
    (copy / "a" / "00_3d.npz").write_bytes(b"nothing")
    (copy / "02_2d.npz").unlink()
    index = refresh(tmp_path / "index", save(tmp_path / "net"), copy)
    assert [bool(file.failures) for file in index.files] == [True, False, True]
    assert [file.failures[0][1] for file in index.files if file.failures] == ["damaged", "missing"]
    assert set(index.rows["video"].file.tolist()) == {1}


def test_a_network_of_frames_refuses_features(folder, tmp_path):
    from search import nets

    with pytest.raises(errors.ConfigError, match="holds features, and this network takes frame"):
        refresh(tmp_path / "index", nets.save(tmp_path / "net"), folder)


@pytest.mark.parametrize("variant", ["tri", "fused"])
def test_words_ask(variant, folder, tmp_path):
    vectors = tmp_path / "vectors.txt"
    rng = np.random.default_rng(0)
    rows = {word: rng.normal(size=300).round(3) for word in ("mix", "well", "bake")}
    vectors.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in rows.items()))
    net = save(tmp_path / "net", system__variant=variant)
    network, index = Network(str(net), 0.0, 8), refresh(tmp_path / "index", net, folder)
    words = Words("mix it well", str(vectors))
    field = np.zeros((1, 4, 300), np.float16)
    field[0, :2] = rows["mix"], rows["well"]
    if variant == "fused":
        sound = str(media.tone_video(tmp_path / "q.wav", video=False, seconds=2.0, rate_hz=RATE_HZ))
        with pytest.raises(errors.ConfigError, match="one vector of words and a sound; name the sound"):
            ask.question(network, "", None, None, lambda: None, words)
        asked = ask.question(network, sound, None, None, lambda: None, words)
        assert list(asked.vectors) == ["audio+text"]
    else:
        asked = ask.question(network, "", None, None, lambda: None, words)
        expected = network.model.embed(words=field, words_length=np.array([2], np.int32))["text"][0]
        np.testing.assert_allclose(asked.vectors["text"], expected, rtol=1e-4, atol=1e-5)
    answer = ask.answer(index, asked, network.model.system.directions)
    assert len(answer.hits) == 3 and "with pictures of 3 files" in page.told(index, answer)
    page.write(str(tmp_path / "p.html"), index, asked, answer, network.model.config, "i")
    assert "mix it well" in (tmp_path / "p.html").read_text()
    with pytest.raises(errors.DataError, match="none of these words has a vector"):
        ask.question(network, "", None, None, lambda: None, Words("Mix", str(vectors)))
    with pytest.raises(errors.MissingInputError, match="--word_vectors is missing"):
        ask.question(network, "", None, None, lambda: None, Words("mix"))
    with pytest.raises(errors.ConfigError, match="found vectors of 3 numbers, expected 300"):
        ask.question(network, "", None, None, lambda: None, Words("the salt", str(made.write_vectors(tmp_path / "three.bin"))))
