"""Sets of features and of spoken captions: their published layouts are opened by what training reads them with."""

import csv
import json
import os
from collections import Counter

import layouts
import numpy as np
import pytest

from avc_jax import datasets, errors, schema
from avc_jax.data.items import Item
from avc_jax.data.items.film import Film
from avc_jax.data.items.spoken import read_list
from avc_jax.datasets import howto100m, opened

LAYOUTS = {name: getattr(layouts, f"make_{name}") for name in datasets.ITEMS}
SPLITS = {
    ("howto100m", ""): {"train": 3},
    ("youcook2", ""): {"train": 2, "validation": 2},
    ("youcook2", "sounds241"): {"train": 2, "validation": 1},
    ("youcook2", "speech241"): {"train": 2, "validation": 1},
    ("msrvtt", ""): {"train": 2, "test": 2},
    ("msrvtt", "9k"): {"train": 3, "test": 2},
    ("crosstask", ""): {"train": 2, "validation": 1},
    ("youcook_japanese", ""): {"train": 1, "validation": 1, "eval": 1},
    ("places_audio", ""): {"train": 2, "validation": 1},
    ("places_audio", "english_2020_seen"): {"train": 2, "validation": 1, "test": 1},
    ("places_audio", "english_2020_unseen"): {"train": 2, "validation": 1, "test": 1},
    ("places_audio", "hindi"): {"train": 2, "validation": 1, "test": 1},
    ("places_audio", "japanese"): {"train": 2, "validation": 1},
    ("spoken_objectnet_50k", ""): {"train": 1, "validation": 1, "test": 1},
    ("flickr8k_audio", ""): {"train": 2, "validation": 2, "test": 2, "other": 2},
}


def splits(source) -> dict[str, int]:
    return dict(Counter(item.split for item in source.items))


@pytest.mark.parametrize(("name", "variant"), SPLITS)
def test_a_published_layout_is_opened_with_its_splits_and_all_of_its_files(tmp_path, name, variant):
    root = LAYOUTS[name](tmp_path)
    changes = {"split_fractions": (1.0, 0.0, 0.0)} if name == "howto100m" else {}
    assert splits(opened.open_set(name, root, variant, **changes)) == SPLITS[name, variant]
    source = opened.check(name, root, variant)
    assert all(isinstance(item, Item) for item in source.items)


@pytest.mark.parametrize("name", datasets.ITEMS)
def test_a_set_says_how_it_is_opened_in_keys_of_the_config(tmp_path, name):
    root = LAYOUTS[name](tmp_path)
    module, keys = datasets.ITEMS[name], schema.SECTIONS["data"]
    assert module.LISTS.keys() == module.VARIANTS.keys()
    for variant in module.VARIANTS:
        given = opened.settings(name, root, variant)
        assert given["pairing"] == "none"
        assert given.get("evaluate_split", "train") in splits(opened.open_set(name, root, variant))
        assert all(not keys[key].choices or value in keys[key].choices for key, value in given.items())
        assert f"--config.data.root={root}" in opened.flags(given)
        assert "=''" not in opened.flags(given) and "= " not in opened.flags(given)


@pytest.mark.parametrize("name", datasets.ITEMS)
def test_a_folder_of_something_else_names_the_page_that_says_what_belongs_there(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.MissingInputError, match=rf"docs/datasets/{name}\.md says how to lay out"):
        opened.open_set(name, tmp_path / "empty")
    assert (layouts.Path(__file__).parents[2] / "docs" / "datasets" / f"{name}.md").is_file()
    if len(datasets.ITEMS[name].VARIANTS) > 1:
        with pytest.raises(errors.ConfigError, match="Found variant 'no'"):
            opened.open_set(name, LAYOUTS[name](tmp_path / "full"), "no")


def test_a_clip_of_a_pickle_has_features_sound_and_words(tmp_path):
    source = opened.open_set("youcook2", layouts.make_youcook2(tmp_path))
    item = source.items[1]
    assert (item.path, item.captions.texts) == ("00000000002_2", ["stir bowl 2"])
    film = Film(source, item, "spectrogram")
    assert film.rows("2d").shape == (1, 2048) and (film.rows("3d") == 2).all()
    assert film.spectrogram.shape == (40, 120) and (film.spectrogram == -2).all()


