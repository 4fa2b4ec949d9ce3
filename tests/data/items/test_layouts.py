"""Published layouts: what they list, in which split and group, and what is said where they are not as they ought to be."""

import json
import pickle

import media
import numpy as np
import pytest
from data.items import made
from PIL import Image

from avc_jax import config as configs
from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data.items import captions, spoken
from avc_jax.data.items.spoken import Pair


def write_pair(root, image: str, wav: str) -> None:
    for path in (image, wav):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / image)
    media.tone_video(root / wav, video=False, rate_hz=8000, seconds=0.2)


# Films ---------------------------------------------------------------------------------------------------------------------


def test_howto100m_is_found_with_and_without_its_list(tmp_path):
    root = made.write_howto100m(tmp_path, films=3)
    listed, found = made.opened("howto100m", root, data__manifest="list.csv"), made.opened("howto100m", root)
    assert [item.path for item in found.items] == [item.path for item in listed.items] == [
        f"food/{n}/film{n:07d}" for n in range(3)]
    assert found.sha256() == listed.sha256() and found.num_files == 3 and not found.holds_pairs
    assert sources.open_source(made.config("howto100m", root)).sha256() == found.sha256()


def test_a_changed_caption_is_another_list_of_clips(tmp_path):
    root = made.write_howto100m(tmp_path, films=2)
    before = made.opened("howto100m", root, data__captions="caption.json").sha256()
    table = json.loads((root / "caption.json").read_text())
    table["film0000001"]["text"][0] = "other words"
    (root / "caption.json").write_text(json.dumps(table))
    assert made.opened("howto100m", root, data__captions="caption.json").sha256() != before


@pytest.mark.parametrize("content", ["{}", '[{"a": 1}]', '{"film0000000": {"start": [0], "end": [1, 2], "text": ["a"]}}',
                                     '{"film0000000": {"start": ["x"], "end": [1], "text": ["a"]}}', "no json"])
def test_captions_of_another_form_are_said_so(tmp_path, content):
    root = made.write_howto100m(tmp_path, films=1)
    (root / "caption.json").write_text(content)
    if content == "{}":
        assert "no captions of 1 of the 1 films" in made.opened("howto100m", root, data__captions="caption.json").notes[0]
        return
    with pytest.raises(errors.DataError, match="cannot be read as captions"):
        made.opened("howto100m", root, data__captions="caption.json")


def test_captions_that_end_before_they_begin_are_named_counted_and_left_out(tmp_path):
    (tmp_path / "c.json").write_text('{"a": {"start": [5, 1, 3], "end": [4, 2, 3], "text": ["backwards", "ä", "b"]}, '
                                     '"c": {"start": [1], "end": [0], "text": ["x"]}}')
    found, _, backwards = captions.read(tmp_path / "c.json", {"a", "c"})
    assert (found["a"].texts, len(found["c"]), backwards) == (["ä", "b"], 0, ["a", "c"])
    root = made.write_howto100m(tmp_path, films=1)
    (root / "d.csv").write_text("video,start_s,end_s,text\nfilm0000000,9,7,x\nfilm0000000,0,3,y\n")
    assert made.opened("howto100m", root, data__captions="d.csv").notes == (
        "d.csv has 1 captions that end before they begin and are left out, such as one of film0000000.",)


@pytest.mark.parametrize("content", ["", "video,start_s,end_s,text\n"])
def test_an_empty_table_of_captions_has_none_of_any_film(tmp_path, content):
    root = made.write_howto100m(tmp_path, films=2)
    (root / "c.csv").write_text(content)
    assert "no captions of 2 of the 2 films" in made.opened("howto100m", root, data__captions="c.csv").notes[0]


def test_captions_of_a_csv_are_those_of_the_other_forms(tmp_path):
    (tmp_path / "c.csv").write_text("video,start_s,end_s,text\na,7,9,later\na,0,3,first words\nb,0,1,x\n")
    found, others, _ = captions.read(tmp_path / "c.csv", {"a"})
    assert found["a"].texts == ["first words", "later"] and others == ["b"] and list(found) == ["a"]
    assert found["a"].within(2.0, 7.5) == "first words later" and found["a"].within(3.5, 6.5) == ""
    with pytest.raises(errors.MissingInputError, match="there is no such file"):
        made.opened("howto100m", made.write_howto100m(tmp_path / "h", films=1), data__captions="nowhere.json")


