"""The linear probe: its pieces against counting, its pictures, and whole probes of features that are known."""

import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from evaluators import asking
from PIL import Image

from avc_jax import errors, systems
from avc_jax.data import images, sources
from avc_jax.data.sources import Clip, Source
from avc_jax.evaluators import probe

VIEW = images.View(size=32, short_side=36, area=(0.1, 0.5), aspect=(0.5, 2.0), seed=3)

# Pure -------------------------------------------------------------------------------------------------------------------


def test_top_share_counts_rows_whose_label_is_among_the_k_highest():
    rng = np.random.default_rng(0)
    logits, label = rng.normal(size=(200, 9)), rng.integers(0, 9, 200)
    for k in (1, 5, 9):
        assert probe.top_share(logits, label, k) == np.mean([label[row] in np.argsort(-logits[row])[:k] for row in range(200)])


def test_equal_logits_are_no_answer():
    assert probe.top_share(np.zeros((4, 9)), np.arange(4), 5) == 0.0
    assert probe.top_share(np.full((4, 9), np.nan), np.arange(4), 5) == 0.0


def test_commonest_classes_are_what_guessing_gives():
    assert probe.commonest_share(np.repeat(np.arange(10), 7), 5) == 0.5
    assert probe.commonest_share(np.array([3, 3, 3, 1, 7]), 1) == 0.6
    assert probe.commonest_share(np.array([3, 3, 3, 1, 7]), 5) == 1.0


def test_colours_change_and_half_of_the_frames_are_mirrored():
    frame = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3)).astype(np.uint8)
    same = np.asarray(probe.recolour(jax.random.key(0), frame, 0.0, (1.0, 1.0)))
    assert same.dtype == np.uint8
    kept, mirrored = ((same == other).all((1, 2, 3)) for other in (frame, frame[:, :, ::-1]))
    assert (kept | mirrored).all()
    assert 16 < kept.sum() < 48
    other = np.asarray(probe.recolour(jax.random.key(0), frame, 0.1, (0.5, 1.5))).astype(int)
    assert 0 < np.abs(other - same).mean() < 60


# Crops ------------------------------------------------------------------------------------------------------------------


