"""Official layouts: what is read from them, and every way in which a folder can be wrong."""

import csv
import hashlib
import logging
import math
from collections import Counter

import layouts
import pytest

from avc_jax import errors
from avc_jax.data.sources import hashed_split, open_folder
from avc_jax.datasets import Item, dcase2013_scenes, esc50, flickr_soundnet, kinetics_sounds, labelled, manifest

# ESC-50 ------------------------------------------------------------------------------------------------------------------


def test_esc50_has_fifty_classes_of_five_groups_of_ten():
    assert len(set(esc50.CLASSES)) == 50
    assert [esc50.CLASSES[place] for place in (0, 10, 20, 30, 40, 49)] == [
        "dog", "rain", "crying_baby", "door_wood_knock", "helicopter", "hand_saw"]


def test_esc50_is_read_from_its_table(tmp_path):
    items = esc50.read(layouts.make_esc50(tmp_path))
    assert items[0] == Item("audio/1-1001-A-0.wav", "dog", "1")
    assert Counter(item.fold_or_split for item in items) == dict.fromkeys("12345", 2)
    assert {item.label for item in items} == {"dog", "airplane"}


def test_esc10_is_the_part_that_the_table_marks(tmp_path):
    assert {item.label for item in esc50.read(layouts.make_esc50(tmp_path), "esc10")} == {"dog"}