@pytest.mark.parametrize("header", ["video_id,start,end,text", ",Video,end,START,caption", "start,end,text"])
def test_captions_of_a_csv_may_name_their_columns_as_howto100m_does(tmp_path, header):
    values = {"video_id": "a", "video": "a", "start": "1.5", "end": "2", "text": '"x, y"', "caption": '"x, y"', "": "0"}
    (tmp_path / "a.csv").write_text(f"{header}\n{','.join(values[name] for name in header.lower().split(','))}\n")
    found, *others = captions.read(tmp_path / "a.csv", {"a"})
    assert found["a"].texts == ["x, y"] and others == [[], []]
    assert (found["a"].start_s.tolist(), found["a"].end_s.tolist()) == ([1.5], [2.0])
    (tmp_path / "b.csv").write_text("start,text\n1,x\n")
    with pytest.raises(errors.DataError, match=r"b\.csv: found columns start, text, expected video, start_s, end_s, text"):
        captions.read(tmp_path / "b.csv", {"b"})


def test_captions_may_be_a_folder_of_a_table_for_each_film(tmp_path):
    root = made.write_howto100m(tmp_path, films=3)
    (root / "raw").mkdir()
    for name, rows in (("film0000000", "0,3,y\n4,2,back\n"), ("film0000001", ""), ("stranger", "0,1,no\n")):
        (root / f"raw/{name}.csv").write_text(f"start,end,text\n{rows}")
    opened = made.opened("howto100m", root, data__captions="raw")
    assert [item.captions.texts for item in opened.items] == [["y"], [], []]
    assert ["no captions of 2 of the 3" in opened.notes[0], "1 videos that are not in the list" in opened.notes[1],
            "1 captions that end before" in opened.notes[2]] == [True] * 3


def test_what_is_not_there_is_said(tmp_path):
    for kind in ("features", "howto100m", "clip_pickles", "spoken_captions"):
        with pytest.raises(errors.MissingInputError, match=r"found (none|nothing)"):
            made.opened(kind, tmp_path)
        with pytest.raises(errors.MissingInputError, match="found nothing there"):
            made.opened(kind, tmp_path / "nowhere")


@pytest.mark.parametrize(("changes", "said"), [
    ({"data__pairing": "shared"}, "config.data.pairing: found 'shared', expected none"),
    ({"data__sound": "waveform"}, "config.data.sound: found 'waveform', expected spectrogram"),
    ({"data__clip_choice": "captions"}, "config.data.captions is empty"),
])
def test_keys_that_do_not_go_together_are_said(tmp_path, changes, said):
    with pytest.raises(errors.ConfigError, match=said):
        made.config("howto100m", tmp_path, **changes)
    configs.check(made.config("howto100m", tmp_path))


@pytest.mark.parametrize(("ids", "films"), [
    ([f"synthetic_clip_{n}" for n in range(4)], [0, 1, 2, 3]),  # no separator follows its first 11 characters
    (["a_b-c_d-e_f_0", "a_b-c_d-e_f_1", "a_b-c_d-e_g_0"], [0, 0, 1]), (["GLd3aX16zBg.3", "GLd3aX16zBg-12.5 20"], [0, 0]),
    (["video7020", "video7021"], [0, 1]), (["GLd3aX16zBg", "GLd3aX16zBg_1", "GLd3aX16zBgh"], [0, 0, 1]), ([None, None], [0, 1])])
def test_clips_of_pickles_are_of_the_film_that_their_names_begin_with(tmp_path, ids, films):
    records = [made.record(number, seconds=0.1, id=name) for number, name in enumerate(ids)]
    (tmp_path / "elevenchars.pkl").write_bytes(pickle.dumps(records))
    items = made.opened("clip_pickles", tmp_path, data__split_fractions=(0.4, 0.3, 0.3)).items
    assert [item.file for item in items] == films
    assert len({(item.file, item.split) for item in items}) == len(set(films))


