"""The builders, tested as tensorflow-datasets tests its own, and what their examples hold."""
# ruff: noqa: RUF012, what is tested is said by class attributes there

import math
import pathlib
import shutil
import tempfile

import layouts
import media
import numpy as np
import pytest
import tensorflow_datasets as tfds

from avc_jax import datasets, errors
from avc_jax.data import files
from avc_jax.datasets import builders

pytestmark = pytest.mark.filterwarnings("ignore")


class Layout:
    """Makes the folder that a builder reads, instead of a committed one. There are no downloads, so no checksums."""

    SKIP_CHECKSUMS = True
    MAKE = None

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = pathlib.Path(tempfile.mkdtemp())
        cls.MAKE(cls.EXAMPLE_DIR)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.EXAMPLE_DIR)


class Esc50Test(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.Esc50
    MAKE = staticmethod(layouts.make_esc50)
    BUILDER_CONFIG_NAMES_TO_TEST = ["esc50"]
    SPLITS = {f"fold{fold}": 2 for fold in range(1, 6)}


class Esc10Test(Esc50Test):
    BUILDER_CONFIG_NAMES_TO_TEST = ["esc10"]
    SPLITS = {f"fold{fold}": 1 for fold in range(1, 6)}


class Dcase2013ScenesTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.Dcase2013Scenes
    MAKE = staticmethod(layouts.make_dcase2013_scenes)
    BUILDER_CONFIG_NAMES_TO_TEST = ["two_folds"]
    SPLITS = {"fold1": 100, "fold2": 100}


class Dcase2013ScenesTrainTestTest(Dcase2013ScenesTest):
    BUILDER_CONFIG_NAMES_TO_TEST = ["train_test"]
    SPLITS = {"train": 100, "test": 100}


class LabelledAudioTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.LabelledAudio
    MAKE = staticmethod(layouts.make_labelled_audio)
    SPLITS = {"fold1": 2, "fold2": 2}


class KineticsSoundsTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.KineticsSounds
    MAKE = staticmethod(layouts.make_kinetics_sounds)
    BUILDER_CONFIG_NAMES_TO_TEST = ["official"]
    SPLITS = {"train": 2, "validation": 1, "test": 2}


class FlickrSoundnetTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.FlickrSoundnet
    MAKE = staticmethod(layouts.make_flickr_soundnet)
    SPLITS = {"train": 8, "validation": 2, "test": 2}


class LabelledMediaTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.LabelledMedia
    MAKE = staticmethod(layouts.make_labelled_media)
    SPLITS = {"train": 2, "test": 1}


class Howto100mTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.Howto100m
    MAKE = staticmethod(layouts.make_howto100m)
    SPLITS = {"train": 2, "test": 1}  # by a hash of their paths


class Youcook2Test(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.Youcook2
    MAKE = staticmethod(layouts.make_youcook2)
    BUILDER_CONFIG_NAMES_TO_TEST = ["youcook2"]
    SPLITS = {"train": 2, "validation": 2}


class MsrvttTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.Msrvtt
    MAKE = staticmethod(layouts.make_msrvtt)
    BUILDER_CONFIG_NAMES_TO_TEST = ["7k"]
    SPLITS = {"train": 2, "test": 2}


class CrosstaskTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.Crosstask
    MAKE = staticmethod(layouts.make_crosstask)
    SPLITS = {"train": 2, "validation": 1}


class YoucookJapaneseTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.YoucookJapanese
    MAKE = staticmethod(layouts.make_youcook_japanese)
    SPLITS = {"train": 1, "validation": 1, "eval": 1}


class PlacesAudioTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.PlacesAudio
    MAKE = staticmethod(layouts.make_places_audio)
    BUILDER_CONFIG_NAMES_TO_TEST = ["japanese"]
    SPLITS = {"train": 2, "validation": 1}


class SpokenObjectnet50kTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.SpokenObjectnet50k
    MAKE = staticmethod(layouts.make_spoken_objectnet_50k)
    SPLITS = {"train": 1, "validation": 1, "test": 1}


class Flickr8kAudioTest(Layout, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = builders.Flickr8kAudio
    MAKE = staticmethod(layouts.make_flickr8k_audio)
    SPLITS = {"train": 2, "validation": 2, "test": 2, "other": 2}


@pytest.mark.parametrize("name", [*datasets.SOUNDS, *datasets.VIDEOS, *datasets.ITEMS])
def test_a_data_set_is_registered_under_its_name(name):
    assert tfds.builder_cls(name).__module__ == builders.__name__


def built(name, root, out, **options):
    builder = tfds.builder(name, data_dir=out, **options)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=root))
    return builder


def examples(builder, split):
    return sorted(tfds.as_numpy(builder.as_dataset(split=split)), key=lambda example: example["path"])


def test_sounds_keep_their_rate_and_their_samples_and_are_cut_as_the_csv_says(tmp_path):
    layouts.make_labelled_audio(tmp_path / "root")
    builder = built("labelled_audio", tmp_path / "root", tmp_path / "out")
    assert builder.info.features["label"].names == ["high", "low"]
    first, flac = examples(builder, "fold1")
    sine = 0.5 * np.sin(2 * np.pi * 400 * np.arange(3200) / 8000) * 32767
    assert (first["path"], first["rate_hz"], first["fold"], first["label"]) == (b"a.wav", 8000, b"1", 1)
    assert first["audio"].dtype == np.int16
    np.testing.assert_array_equal(first["audio"], np.round(sine[:800]).astype(np.int16))
    assert (flac["rate_hz"], len(flac["audio"]), flac["label"]) == (16000, 6400, 0)
    second, mp3 = examples(builder, "fold2")
    np.testing.assert_array_equal(second["audio"], np.round(sine[800:2400]).astype(np.int16))
    assert mp3["rate_hz"] == 44100 and abs(len(mp3["audio"]) / 44100 - 0.4) < 0.06  # an encoder's frames fill up


def test_channels_are_mixed_and_every_codec_is_read(tmp_path):
    for name, kind in {"s.wav": {"layout": "stereo"}, "s.flac": {}, "s.mp3": {}, "s.mkv": {}, "s.mp4": {}}.items():
        layouts.tone(tmp_path / name, seconds=0.5, rate_hz=48000, **kind)
        rate_hz, audio = builders.decode(tmp_path / name)
        assert (rate_hz, audio.ndim, audio.dtype) == (48000, 1, np.int16)
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
        assert abs(spectrum.argmax() * 48000 / len(audio) - 440) < 5, name


def test_stretch_outside_of_its_file_and_file_that_is_none_are_data_errors(tmp_path):
    path = layouts.tone(tmp_path / "a.wav")
    with pytest.raises(errors.DataError, match=r"a\.wav cannot be used: .*after the end"):
        builders.decode(path, files.Stretch(3.0, 4.0))
    with pytest.raises(errors.DataError, match="is no video or sound"):
        builders.decode(media.text_file(tmp_path / "b.wav"))


def test_real_sounds_of_esc10_are_built_and_folds_are_splits(shared, tmp_path):
    lines = (shared / "data/esc10/meta/esc10.csv").read_text().splitlines()
    layouts.write(tmp_path / "root/meta/esc50.csv", lines[0], *lines[1::20])
    (tmp_path / "root/audio").symlink_to(shared / "data/esc10/audio")
    builder = built("esc50/esc10", tmp_path / "root", tmp_path / "out")
    held_out = builder.as_dataset(split="fold1+fold2+fold3+fold4")
    assert len(held_out) + builder.info.splits["fold5"].num_examples == 20
    for example in tfds.as_numpy(held_out):
        assert example["rate_hz"] == 44100 and 3.5 < len(example["audio"]) / 44100 < 7.5
        target = int(example["path"].decode().rsplit("-", 1)[1].removesuffix(".ogg"))
        assert example["label"] == target, "the label is the number that ESC-50 gives the class"


def test_videos_are_references_with_the_stretch_of_the_file(tmp_path):
    layouts.make_kinetics_sounds(tmp_path / "root")
    builder = built("kinetics_sounds", tmp_path / "root", tmp_path / "out")
    whole, cut = examples(builder, "test")
    assert (whole["path"], whole["start_s"], whole["end_s"], whole["split"]) == (b"test/ddddddddddd.mp4", 7.0, 17.0, b"test")
    assert (cut["start_s"], cut["end_s"]) == (-math.inf, math.inf)
    assert builder.info.features["label"].int2str(cut["label"]) == "stomping"


def test_own_config_passes_options_to_the_reader(tmp_path):
    root = layouts.make_kinetics_sounds(tmp_path / "root")
    (root / "val" / "ccccccccccc_000003_000013.mp4").unlink()
    with pytest.raises(errors.MissingInputError, match="1 of 5 listed files are missing"):
        built("kinetics_sounds", root, tmp_path / "out")
    config = builders.Config(name="present", options={"missing_budget": 0.5})
    assert built("kinetics_sounds", root, tmp_path / "out", config=config).info.splits.total_num_examples == 4


def test_table_of_another_name_is_a_config(tmp_path):
    root = layouts.make_labelled_media(tmp_path / "root")
    (root / "labels.csv").rename(root / "mine.csv")
    config = builders.Config(name="mine", options={"table": "mine.csv"})
    assert dict(built("labelled_media", root, tmp_path / "out", config=config).info.splits.items()).keys() == {"train", "test"}


def test_file_that_cannot_be_decoded_stops_the_build_and_is_named(tmp_path):
    root = layouts.make_esc50(tmp_path / "root")
    media.text_file(root / "audio" / "3-1003-A-0.wav")
    with pytest.raises(errors.DataError, match=r"3-1003-A-0\.wav cannot be used"):
        built("esc50", root, tmp_path / "out")


def test_clips_of_pickles_come_with_all_of_their_tracks(tmp_path):
    builder = built("msrvtt/7k", layouts.make_msrvtt(tmp_path / "root"), tmp_path / "out")
    heard, silent = examples(builder, "test")
    assert heard["captions"].tolist() == [b"a dog runs", b"an animal"] and heard["eval_caption"] == b"a cat"
    assert (heard["2d"].shape, heard["3d"].dtype, heard["spectrogram"].shape) == ((1, 2048), np.float32, (40, 120))
    assert (heard["2d"] == 8).all() and (heard["spectrogram"] == -8).all()
    assert silent["spectrogram"].shape == (40, 0)


def test_captions_come_with_their_picture_and_their_sound(tmp_path):
    builder = built("places_audio/hindi", layouts.make_places_audio(tmp_path / "root"), tmp_path / "out")
    first, second = examples(builder, "train")
    assert first["image"].shape == (18, 24, 3) and abs(int(second["image"].mean()) - 20) <= 2
    assert (first["rate_hz"], first["audio"].dtype, first["audio"].shape) == (16000, np.int16, (4800,))
    assert first["image_path"] == b"images/a/abbey/0.jpg" and first["text"] == b"what wavs/hi_train_0.wav says"


def test_films_are_references_with_captions_and_their_times(tmp_path):
    config = builders.Config(name="films", options={"captions": "caption.json", "split_fractions": (1.0, 0.0, 0.0)})
    builder = built("howto100m", layouts.make_howto100m(tmp_path / "root"), tmp_path / "out", config=config)
    film = examples(builder, "train")[0]
    assert film["path"] == b"food/video_a/aaaaaaaaaaa"
    assert film["captions"]["text"].tolist() == [b"take salt", b"and stir"] and film["captions"]["end_s"].tolist() == [2.5, 5.0]


def test_real_photographs_and_spoken_captions_are_built(shared, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for name in ("images", "audio"):
        (root / name).symlink_to(shared / "data/image_speech_synth" / name)
    pairs = [(path.name, f"audio/{path.stem}.hi0.opus") for path in sorted((root / "images").iterdir())[:6]]
    for split in ("train", "dev", "test"):
        layouts.write_json_list(root / "PlacesHindi100k" / f"PlacesHindi100k_{split}.json", pairs)
    builder = built("places_audio/hindi", root, tmp_path / "out")
    for example in examples(builder, "train"):
        assert min(example["image"].shape[:2]) >= 80 and max(example["image"].shape[:2]) <= 320
        assert example["rate_hz"] == 48000 and 1.0 < len(example["audio"]) / 48000 < 4.2