def test_real_sounds_of_esc10_are_read_in_the_layout_of_esc50(shared, tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_bytes((shared / "data/esc10/meta/esc10.csv").read_bytes())
    (tmp_path / "audio").symlink_to(shared / "data/esc10/audio")
    items = esc50.read(tmp_path, "esc10")
    assert len(items) == 400 and items == esc50.read(tmp_path)
    cells = Counter((item.label, item.fold_or_split) for item in items)
    assert len(cells) == 50 and set(cells.values()) == {8}


@pytest.mark.parametrize(("old", "new", "words"), [
    ("dog,True", "dogg,True", r"1-1001-A-0.wav is of class 0, 'dogg', which ESC-50 does not have"),
    (",0,dog", ",1,dog", "is of class 1, 'dog'"), ("category", "class", "expected also category"),
    ("-0.wav,1,", "-0.wav,,", "row 2 has no fold")])
def test_table_that_is_not_that_of_esc50_is_refused(tmp_path, old, new, words):
    table = layouts.make_esc50(tmp_path) / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(errors.DataError, match=words) as caught:
        esc50.read(tmp_path)
    assert "docs/datasets/esc50.md" in str(caught.value)


def test_table_that_is_missing_or_empty_is_told(tmp_path):
    with pytest.raises(errors.MissingInputError, match=r"meta/esc50.csv: expected a CSV with the columns .*nothing there"):
        esc50.read(tmp_path)
    with pytest.raises(errors.MissingInputError, match="found no folder"):
        esc50.read(tmp_path / "none")
    layouts.write(tmp_path / "meta" / "esc50.csv", layouts.ESC50_COLUMNS)
    with pytest.raises(errors.DataError, match="it has no rows"):
        esc50.read(tmp_path)
    (tmp_path / "meta" / "esc50.csv").write_bytes(b"filename\n\xff\xfe\n")
    with pytest.raises(errors.DataError, match="cannot be read as CSV"):
        esc50.read(tmp_path)


def test_sounds_that_are_missing_are_counted_and_the_first_are_named(tmp_path):
    root = layouts.make_esc50(tmp_path)
    (root / "audio" / "2-1002-A-0.wav").unlink()
    with pytest.raises(errors.MissingInputError, match=r"1 of 10 listed files are missing: audio/2-1002-A-0\.wav"):
        esc50.read(root)
    rows = [f"{number}.wav,1,0,dog,True,1,A" for number in range(15)]
    layouts.write(root / "meta" / "esc50.csv", layouts.ESC50_COLUMNS, *rows)
    with pytest.raises(errors.MissingInputError, match=r"15 of 15 .*audio/9.wav and 5 more") as caught:
        esc50.read(root)
    assert "audio/10.wav" not in str(caught.value)


@pytest.mark.parametrize("module", [esc50, dcase2013_scenes, kinetics_sounds, flickr_soundnet])
def test_variant_that_there_is_not_is_a_config_error(module, tmp_path):
    with pytest.raises(errors.ConfigError, match=f"'none'; expected one of {', '.join(module.VARIANTS)}"):
        module.read(tmp_path, "none")


# DCASE 2013 --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return layouts.make_dcase2013_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.mark.parametrize(("variant", "groups"), [("", ("1", "2")), ("two_folds", ("1", "2")), ("train_test", ("train", "test"))])
def test_scenes_are_two_parts_of_ten_recordings_of_each_class(scenes, variant, groups):
    items = dcase2013_scenes.read(scenes, variant)
    assert items[0] == Item("scenes_stereo/bus01.wav", "bus", groups[0])
    assert Counter((item.label, item.fold_or_split) for item in items) == {
        (label, group): 10 for label in dcase2013_scenes.CLASSES for group in groups}
    assert all(item.path.startswith(dcase2013_scenes.PARTS[groups.index(item.fold_or_split)] + "/") for item in items)


def copy_of(folder, tmp_path):
    """A folder of links to the files of another."""
    for path in folder.rglob("*.wav"):
        link = tmp_path / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return tmp_path


def test_names_with_test_before_them_and_folders_within_are_read(scenes, tmp_path):
    part = copy_of(scenes, tmp_path) / "scenes_stereo_testset"
    (part / "audio").mkdir()
    for path in sorted(part.glob("*.wav")):
        path.rename(part / "audio" / f"test_{path.name}")
    (part / "audio" / "._bus01.wav").write_bytes(b"of macOS")
    items = [item for item in dcase2013_scenes.read(tmp_path) if item.fold_or_split == "2"]
    assert items[0] == Item("scenes_stereo_testset/audio/test_bus02.wav", "bus", "2") and len(items) == 100


def test_part_class_or_recording_that_is_missing_is_told(scenes, tmp_path):
    root = copy_of(scenes, tmp_path)
    (root / "scenes_stereo" / "tube01.wav").unlink()
    with pytest.raises(errors.MissingInputError, match=r"stereo: expected 10 recordings of tube, such as tube01.wav, found 9\."):
        dcase2013_scenes.read(root)
    for path in (root / "scenes_stereo_testset").glob("*.wav"):
        path.unlink()
    (root / "scenes_stereo" / "tube01.wav").symlink_to(scenes / "scenes_stereo" / "tube01.wav")
    with pytest.raises(errors.MissingInputError, match=r"stereo_testset: expected recordings such as bus01.wav, found none\."):
        dcase2013_scenes.read(root)


@pytest.mark.parametrize("name", ["ferry01.wav", "bus1.wav", "bus001.wav", "0123.wav"])
def test_name_that_says_no_class_is_told(scenes, tmp_path, name):
    root = copy_of(scenes, tmp_path)
    layouts.tone(root / "scenes_stereo" / name)
    with pytest.raises(errors.DataError, match=f"scenes_stereo/{name}: expected a name such as bus01.wav"):
        dcase2013_scenes.read(root)


# Kinetics-Sounds ---------------------------------------------------------------------------------------------------------


def test_kinetics_sounds_has_34_classes_of_which_31_were_released():
    assert len(set(kinetics_sounds.CLASSES)) == 34
    assert set(kinetics_sounds.RELEASED.values()) < set(kinetics_sounds.CLASSES)
    assert not set(kinetics_sounds.RELEASED) & set(kinetics_sounds.CLASSES)


def test_clips_of_the_34_classes_are_found_wherever_their_videos_lie(tmp_path):
    assert kinetics_sounds.read(layouts.make_kinetics_sounds(tmp_path)) == [
        Item("replacement/replacement_for_corrupted_k400/aaaaaaaaaaa_000010_000020.mp4", "playing drums", "train"),
        Item("train/bowling/bbbbbbbbbbb_000000_000010.mp4", "bowling", "train"),
        Item("val/ccccccccccc_000003_000013.mp4", "mowing the lawn by pushing lawnmower", "validation"),
        Item("test/ddddddddddd.mp4", "bowling", "test", 7.0, 17.0),
        Item("test/eeeeeeeeeee_000001_000011.mp4", "stomping", "test"),
    ]


def test_names_of_the_paper_are_read_as_well(tmp_path):
    table = layouts.make_kinetics_sounds(tmp_path) / "annotations" / "val.csv"
    table.write_text(table.read_text().replace("mowing lawn", "mowing the lawn by pushing lawnmower"))
    assert kinetics_sounds.read(tmp_path)[2].label == "mowing the lawn by pushing lawnmower"


def test_hashed_splits_of_kinetics_depend_on_the_video_alone(tmp_path):
    items = kinetics_sounds.read(layouts.make_kinetics_sounds(tmp_path), "hashed")
    names = [item.path.rsplit("/", 1)[1][:11] for item in items]
    assert [item.fold_or_split for item in items] == [hashed_split(name, (0.8, 0.1, 0.1)) for name in names]


def test_videos_that_are_gone_are_an_error_unless_the_budget_allows_for_them(tmp_path, caplog):
    root = layouts.make_kinetics_sounds(tmp_path)
    (root / "val" / "ccccccccccc_000003_000013.mp4").unlink()
    with pytest.raises(errors.MissingInputError, match=r"1 of 5 listed files are missing: val/ccccccccccc_000003_000013\.mp4"):
        kinetics_sounds.read(root)
    with pytest.raises(errors.MissingInputError, match=r"At most a share of 0\.19 may be"):
        kinetics_sounds.read(root, missing_budget=0.19)
    with caplog.at_level(logging.WARNING):
        items = kinetics_sounds.read(root, missing_budget=0.2)
    assert [item.fold_or_split for item in items] == ["train", "train", "test", "test"]
    assert "1 of 5 listed files are missing: val/ccccccccccc" in caplog.text


@pytest.mark.parametrize(("name", "old", "new", "error", "words"), [
    ("test", "label,", "", errors.DataError, "test.csv: found columns .*expected also label"),
    ("val", ",3,", ",soon,", errors.DataError, "ccccccccccc lasts from 'soon' to '13'; expected whole seconds"),
    ("val", ",3,", ",,", errors.DataError, "row 2 has no time_start"),
    ("val", None, None, errors.MissingInputError, r"annotations/val.csv: expected a CSV with the columns label, youtube_id")])
def test_list_that_is_not_one_of_kinetics_is_told(tmp_path, name, old, new, error, words):
    table = layouts.make_kinetics_sounds(tmp_path) / "annotations" / f"{name}.csv"
    if old is None:
        table.unlink()
    elif name == "test":  # as it was before its labels were released
        rows = [line.split(",", 1)[1] for line in table.read_text().splitlines()]
        table.write_text("\n".join(rows))
    else:
        table.write_text(table.read_text().replace(old, new))
    with pytest.raises(error, match=words):
        kinetics_sounds.read(tmp_path)


def test_folder_without_clips_of_these_classes_or_without_videos_is_told(tmp_path):
    for name in kinetics_sounds.LISTS:
        layouts.write(tmp_path / "annotations" / f"{name}.csv", layouts.KINETICS_COLUMNS, "yoga,fffffffffff,1,11,train,0")
    with pytest.raises(errors.DataError, match="none of the lists has a clip of Kinetics-Sounds"):
        kinetics_sounds.read(tmp_path)
    layouts.write(tmp_path / "annotations" / "val.csv", layouts.KINETICS_COLUMNS, "bowling,fffffffffff,1,11,val,0")
    with pytest.raises(errors.MissingInputError, match=r"it holds none, searched recursively.*docs/datasets/kinetics_sounds.md"):
        kinetics_sounds.read(tmp_path)


# Flickr-SoundNet ---------------------------------------------------------------------------------------------------------


def test_list_of_addresses_or_numbers_is_drawn_into_splits(tmp_path):
    items = flickr_soundnet.read(layouts.make_flickr_soundnet(tmp_path))
    assert {item.path for item in items} == {f"videos/{number}.mp4" for number in range(9000, 9012)}
    assert all((item.label, item.start_s, item.end_s) == ("", -math.inf, 10.0) for item in items)


def test_draw_is_that_of_the_sha256_of_seed_and_number():
    numbers = [str(number) for number in range(2000)]
    drawn = flickr_soundnet.draw(numbers, seed=3)
    places = {number: int(hashlib.sha256(f"3:{number}".encode()).hexdigest()[:16], 16) / 2**64 for number in numbers}
    for split, (low, high) in {"train": (0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1)}.items():
        assert drawn[split] == sorted((n for n, place in places.items() if low <= place < high), key=places.__getitem__)
    assert drawn != flickr_soundnet.draw(numbers, seed=4)
    assert drawn == flickr_soundnet.draw(numbers[::-1], seed=3), "the order of the list must not matter"


def test_as_many_are_taken_as_the_paper_took_and_a_missing_one_moves_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(flickr_soundnet, "SIZES", {"train": 8, "validation": 1, "test": 1})
    root = layouts.make_flickr_soundnet(tmp_path, 40)
    before = {item.path: item.fold_or_split for item in flickr_soundnet.read(root)}
    assert Counter(before.values()) == {"train": 8, "validation": 1, "test": 1}
    gone = next(path for path, split in before.items() if split == "train")
    (root / gone).unlink()
    with pytest.raises(errors.MissingInputError, match=f"1 of 11 listed files are missing: {gone}"):
        flickr_soundnet.read(root)
    after = {item.path: item.fold_or_split for item in flickr_soundnet.read(root, missing_budget=0.1)}
    assert Counter(after.values()) == Counter(before.values())
    new = set(after) - set(before)
    assert set(before) - set(after) == {gone} and len(new) == 1
    assert {path: before[path] for path in before if path != gone} == {path: after[path] for path in after if path not in new}


@pytest.mark.parametrize(("text", "error", "words"), [
    (None, errors.MissingInputError, "urls_public.txt: expected the list of videos"), ("", errors.DataError, "it has no lines"),
    ("9000\nhttp://example.com/cat\n", errors.DataError, "'http://example.com/cat' names no video of Flickr"),
    (b"\xff\xfe\n", errors.DataError, "cannot be read")])
def test_list_that_names_no_videos_is_told(tmp_path, text, error, words):
    path = layouts.make_flickr_soundnet(tmp_path, 2) / "urls_public.txt"
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=words):
        flickr_soundnet.read(tmp_path)