def test_clips_without_sound_stay_and_are_told(tmp_path):
    source = opened.open_set("msrvtt", layouts.make_msrvtt(tmp_path))
    assert any("1 of the 4 clips have no sound" in note for note in source.notes)
    assert opened.tracks(source) == "Of 4 items, 4 have words and 3 have sound."
    assert [item.text for item in source.items if item.split == "test"] == ["a cat", "a cow"]


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path):
    root = layouts.make_crosstask(tmp_path)
    (root / "crosstask_clips_val.pkl").write_bytes(b"cos\nsystem\n(S'touch trace'\ntR.")
    with pytest.raises(errors.DataError, match=r"is refused: it asks for os\.system.*docs/datasets/crosstask\.md"):
        opened.open_set("crosstask", root)
    assert not os.path.exists("trace")


def test_films_are_read_under_the_name_that_their_features_lie_under(tmp_path):
    root = layouts.make_howto100m(tmp_path)
    items = howto100m.read(root, "paths.csv")
    assert [item.path for item in items] == ["food/video_a/aaaaaaaaaaa", "food/video_b/bbbbbbbbbbb",
                                             "pets/video_c/ccccccccccc/ccccccccccc"]
    (root / "food/video_b/bbbbbbbbbbb_3d.npz").unlink()
    with pytest.raises(errors.MissingInputError, match=r"1 of 3 listed files are missing: food/video_b/bbbbbbbbbbb_3d\.npz"):
        howto100m.read(root, "paths.csv")
    assert len(howto100m.read(root, "paths.csv", 0.5)) == 2
    with pytest.raises(errors.MissingInputError, match=r"1 of 9 listed files are missing: .*bbbbbbbbbbb_3d\.npz"):
        opened.check("howto100m", root)
    assert len(opened.check("howto100m", root, missing_budget=0.2).items) == 3


def test_a_published_list_opens_the_films_in_both_layouts(tmp_path):
    """Also where one track is missing: that of the other layout, which has none of them, is not the better name."""
    root = layouts.make_howto100m(tmp_path)
    (root / "pets/video_c/ccccccccccc/ccccccccccc_spec.npz").unlink()
    listed = opened.open_set("howto100m", root, manifest="paths.csv", captions="caption.json")
    assert [item.path for item in listed.items] == ["food/video_a/aaaaaaaaaaa", "food/video_b/bbbbbbbbbbb",
                                                    "pets/video_c/ccccccccccc/ccccccccccc"]
    assert [item.silent for item in listed.items] == [False, False, True]
    assert "no captions of 1 of the 3 films, such as pets/video_c" in listed.notes[0]
    assert [Film(listed, item, "rows").rows("2d").shape for item in listed.items] == [(5, 2048)] * 3
    assert opened.open_set("howto100m", root, captions="caption.json").sha256() == listed.sha256()
    (root / "gone.csv").write_text("path\nNone/food/gone\nfood/video_a/aaaaaaaaaaa\n")
    assert opened.open_set("howto100m", root, manifest="gone.csv").items[0].path == "food/gone"


def test_films_have_captions_with_times(tmp_path):
    source = opened.open_set("howto100m", layouts.make_howto100m(tmp_path), captions="caption.json")
    said = {item.path[-11:]: item.captions.within(3.0, 4.0) for item in source.items}
    assert said == {"aaaaaaaaaaa": "and stir", "bbbbbbbbbbb": "and stir", "ccccccccccc": ""}
    assert any("no captions of 1 of the 3 films" in note for note in source.notes)


@pytest.mark.parametrize("variant", datasets.ITEMS["places_audio"].VARIANTS)
def test_captions_of_places_find_their_pictures_and_sounds(tmp_path, variant):
    source = opened.open_set("places_audio", layouts.make_places_audio(tmp_path), variant)
    for place, item in enumerate(source.items):
        assert (source.root / item.image).is_file() and (source.media / item.path).is_file()
        assert len(source.sound(place, 16000)) == pytest.approx(4800, abs=1)
    assert (source.items[0].captions.texts != []) == (variant != "japanese")
    (source.media / source.items[1].path).unlink()  # the first of a list tells where all are
    with pytest.raises(errors.MissingInputError, match=r"1 of \d+ listed files are missing.*docs/datasets/places_audio\.md"):
        opened.check("places_audio", tmp_path, variant)