# Spoken captions -----------------------------------------------------------------------------------------------------------


def test_places_lists_name_their_splits_and_pictures_with_several_captions_are_one_group(tmp_path):
    for split, count in (("train", 3), ("val", 1)):
        rows = [{"image": f"a/{split}{n // 2}.jpg", "wav": f"wavs/{split}{n}.wav", "speaker": "x", "asr_text": f"text {n}"}
                for n in range(count)]
        for row in rows:
            write_pair(tmp_path, f"images/{row['image']}", row["wav"])
        (tmp_path / f"{split}.json").write_text(json.dumps({"image_base_path": "images/", "audio_base_path": "", "data": rows}))
    items = made.opened("spoken_captions", tmp_path)
    assert items.count_splits() == {"train": 3, "validation": 1}
    assert [item.file for item in items.items] == [0, 0, 1, 2] and items.items[1].captions.texts == ["text 1"]


def test_flickr_audio_takes_its_splits_from_flickr8k(tmp_path):
    for n, split in enumerate(("train", "dev", "test")):
        for k in range(2):
            write_pair(tmp_path, f"Flicker8k_Dataset/{n}.jpg", f"wavs/{n}_{k}.wav")
        (tmp_path / f"Flickr_8k.{split}Images.txt").write_text(f"{n}.jpg\n")
    (tmp_path / "wav2capt.txt").write_text("".join(f"{n}_{k}.wav {n}.jpg #{k}\n" for n in range(3) for k in range(2)))
    items = made.opened("spoken_captions", tmp_path)
    assert items.count_splits() == {"test": 2, "train": 2, "validation": 2}
    assert items.items[3].image == "Flicker8k_Dataset/1.jpg" and items.items[3].path == "wavs/1_1.wav"


def test_real_pictures_with_captions_in_three_languages_are_listed(shared):
    items = made.opened("spoken_captions", shared / "data" / "image_speech_synth", data__manifest="pairs.csv")
    assert len(items.items) == 150 and items.num_files == 25


@pytest.mark.parametrize(("name", "content", "error", "said"), [
    ("train.json", '{"rows": []}', errors.DataError, "cannot be read as a list of spoken captions"),
    ("train.json", '{"data": [{"image": "a.jpg"}]}', errors.DataError, "entry 1: found image; expected"),
    ("train.json", '{"data": [{"image": 1, "wav": "b.wav"}]}', errors.DataError, "entry 1: found image, wav; expected"),
    ("train.txt", "\xe4.jpg a.wav".encode("latin1"), errors.DataError, "cannot be read as text"),
    ("train.txt", "a.jpg\n", errors.DataError, "entry 1"),
    ("train.txt", "a.jpg b.wav\n", errors.MissingInputError, r"a\.jpg is not in"),
])
def test_lists_that_are_none_are_said_so(tmp_path, name, content, error, said):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=said):
        made.opened("spoken_captions", tmp_path)


def test_a_folder_is_found_although_its_first_picture_is_missing(tmp_path):
    write_pair(tmp_path, "images/b.png", "wavs/b.wav")
    (tmp_path / "train.txt").write_text("a.png a.wav\nb.png b.wav\n")
    assert [item.image for item in made.opened("spoken_captions", tmp_path).items] == ["images/a.png", "images/b.png"]


def test_three_languages_are_joined_by_their_pictures_and_doubles_are_told():
    def pairs(language, *images):
        return [Pair(image, f"{language}{number}.wav", "train") for number, image in enumerate(images)]

    lists = {"english": pairs("e", "a", "b", "c", "d", "a"), "hindi": pairs("h", "c", "b", "a", "x"),
             "japanese": pairs("j", "b", "a", "c", "y")}
    rows, repeated = spoken.join_languages(lists)
    assert [row["english"].image for row in rows] == ["a", "b", "c"]
    assert all(len({pair.image for pair in row.values()}) == 1 for row in rows)
    assert [row["hindi"].wav for row in rows] == ["h2.wav", "h1.wav", "h0.wav"]
    assert repeated == {"english": ["a"], "hindi": [], "japanese": []}