# Any CSV -----------------------------------------------------------------------------------------------------------------


def test_any_csv_of_path_label_fold_is_read(tmp_path):
    assert labelled.read(layouts.make_labelled_audio(tmp_path)) == [
        Item("a.wav", "low", "1", -math.inf, 0.1), Item("a.wav", "low", "2", 0.1, 0.3), Item("deep/b.flac", "high", "1"),
        Item("c.mp3", "high", "2")]


def test_csv_may_lie_elsewhere_and_rows_without_fold_are_dealt_by_a_hash(tmp_path):
    root = layouts.make_labelled_audio(tmp_path / "root")
    table = layouts.write(tmp_path / "mine.csv", "path,label", "a.wav,low", "c.mp3,high")
    assert [item.fold_or_split for item in labelled.read(root, str(table))] == [
        hashed_split(path, (0.8, 0.1, 0.1)) for path in ("a.wav", "c.mp3")]


@pytest.mark.parametrize(("text", "error", "words"), [
    ("path,label,fold\na.wav,,1\n", errors.DataError, "a.wav has no label"),
    ("path,fold\na.wav,1\n", errors.DataError, "a.wav has no label"),
    ("file,label\na.wav,x\n", errors.DataError, "expected one named path"),
    ("path,label\na.wav,x\nnone.wav,x\n", errors.MissingInputError, "1 of 2 listed files are missing: none.wav"),
    ("path,label\n", errors.MissingInputError, "lists none"), (None, errors.MissingInputError, "columns path, label, fold")])
