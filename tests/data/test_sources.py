"""The list of clips: what is found, how it is split, and every way in which a manifest can be wrong."""

import hashlib
import math
import os

import pytest

from avc_jax import errors
from avc_jax.data import sources
from avc_jax.data.sources import Clip, Source

FRACTIONS = (0.8, 0.1, 0.1)


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")
    return folder


def opened(folder, manifest="", fractions=FRACTIONS):
    return sources.open_folder(str(folder), manifest, fractions)


def with_manifest(tmp_path, text):
    (tmp_path / "clips.csv").write_text(text)
    return opened(tmp_path, "clips.csv")


# The folder ------------------------------------------------------------------------------------------------------------


def test_videos_are_found_recursively_whatever_the_case_of_the_extension_and_hidden_files_are_not(tmp_path):
    touch(tmp_path, "b.mp4", "a/deep/er/c.MKV", "a/d.WebM", "e.mov", "f.avi", "g.m4v",
          ".hidden.mp4", "a/.part.mp4", "notes.txt", "song.mp3", "mp4", "g.mp4.part")
    assert [clip.path for clip in opened(tmp_path).clips] == ["a/d.WebM", "a/deep/er/c.MKV", "b.mp4", "e.mov", "f.avi", "g.m4v"]


def test_the_order_is_that_of_the_paths_and_each_file_has_its_index(tmp_path):
    touch(tmp_path, "z.mp4", "a/z.mp4", "m.mp4")
    source = opened(tmp_path)
    assert [(clip.path, clip.file) for clip in source.clips] == [("a/z.mp4", 0), ("m.mp4", 1), ("z.mp4", 2)]
    assert source.num_files == 3


def test_folder_of_that_name_is_no_video(tmp_path):
    touch(tmp_path, "a.mp4/inner.mkv")
    assert [clip.path for clip in opened(tmp_path).clips] == ["a.mp4/inner.mkv"]


def test_linked_folders_are_followed_and_circles_end(tmp_path):
    touch(tmp_path / "elsewhere", "far.mp4")
    touch(tmp_path / "root", "near.mp4")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root")
    assert [clip.path for clip in opened(tmp_path / "root").clips] == ["link/far.mp4", "near.mp4"]


def test_name_that_is_no_utf8_is_a_name(tmp_path):
    try:
        touch(tmp_path, os.fsdecode(b"caf\xe9.mp4"), "plain.mp4")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    source = opened(tmp_path)
    assert len(source.clips) == 2
    assert source.clips[0].split in sources.HASHED_SPLITS
    assert len(source.sha256()) == 64


@pytest.mark.parametrize(("root", "words"), [
    ("", "config.data.root is empty"), ("nowhere", "found nothing there"), ("file.mp4", "found a file there"),
    ("empty", "it holds none, searched recursively")])
def test_folder_without_videos_is_missing_input(tmp_path, root, words):
    touch(tmp_path, "file.mp4", "empty/notes.txt")
    with pytest.raises(errors.MissingInputError, match=words):
        opened(tmp_path / root if root else "")


# Splits ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["a.mp4", "deep/er/b.mkv", "ü.webm"])
def test_hashed_split_is_where_the_first_64_bits_of_the_sha256_of_the_path_fall(path):
    place = int(hashlib.sha256(path.encode()).hexdigest()[:16], 16) / 2**64
    wanted = "train" if place < 0.5 else "validation" if place < 0.8 else "test"
    assert sources.hashed_split(path, (0.5, 0.3, 0.2)) == wanted


def test_hashed_splits_are_those_of_the_first_release():
    found = "".join(sources.hashed_split(f"{number}.mp4", FRACTIONS)[1] for number in range(40))
    assert found == "rararrrrrrarrrrrrrerrrerrrraerrarrrrrrrr"


def test_split_of_a_file_does_not_depend_on_the_others(tmp_path):
    names = [f"{number:03d}.mp4" for number in range(100)]
    before = {clip.path: clip.split for clip in opened(touch(tmp_path / "a", *names)).clips}
    after = {clip.path: clip.split for clip in opened(touch(tmp_path / "b", *names[::3], "new.mp4")).clips}
    assert {path: before[path] for path in names[::3]} == {path: after[path] for path in names[::3]}


def test_shares_of_hashed_splits_are_those_asked_for():
    splits = [sources.hashed_split(f"{number}.mp4", FRACTIONS) for number in range(5000)]
    for split, share in zip(sources.HASHED_SPLITS, FRACTIONS, strict=True):
        assert abs(splits.count(split) - 5000 * share) < 5 * math.sqrt(5000 * share * (1 - share))
    assert {sources.hashed_split(f"{number}.mp4", (1.0, 0.0, 0.0)) for number in range(1000)} == {"train"}
    assert {sources.hashed_split(f"{number}.mp4", (0.0, 0.0, 1.0)) for number in range(1000)} == {"test"}


def made(*splits):
    return Source("root", tuple(Clip(f"{number}.mp4", number, split) for number, split in enumerate(splits)))


def test_select_gives_one_split_all_or_what_is_held_out():
    source = made("train", "test", "train", "mine", "validation")
    paths = lambda source: [clip.path for clip in source.clips]  # noqa: E731
    assert paths(source.select("train")) == ["0.mp4", "2.mp4"]
    assert paths(source.select("mine")) == ["3.mp4"]
    assert paths(source.select("all")) == paths(source)
    assert paths(source.select("heldout", beside="train")) == ["1.mp4", "3.mp4", "4.mp4"]
    assert paths(source.select("heldout", beside="all")) == []
    assert source.select("test").clips[0].file == 1  # indices of files stay those of the whole source