def places_of_speech(shared, root):
    """The shared photographs with their spoken captions in the layout of Places."""
    root.mkdir()
    (root / "images").symlink_to(shared / "data/image_speech_synth/images")
    with open(shared / "data/image_speech_synth/pairs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for language, folder in (("en", "PlacesAudio_400k_distro"), ("hi", "PlacesHindi100k"), ("ja", "PlacesAudioJpn_100k")):
        (root / folder).mkdir()
        (root / folder / "audio").symlink_to(shared / "data/image_speech_synth/audio")
        own = [(row["image"].removeprefix("images/"), row["audio"]) for row in rows if row["language"] == language]
        parts = {"train": own[:40], "dev": own[40:45], "test": own[45:]}
        if language == "en":
            layouts.write_json_list(root / folder / "metadata/train.json", parts["train"])
            layouts.write_json_list(root / folder / "metadata/val.json", parts["dev"])
        elif language == "hi":
            for split, pairs in parts.items():
                layouts.write_json_list(root / folder / f"{folder}_{split}.json", pairs)
        else:
            for split, pairs in (("train", parts["train"]), ("valid", parts["dev"])):
                layouts.write(root / folder / f"{folder}_image2audio_{split}.txt", *(f"/{image} /{wav}" for image, wav in pairs))
    return root


@pytest.mark.parametrize("variant", ["english", "hindi", "japanese"])
def test_real_photographs_and_spoken_captions_are_opened_in_the_layout_of_places(shared, tmp_path, variant):
    source = opened.check("places_audio", places_of_speech(shared, tmp_path / "places"), variant)
    assert splits(source)["train"] == 40
    sounds = [source.sound(place, 16000) for place in range(0, 40, 8)]
    assert all(1.0 < len(sound) / 16000 < 4.2 and np.abs(sound).max() > 1000 for sound in sounds)
    assert len({item.image for item in source.items if item.split == "train"}) == 20  # two voices for each photograph


@pytest.mark.parametrize(("languages", "changes", "said"), [
    (("hindi",), {}, "hi"), (("hindi", "english"), {}, "hi"), (("hindi", "english"), {"language": "english"}, "en"),
    (("urdu", "english"), {}, "captions in english, urdu; config.data.language: found '', expected one of these"),
    (("urdu", "english"), {"language": "hindi"}, "found 'hindi', expected one of these")])
def test_keys_of_lists_may_name_their_language(tmp_path, languages, changes, said):
    """With other sounds, and folders of sounds, for each language."""
    root = layouts.make_places_audio(tmp_path)
    for split in ("train", "dev", "test"):
        path = root / f"PlacesHindi100k/PlacesHindi100k_{split}.json"
        rows = json.loads(path.read_text())["data"]
        tree = {"image_base_path": "/data/images", "data": [{"image": row["image"]} for row in rows]}
        for language in languages:
            tree[f"{language}_audio_base_path"] = f"/data/{language[:2]}_wavs"
            for row, old in zip(tree["data"], rows, strict=True):
                row[f"{language}_wav"] = os.path.basename(old["wav"])
                layouts.tone(root / f"{language[:2]}_wavs" / row[f"{language}_wav"])
        path.write_text(json.dumps(tree))
    if len(said) > 2:
        with pytest.raises(errors.DataError, match=said):
            opened.open_set("places_audio", root, "hindi", **changes)
        return
    source = opened.open_set("places_audio", root, "hindi", **changes)
    assert splits(source) == SPLITS["places_audio", "hindi"]
    assert {item.path.split("/")[0] for item in source.items} == {f"{said}_wavs"}


def test_a_language_may_be_that_of_a_folder_alone(tmp_path):
    layouts.spoken(tmp_path / "pictures", tmp_path / "hindi_wavs", [("a.jpg", "a.wav")])
    rows = [{"image": "a.jpg", "wav": "a.wav", "english_wav": "b.wav"}]
    tree = {"hindi_image_base_path": "/x/pictures/", "hindi_audio_base_path": "/x/hindi_wavs/", "data": rows}
    (tmp_path / "hindi_train.json").write_text(json.dumps(tree))
    (pair,) = read_list(tmp_path, tmp_path / "hindi_train.json")
    assert (pair.image, pair.wav, pair.split) == ("pictures/a.jpg", "hindi_wavs/a.wav", "train")


def test_pictures_of_flickr_without_lists_of_splits_get_one_each(tmp_path):
    root = layouts.make_flickr8k_audio(tmp_path)
    for path in (root / "Flickr8k_text").iterdir():
        path.unlink()
    items = opened.open_set("flickr8k_audio", root, split_fractions=(0.5, 0.25, 0.25)).items
    assert {item.split for item in items} <= {"train", "validation", "test"}
    assert len({(item.image, item.split) for item in items}) == len({item.image for item in items}) == 4


def test_lists_of_places_are_json_as_published(tmp_path):
    root = layouts.make_places_audio(tmp_path)
    tree = json.loads((root / "PlacesHindi100k/PlacesHindi100k_train.json").read_text())
    assert set(tree) == {"image_base_path", "audio_base_path", "data"}