def where(height: int, width: int) -> np.ndarray:
    """A picture whose red says the column and whose green says the row, as shares of 255."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([255 * columns / (width - 1), 255 * rows / (height - 1), 0 * rows], -1).round().astype(np.uint8)


def extent(crop: np.ndarray) -> tuple[float, float]:
    """(height, width) of a crop of `where`, as shares of the picture."""
    red, green = crop[..., 0].astype(float), crop[..., 1].astype(float)
    scale = len(crop) / (len(crop) - 1) / 255  # between the centres of the outermost pixels
    return (green[-1] - green[0]).mean() * scale, (red[:, -1] - red[:, 0]).mean() * scale


def random_crops(number: int, picture: np.ndarray, view=VIEW) -> np.ndarray:
    batches = ({"frame": picture[None].repeat(8, 0), "label": np.arange(8)} for _ in range(number))
    return np.concatenate([batch["frame"] for batch in images.random_crops(batches, view)])


def test_random_crops_keep_to_their_area_and_aspect():
    crops = random_crops(12, where(90, 120))
    assert (crops.shape, crops.dtype) == ((96, 32, 32, 3), np.uint8)
    height, width = np.array([extent(crop) for crop in crops]).T
    area, aspect = height * width, (width * 120) / (height * 90)
    assert 0.09 < area.min() < 0.16 and 0.38 < area.max() < 0.53
    assert 0.45 < aspect.min() < 0.75 and 1.4 < aspect.max() < 2.2
    corners = crops[:, 0, 0, :2] / 255
    assert corners.min(0).max() < 0.1 and corners.max(0).min() > 0.3


def test_random_crops_are_a_function_of_seed_and_number():
    first, again = random_crops(2, where(60, 60)), random_crops(2, where(60, 60))
    np.testing.assert_array_equal(first, again)
    assert len({crop.tobytes() for crop in first}) == 16
    other = random_crops(2, where(60, 60), images.View(32, 36, VIEW.area, VIEW.aspect, seed=4))
    assert (first != other).any()


def test_other_fields_of_a_batch_stay():
    made = next(images.random_crops(iter([{"frame": where(40, 40)[None], "label": np.array([7])}]), VIEW))
    assert list(made["label"]) == [7]


@pytest.mark.parametrize("shape", [(72, 144), (144, 72), (20, 20)])
def test_centre_is_cut_from_the_scaled_picture(shape):
    crop = np.asarray(VIEW.centre(where(*shape)))
    assert crop.shape == (32, 32, 3)
    wanted = 32 / 36 * min(shape) / (np.array(shape) - 1)  # the colours span the pixels' centres
    np.testing.assert_allclose(extent(crop), wanted, atol=0.01)
    np.testing.assert_allclose(crop[..., :2].mean((0, 1)), 127.5, atol=2)


# Sets of pictures -------------------------------------------------------------------------------------------------------

COLOURS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An image folder of three colours: 8 training and 3 test pictures each, of several sizes and formats."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                size = (40 + 3 * number, 50, 3)
                picture = np.clip(np.array(colour) + rng.normal(0, 20, size), 0, 255).astype(np.uint8)
                Image.fromarray(picture).save(root / split / name / f"{number}.{'png' if number % 2 else 'jpg'}")
    return root


def test_image_folder_gives_every_picture_once_with_its_class(folder):
    found = images.Pictures("image_folder", str(folder))
    assert (found.num_classes, found.num_train) == (3, 24)
    batches = list(found.centres("test", VIEW, 4))
    assert [len(batch["label"]) for batch in batches] == [4, 4, 1]
    labels = np.concatenate([batch["label"] for batch in batches])
    frames = np.concatenate([batch["frame"] for batch in batches])
    assert sorted(labels) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert labels.dtype == np.int32
    for frame, label in zip(frames, labels, strict=True):  # blue, green, red: their channels in the opposite order
        assert frame.mean((0, 1)).argmax() == 2 - label


def test_random_pictures_of_an_image_folder_go_on_for_ever_and_reach_every_one(folder):
    found = images.Pictures("image_folder", str(folder))
    batches = list(itertools.islice(found.random(VIEW, 6), 8))
    for epoch in (batches[:4], batches[4:]):
        assert sorted(np.concatenate([batch["label"] for batch in epoch])) == [0] * 8 + [1] * 8 + [2] * 8
    assert len({frame.tobytes() for batch in batches for frame in batch["frame"]}) == 48
    again = list(itertools.islice(found.random(VIEW, 6), 2))
    for one, other in zip(batches, again, strict=False):
        np.testing.assert_array_equal(one["frame"], other["frame"])


def test_hosts_share_the_pictures_of_an_image_folder(folder):
    found = images.Pictures("image_folder", str(folder))
    shares = [list(itertools.islice(found.random(VIEW, 4, host=host, hosts=2), 3)) for host in (0, 1)]
    frames = {frame.tobytes() for share in shares for batch in share for frame in batch["frame"]}
    assert len(frames) == 24
    labels = np.concatenate([batch["label"] for share in shares for batch in share])
    assert sorted(labels) == [0] * 8 + [1] * 8 + [2] * 8


def test_any_builder_of_tensorflow_datasets_that_is_prepared_is_read(tmp_path):
    import tensorflow_datasets as tfds

    class TinyPictures(tfds.core.GeneratorBasedBuilder):
        __module__ = "__main__"  # of no package, in which TensorFlow Datasets would look for files about it
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, supervised_keys=("image", "label"),
                features=tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(None, None, 3)),
                                                     "label": tfds.features.ClassLabel(num_classes=4)}))

        def _split_generators(self, manager):
            return {"train": self._generate_examples(8), "validation": self._generate_examples(4)}

        def _generate_examples(self, count):
            for number in range(count):
                yield number, {"image": np.full((50, 40, 3), 60 * (number % 4), np.uint8), "label": number % 4}

    with pytest.raises(errors.MissingInputError, match=r"tfds build tiny_pictures --data_dir=.*--manual_dir="):
        images.Pictures("tiny_pictures", str(tmp_path))
    TinyPictures(data_dir=tmp_path).download_and_prepare()
    found = images.Pictures("tiny_pictures", str(tmp_path))
    assert (found.num_classes, found.num_train) == (4, 8)
    (batch,) = found.centres("test", VIEW, 8)
    np.testing.assert_array_equal(batch["frame"].mean((1, 2, 3)), 60 * batch["label"])


@pytest.mark.parametrize(("dataset", "root", "part"), [
    ("image_folder", "", "expected the folder of image_folder, found none"),
    ("image_folder", "nowhere", "nowhere: expected the folder"),
    ("image_folder", "empty", "found splits none; expected pictures in train and one of validation, val, test"),
    ("imagenet2012", "empty", "tfds build imagenet2012 .* ILSVRC2012"),
    ("no_such_pictures", "empty", "knows no such builder"),
])
def test_pictures_that_are_not_there_are_told_with_what_to_do(tmp_path, dataset, root, part):
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.MissingInputError, match=part):
        images.Pictures(dataset, str(tmp_path / root) if root else "")


def test_picture_that_cannot_be_decoded_is_told(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "0.png").write_bytes(b"no picture at all")
    with pytest.raises(errors.DataError, match=r"image_folder cannot be decoded"):
        list(images.Pictures("image_folder", str(tmp_path)).centres("test", VIEW, 4))


# The evaluator ----------------------------------------------------------------------------------------------------------


def source_of(labels, split) -> Source:
    return Source(Path("."), tuple(Clip(f"{split}/{number}.mp4", number, split, label) for number, label in enumerate(labels)))


def features_of(name, clip):
    """Trained: Gaussians around a corner per class. Untrained: noise."""
    rng = np.random.default_rng([clip.file, clip.split == "train", name == "trained"])
    centre = 4 * np.eye(7)["abcdefg".index(clip.label)] if clip.label and name == "trained" else 0
    return {"video": rng.normal(size=7) + centre, "audio": np.zeros(3)}


def evaluator(tmp_path, train, heldout, **changes):
    config = tiny.config(**{"probe__augment": False, "probe__steps": 300, "probe__batch_size": 64, "probe__lr": 0.02} | changes)
    setting = asking.setting(tmp_path, source_of(heldout, "test"), train=source_of(train, "train"), config=config,
                             asked=systems.make(config), devices=None)
    return probe.make(setting, asking.Features(features_of))


def test_probe_tells_features_of_classes_from_noise(tmp_path):
    asked = evaluator(tmp_path, list("abcdefg") * 60 + [""] * 5, list("abcdefg") * 20 + [""] * 5)
    assert asked.missing() is None
    trained, untrained = asked(asking.network(name="trained")), asked(asking.network(name="untrained"))
    assert (trained["classes"], trained["train"], trained["test"]) == (7, 420, 140)
    assert trained["top1"] > 0.95
    assert trained["chance1"] == pytest.approx(1 / 7) and trained["chance5"] == pytest.approx(5 / 7)
    assert trained["loss"] < 0.6 < np.log(7) - 0.3 < untrained["loss"]
    assert abs(untrained["top1"] - 1 / 7) < 4 * np.sqrt(6 / 49 / 140)
    assert trained["top1"] <= trained["top5"] <= 1
    one, five = asked.rows(trained, untrained)
    assert (one.trained, one.untrained, one.chance) == (trained["top1"], untrained["top1"], trained["chance1"])
    assert "top-5" in five.name and five.trained == trained["top5"]


def test_probe_of_separable_features_reaches_the_loss_of_label_smoothing(tmp_path):
    trained = evaluator(tmp_path, list("ab") * 64, list("ab") * 8, probe__steps=500)(asking.network())
    # With K = 2 and smoothing 0.1 the best is the entropy of (0.95, 0.05); the Gaussians overlap a little.
    best = -(0.95 * np.log(0.95) + 0.05 * np.log(0.05))
    assert best < trained["train_loss"] < best + 0.1
    assert [row.name for row in evaluator(tmp_path, list("ab") * 64, list("ab") * 8).rows(trained, None)] == [
        "Linear probe of frames: top-1 accuracy"]


def test_probe_repeats_itself_and_leaves_the_last_batch_to_be_of_any_size(tmp_path):
    made = [evaluator(tmp_path, list("abc") * 7, list("abc"), probe__steps=20)(asking.network()) for _ in range(2)]
    assert made[0] == made[1]


def test_clips_without_classes_are_not_probed(tmp_path):
    assert "0 classes and the held-out ones with 0" in evaluator(tmp_path, ["", ""], [""]).missing()
    assert "2 classes and the held-out ones with 0" in evaluator(tmp_path, ["a", "b"], [""]).missing()
    assert "1 classes" in evaluator(tmp_path, ["a", "a"], ["a"]).missing()


def test_batch_that_does_not_fit_the_devices_is_refused(tmp_path):
    with pytest.raises(errors.ConfigError, match=r"config\.probe\.batch_size: found 12"):
        evaluator(tmp_path, ["a", "b"], ["a"], probe__batch_size=12)


def test_probe_of_a_set_of_pictures_sees_their_colours(folder, tmp_path):
    """The features are the network's own, of pictures that are cut and coloured anew at every step."""
    config = tiny.config(probe__dataset="image_folder", probe__root=str(folder), probe__steps=60, probe__batch_size=8,
                         probe__lr=0.01)
    system = systems.make(config)
    setting = asking.setting(tmp_path, source_of([], "test"), config=config, asked=system, devices=None)
    asked = probe.make(setting, None)
    assert asked.missing() is None
    network = asking.network(variables=jax.device_put(tiny.variables(system)))
    found = asked(network)
    assert (found["classes"], found["train"], found["test"]) == (3, 24, 9)
    assert found["top1"] > 0.8
    # Lent, not donated: the network is still there.
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(network.variables))