def test_split_that_no_clip_has_is_a_config_error_that_lists_the_splits():
    with pytest.raises(errors.ConfigError, match=r"'trian'.*\{'test': 1, 'train': 2\}"):
        made("train", "test", "train").select("trian")


def test_files_are_counted_once():
    clips = Clip("a.mp4", 0, "train", end_s=1.0), Clip("a.mp4", 0, "train", start_s=1.0), Clip("b.mp4", 1, "test")
    source = Source("root", clips)
    assert source.num_files == 2
    assert source.select("train").num_files == 1
    assert source.count_splits() == {"test": 1, "train": 2}


# The manifest ------------------------------------------------------------------------------------------------------------


def test_manifest_gives_splits_labels_and_stretches(tmp_path):
    source = with_manifest(tmp_path, "path,split,label,start_s,end_s,comment\n"
                                     "b.mp4,train,dog,1.5,3,x\na.mp4,mine,,,,\nb.mp4,test,cat,3,,\n")
    assert source.clips == (
        Clip("b.mp4", 1, "train", "dog", 1.5, 3.0),
        Clip("a.mp4", 0, "mine", "", -math.inf, math.inf),
        Clip("b.mp4", 1, "test", "cat", 3.0, math.inf),
    )


def test_manifest_without_splits_gets_hashed_ones(tmp_path):
    source = with_manifest(tmp_path, "path,split\na.mp4,\nb.mp4,mine\n")
    assert [clip.split for clip in source.clips] == [sources.hashed_split("a.mp4", FRACTIONS), "mine"]


def test_fold_of_a_manifest_is_a_split_where_it_names_none(tmp_path):
    source = with_manifest(tmp_path, "path,split,fold\na.mp4,,2\nb.mp4,mine,2\n")
    assert [clip.split for clip in source.clips] == ["2", "mine"]


def test_manifest_may_have_a_byte_order_mark_and_foreign_line_ends(tmp_path):
    (tmp_path / "clips.csv").write_bytes("\ufeffpath,split\r\nü b.mp4,train\r\n".encode())
    assert opened(tmp_path, "clips.csv").clips == (Clip("ü b.mp4", 0, "train"),)


def test_manifest_may_lie_elsewhere(tmp_path):
    touch(tmp_path, "root/x.mp4")
    (tmp_path / "clips.csv").write_text("path\nx.mp4\n")
    assert [clip.path for clip in opened(tmp_path / "root", str(tmp_path / "clips.csv")).clips] == ["x.mp4"]


@pytest.mark.parametrize(("text", "error", "words"), [
    ("file,split\na.mp4,train\n", errors.DataError, "found columns file, split; expected one named path"),
    ("path,split\na.mp4,train\n,train\n", errors.DataError, "line 3: the path is empty"),
    ("split,path\ntrain\n", errors.DataError, "line 2: the path is empty"),
    ("path,start_s\na.mp4,soon\n", errors.DataError, "a.mp4 start_s='soon'; expected a number of seconds"),
    ("path,end_s\na.mp4,nan\n", errors.DataError, "a.mp4 end_s='nan'"),
    ("path,start_s,end_s\na.mp4,2,2\n", errors.DataError, "the end has to be later"),
    ("path,start_s,end_s\na.mp4,3,2\n", errors.DataError, "start_s=3.0 and end_s=2.0"),
    ("path,start_s\na.mp4,inf\n", errors.DataError, "the end has to be later"),
    ("path,split\n", errors.MissingInputError, "clips.csv lists none"),
    ("", errors.MissingInputError, "clips.csv lists none"),
])
def test_manifest_that_makes_no_sense_is_refused_in_words(tmp_path, text, error, words):
    with pytest.raises(error, match=words):
        with_manifest(tmp_path, text)


def test_manifest_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "clips.csv").write_bytes(b"path\n\xff\xfe\x00.mp4\n")
    with pytest.raises(errors.DataError, match="cannot be read as CSV"):
        opened(tmp_path, "clips.csv")


def test_manifest_that_is_not_there_is_missing_input(tmp_path):
    with pytest.raises(errors.MissingInputError, match=r"config\.data\.manifest=clips\.csv"):
        opened(tmp_path, "clips.csv")


# The digest ---------------------------------------------------------------------------------------------------------------


def test_digest_changes_exactly_when_the_list_changes(tmp_path):
    names = ["a.mp4", "b.mp4"]
    digest = opened(touch(tmp_path / "one", *names)).sha256()
    assert opened(touch(tmp_path / "two", *names)).sha256() == digest  # wherever the folder is
    (tmp_path / "two" / "a.mp4").write_bytes(b"other bytes")
    assert opened(tmp_path / "two").sha256() == digest  # names, not contents
    others = [
        opened(touch(tmp_path / "three", *names, "c.mp4")).sha256(),
        opened(touch(tmp_path / "four", "a.mp4")).sha256(),
        opened(tmp_path / "one", fractions=(0.0, 1.0, 0.0)).sha256(),
        Source("root", (Clip("a.mp4", 0, "train"), Clip("b.mp4", 1, "train", start_s=1.0))).sha256(),
        Source("root", (Clip("a.mp4", 0, "train"), Clip("b.mp4", 1, "train"))).sha256(),
        Source("root", (Clip("b.mp4", 1, "train"), Clip("a.mp4", 0, "train"))).sha256(),
    ]
    assert len({digest, *others}) >= 6  # one of the two-clip lists may be that of the folder
    assert len(set(others)) == 6