def test_csv_that_makes_no_sense_is_told(tmp_path, text, error, words):
    table = layouts.make_labelled_audio(tmp_path) / "labels.csv"
    table.unlink()
    if text is not None:
        table.write_text(text)
    with pytest.raises(error, match=words):
        labelled.read(tmp_path)


def test_real_sounds_are_read_by_a_csv(shared, tmp_path):
    with open(shared / "data/fsdd/fsdd.csv", newline="") as file:
        rows = [f"audio/{row['filename']},{row['digit']},{row['split']}" for row in csv.DictReader(file)]
    table = layouts.write(tmp_path / "digits.csv", "path,label,split", *rows)
    digits = labelled.read(shared / "data/fsdd", str(table))
    assert len(digits) == 900 and {item.label for item in digits} == set("0123456789")
    with open(shared / "data/labelled_audio/labels.csv", newline="") as file:
        rows = [f'{row["file"]},"{row["audioset_label"]}",{number % 3}' for number, row in enumerate(csv.DictReader(file))]
    table = layouts.write(tmp_path / "everyday.csv", "path,label,fold", *rows)
    items = labelled.read(shared / "data/labelled_audio", str(table))
    assert Counter(item.fold_or_split for item in items) == dict.fromkeys("012", 3)


# Manifests ---------------------------------------------------------------------------------------------------------------


def test_manifest_gives_training_the_items_that_were_read(tmp_path):
    items = kinetics_sounds.read(layouts.make_kinetics_sounds(tmp_path))
    (tmp_path / "manifest.csv").write_text(manifest.to_csv(items, "split"))
    clips = open_folder(str(tmp_path), "manifest.csv", (1, 0, 0)).clips
    assert [Item(clip.path, clip.label, clip.split, clip.start_s, clip.end_s) for clip in clips] == items


def test_manifest_of_sounds_has_folds_and_is_read_again_as_it_was(tmp_path):
    items = labelled.read(layouts.make_labelled_audio(tmp_path))
    text = manifest.to_csv(items, "fold")
    assert text.splitlines()[:3] == ["path,fold,label,start_s,end_s", "a.wav,1,low,,0.1", "a.wav,2,low,0.1,0.3"]
    (tmp_path / "again.csv").write_text(text)
    assert labelled.read(tmp_path, "again.csv") == items


def test_counts_are_by_class_and_split_and_name_classes_without_a_clip(tmp_path):
    lines = manifest.count(kinetics_sounds.read(layouts.make_kinetics_sounds(tmp_path)), kinetics_sounds.CLASSES).splitlines()
    assert lines[0].split() == ["test", "train", "validation"]
    assert lines[1].split() == ["bowling", "1", "1", "0"] and lines[5].split() == ["all", "2", "2", "1"]
    assert lines[6].startswith("30 classes without a clip: blowing nose, chopping wood") and "typing" in lines[6]