def test_probe_of_clips_sees_new_crops_at_every_step(tmp_path):
    for number in range(6):
        tiny.write_video(tmp_path / f"{number}.mp4", 3 * (number % 2))
    (tmp_path / "manifest.csv").write_text("path,split,label\n" + "".join(
        f"{number}.mp4,{'train' if number < 4 else 'test'},{'dark' if number % 2 == 0 else 'light'}\n" for number in range(6)))
    config = tiny.config(probe__steps=40, probe__batch_size=8, probe__lr=0.01)
    system, whole = systems.make(config), sources.open_folder(str(tmp_path), "manifest.csv", (0.8, 0.1, 0.1))
    setting = asking.setting(tmp_path, whole.select("test"), train=whole.select("train"), config=config, asked=system,
                             devices=None)
    variables = jax.device_put(tiny.variables(system))

    def transfer(name, clip):
        level = 40 if clip.label == "dark" else 130
        frame = np.full((1, 32, 32, 3), level, np.uint8)
        return {"video": np.asarray(system.transfer(variables, {"frame": frame})["video"][0])}

    features = asking.Features(transfer)
    found = probe.make(setting, features)(asking.network(variables=variables))
    assert (found["top1"], found["train"], found["test"]) == (1.0, 4, 2)
    assert features.asked == [("trained", 2, "transfer")]  # the training clips are cropped, not asked for
