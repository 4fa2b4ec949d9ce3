"""Pictures of what was learned: the right units, the right neighbours, and heat where the thing is."""

import dataclasses

import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest
import tiny
from evaluators import asking

from avc_jax import systems
from avc_jax.data import sources
from avc_jax.evaluators import heat, pictures, units
from avc_jax.evaluators.base import Network
from avc_jax.evaluators.features import Features
from avc_jax.nn.vgg import VGGTrunk
from avc_jax.systems import l3net
from avc_jax.systems.base import System

# Places of cells --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cells", "step", "size"), [(28, 8, 224), (24, 8, 199), (3, 16, 62), (16, 16, 257)])
def test_heat_of_one_cell_is_strongest_where_that_cell_looks(cells, step, size):
    for lit in range(cells):
        maps = np.zeros((1, cells, 1))
        maps[0, lit] = 1
        placed = heat.place(maps, (size, 1), (step, 1))[0, :, 0]
        assert placed[round((lit + 0.5) * step) - 1 : round((lit + 0.5) * step) + 1].max() == placed.max()
        # Half of the maximum is reached half way to the neighbours; the outermost cells stay what they are to the edge.
        above = np.flatnonzero(placed >= 0.5)
        assert above[0] == (0 if lit == 0 else lit * step)
        assert above[-1] == (size - 1 if lit == cells - 1 else (lit + 1) * step - 1)


def test_a_map_without_known_cells_covers_its_input():
    placed = heat.place(np.arange(12.0).reshape(1, 3, 4), (6, 8))
    np.testing.assert_allclose(placed[0, 1::2, 1::2] + placed[0, ::2, ::2], 2 * np.arange(12.0).reshape(3, 4), atol=3)
    assert placed[0, 0, 0] == 0 and placed[0, -1, -1] == 11


def test_rows_and_columns_are_not_confused():
    maps = np.zeros((2, 4, 6))
    maps[0, 0, 5] = maps[1, 3, 0] = 1
    placed = heat.place(maps, (40, 60), (10, 10))
    assert np.unravel_index(placed[0].argmax(), (40, 60)) == (0, 55)
    assert np.unravel_index(placed[1].argmax(), (40, 60)) == (35, 0)


# Units and neighbours -----------------------------------------------------------------------------------------------------------


def planted() -> tuple[np.ndarray, np.ndarray]:
    """Activations of 6 units in 30 clips of 3 classes: unit 4 is for b, unit 1 for a (4 of 5), unit 2 for b too, 5 is dead."""
    labels = np.repeat(["a", "b", "c"], 10)
    peaks = np.random.default_rng(0).random((30, 6)).astype(np.float32)
    peaks[10:20, 4] += 9
    peaks[[0, 1, 2, 3, 25], 1] += [8, 7, 6, 5, 4]
    peaks[10:15, 2] += 3
    peaks[:, 5] = 1
    return peaks, labels


def test_the_purest_unit_of_each_class_comes_first():
    peaks, labels = planted()
    found = units.best(peaks, labels, 2, seed=0)
    assert found.label.tolist() == ["b", "a"]
    assert found.unit[1] == 1 and found.agree.tolist() == [5, 4]
    assert found.unit[0] == max((4, 2), key=lambda unit: (np.sort(peaks[:, unit])[-5:].mean() - peaks[:, unit].mean())
                                / peaks[:, unit].std())
    np.testing.assert_array_equal(found.clips[1], [0, 1, 2, 3, 25])


def test_a_dead_unit_is_never_shown():
    peaks, labels = planted()
    for given in (labels, np.full(30, "")):
        assert 5 not in units.best(peaks, given, 6, seed=0).unit


def test_without_labels_the_most_selective_units_come_first():
    peaks, _ = planted()
    found = units.best(peaks, np.full(30, ""), 6, seed=0)
    assert (np.diff(found.selectivity) <= 0).all() and len(found.unit) == 5
    assert set(found.label) == {""} and not found.agree.any()
    # A unit that fires for one clip of six stands out more than one that fires for a third of them.
    assert found.unit.tolist().index(1) < found.unit.tolist().index(4)


def test_unlabelled_clips_are_no_class():
    peaks, labels = planted()
    labels[10:20] = ""
    assert "" not in units.best(peaks, labels, 6, seed=0).label


def test_neighbours_are_counted_by_angle_and_not_within_a_file():
    values = np.array([[1, 0], [5, 0.1], [0, 1], [0.1, 3], [1, 0.05]], np.float32)
    labels = np.array(["a", "a", "b", "b", "b"])
    share, chance = units.neighbours(values, labels, np.arange(5))
    # Rows 0 and 1 are each other's or row 4's: at angles 0, 1.1, 2.9 degrees, 0 and 1 are nearest to each other.
    assert share == pytest.approx(4 / 5)
    assert chance == pytest.approx((1 + 1 + 2 + 2 + 2) / 4 / 5)
    share, _ = units.neighbours(values, labels, np.array([0, 0, 1, 2, 3]))
    assert share == pytest.approx(2 / 5)  # 0 and 1 are of one file, so their nearest is row 4 of the other class


def test_neighbours_of_noise_are_those_of_chance():
    rng = np.random.default_rng(0)
    share, chance = units.neighbours(rng.normal(size=(800, 16)).astype(np.float32), rng.integers(4, size=800).astype(str),
                                     np.arange(800))
    assert chance == pytest.approx(0.25, abs=0.01) and share == pytest.approx(0.25, abs=0.05)


def test_partners_are_of_another_class_and_shared_fairly():
    labels = np.repeat(["a", "b", "c", "d"], 25)
    partner = units.partners(labels, np.arange(100), seed=0)
    assert (labels[partner] != labels).all()
    assert np.bincount(partner, minlength=100).max() <= 6
    files = np.repeat([0, 1], 5)
    assert (files[units.partners(np.full(10, ""), files, seed=0)] != files).all()
    np.testing.assert_array_equal(units.partners(np.full(3, ""), np.zeros(3), seed=0), np.arange(3))


def test_cosines_are_of_cells_with_their_own_sound():
    rng = np.random.default_rng(0)
    cells, sounds = rng.normal(size=(3, 2, 4, 5)), rng.normal(size=(3, 5))
    found = pictures.cosines(cells, sounds)
    wanted = cells[2, 1, 3] @ sounds[2] / np.linalg.norm(cells[2, 1, 3]) / np.linalg.norm(sounds[2])
    assert found.shape == (3, 2, 4) and found[2, 1, 3] == pytest.approx(wanted)
    assert pictures.cosines(np.zeros((1, 1, 1, 2)), np.zeros((1, 2))) == 0


# A network that looks for brightness --------------------------------------------------------------------------------------------


CORNERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}
SIDE, OBJECT, RATE = 64, 24, 8000
# Clips last 2 s; the network is shown the frame at 1.0 s and the sound from 0.5 to 1.5 s.
TONES = {"top left": (0.6, 1000), "top right": (0.8, 2500), "bottom left": (1.0, 1000), "bottom right": (1.15, 2500)}
TONE_S = 0.2
SEEING = dict(system__conv1_stride=1, data__frame_size=SIDE, data__frame_short_side=SIDE, data__window_s=1.0,
              evaluate__batch_size=8, pictures__units=1)


@pytest.fixture(scope="module")
def corners(tmp_path_factory):
    """Eight clips, two of each class: a white square in one corner, with a tone of 0.2 s at one time and pitch."""
    folder = tmp_path_factory.mktemp("corners")
    rows = ["path,label,split"]
    for number, (label, (down, right)) in enumerate([*CORNERS.items()] * 2):
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        image[down * (SIDE - OBJECT) :, right * (SIDE - OBJECT) :][:OBJECT, :OBJECT] = 255 - 8 * number  # units tell clips apart
        start_s, hz = TONES[label]
        times = np.arange(2 * RATE * 2) / (2 * RATE)
        tone = (0.5 - 0.02 * number) * np.sin(2 * np.pi * hz * times) * ((times >= start_s) & (times < start_s + TONE_S))
        media.write(folder / f"{number}.mp4", pictures=(image for _ in range(50)), times_s=[k / 25 for k in range(50)],
                    size=(SIDE, SIDE), sound=tone, rate_hz=2 * RATE)
        rows.append(f"{number}.mp4,{label},test")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return sources.open_folder(str(folder), "manifest.csv", (1.0, 0.0, 0.0))


def seeing(config):
    """(system, variables) of an L3-Net that answers to what is strong in its input, and to nothing else.

    Every convolution hands on the mean of its channels at its place, and the normalisation passes it: each cell of every unit is
    the largest value above zero among the inputs that it covers, which is what is white in a frame, and loud in a spectrogram.
    """
    system = systems.make(config)
    variables = tiny.variables(system)
    same = {"scale": np.ones_like, "bias": np.zeros_like, "mean": np.zeros_like, "var": np.ones_like}

    def fill(path, leaf):
        if path[-1].key != "kernel" or leaf.ndim != 4:
            return same.get(path[-1].key, np.zeros_like)(leaf)
        kernel = np.zeros_like(leaf)
        kernel[1, 1] = 1 / leaf.shape[2]
        return kernel

    return system, {collection: jax.tree_util.tree_map_with_path(fill, tree) for collection, tree in variables.items()}


@pytest.fixture(scope="module")
def looked(corners, tmp_path_factory):
    """(folder, answer) of the evaluator about the network that sees."""
    config = tiny.config(**SEEING)
    system, variables = seeing(config)
    setting = asking.setting(tmp_path_factory.mktemp("looked"), corners, asked=system, **SEEING)
    evaluator = pictures.make(setting, Features(setting))
    assert evaluator.missing() is None
    return setting.folder / "pictures", evaluator(Network("trained", variables, "0" * 64, 1)), evaluator


def read(folder, name):
    with np.load(folder / f"{name}.npz") as stored:
        return dict(stored)


def test_heat_over_frames_lies_on_the_object_in_its_corner(looked):
    sheet = read(looked[0], "units_video")
    assert sheet["heat"].shape == (1, 5, SIDE, SIDE)
    for label, found, frame in zip(sheet["label"][0], sheet["heat"][0].astype(float), sheet["frame"][0], strict=True):
        down, right = CORNERS[label]
        lit = found >= found.max() / 2
        at = (np.argwhere(lit) + 0.5).mean(axis=0) / SIDE
        assert (at > 0.5).tolist() == [bool(down), bool(right)]
        inside = frame.mean(axis=2) > 128
        assert inside.sum() == pytest.approx(OBJECT**2, rel=0.05)
        assert (lit & inside).sum() > 0.95 * (lit | inside).sum()


def test_heat_over_spectrograms_lies_on_the_tone_in_time_and_pitch(looked):
    sheet = read(looked[0], "units_audio")
    rows, columns = sheet["spectrogram"].shape[2:]
    assert sheet["heat"].shape == (1, 5, rows, columns) and (rows, columns) == (65, 199)
    for label, found, hz in zip(sheet["label"][0], sheet["heat"][0].astype(float), np.tile(sheet["hz"], (5, 1)), strict=True):
        start_s, pitch = TONES[label]
        lit = found >= found.max() / 2
        frames, bins = np.flatnonzero(lit.any(axis=0)), np.flatnonzero(lit.any(axis=1))
        # To a cell of 8 frames of 5 ms; the sound begins half a second into the clip.
        first, last = (round((at - 0.5) * 200) for at in (start_s, start_s + TONE_S))
        assert frames[0] == pytest.approx(first, abs=8) and frames[-1] == pytest.approx(last, abs=8)
        # To a cell of 8 rows of 62.5 Hz; the main lobe of a Hann window of 10 ms is 200 Hz wide to either side.
        assert pitch - 200 - 500 <= hz[bins[0]] < pitch < hz[bins[-1]] <= pitch + 200 + 500


def test_sheets_hold_what_was_shown_and_where_it_is_from(looked):
    video, audio = read(looked[0], "units_video"), read(looked[0], "units_audio")
    assert sorted(map(len, (video["clip"][0], video["label"][0], audio["waveform"][0]))) == [5] * 3
    assert (np.diff(video["activation"]) <= 0).all() and (video["activation"] > 0).all()
    np.testing.assert_allclose(video["frame_s"], 1.0, atol=0.041)
    np.testing.assert_allclose(audio["sound_s"], 0.5, atol=0.041)
    for waveform, label in zip(audio["waveform"][0], audio["label"][0], strict=True):
        spectrum = np.abs(np.fft.rfft(waveform))
        assert spectrum.argmax() == pytest.approx(TONES[label][1], abs=3)
    assert (int(audio["rate_hz"]), float(audio["window_s"])) == (RATE, 1.0)


def test_answer_and_rows_say_how_good_units_and_neighbours_are(looked):
    folder, answer, evaluator = looked
    assert answer["clips"] == 8 and answer["neighbours_chance"] == pytest.approx(1 / 7)
    assert "localised" not in answer  # the l3 head has no space for places
    rows = evaluator.rows(answer, answer | {"neighbours": {"video": 0.25}})
    assert [row.untrained for row in rows[:2]] == [0.25, None]
    assert all(0 <= row.trained <= 1 for row in rows)
    space = read(folder, "space_trained")
    assert space["video"].shape == space["audio"].shape == (8, 2) and np.isfinite(space["video"]).all()
    assert sorted(space["label"]) == sorted([*CORNERS] * 2)


def test_the_untrained_network_leaves_no_sheets_and_the_choice_of_clips_is_capped(corners, tmp_path):
    setting = asking.setting(tmp_path, corners, pictures__clips=6)
    answer = pictures.make(setting, Features(setting))(asking.network(name="untrained"))
    assert answer["clips"] == 6
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["space_untrained.npz"]


def test_without_labels_units_stand_out_and_nobody_counts_neighbours(corners, tmp_path):
    blank = dataclasses.replace(corners, clips=tuple(dataclasses.replace(clip, label="") for clip in corners.clips))
    setting = asking.setting(tmp_path, blank)
    evaluator = pictures.make(setting, Features(setting))
    answer = evaluator(asking.network())
    assert answer["units"]["video"]["agreement"] is None and "neighbours" not in answer
    assert [row.form for row in evaluator.rows(answer, None)] == ["number"] * len(evaluator.rows(answer, None))


def test_a_network_that_is_dead_has_no_units_to_show(corners, tmp_path):
    setting = asking.setting(tmp_path, corners, pictures__units=2)
    evaluator = pictures.make(setting, Features(setting))
    evaluator(asking.network())
    assert (tmp_path / "pictures/units_video.npz").exists()
    maps = asking.system().maps
    blind = dataclasses.replace(asking.system(), maps=lambda *args: {name: 0 * value for name, value in maps(*args).items()})
    setting = asking.setting(tmp_path, corners, asked=blind)
    evaluator = pictures.make(setting, Features(setting))
    answer = evaluator(asking.network())
    assert answer["units"]["video"] == {"shown": 0, "of": 3, "selectivity": None, "agreement": None}
    assert not (tmp_path / "pictures/units_video.npz").exists()
    assert all("units" not in row.name for row in evaluator.rows(answer, answer))


def test_too_few_clips_are_told_in_words(corners, tmp_path):
    few = dataclasses.replace(corners, clips=corners.clips[:5])
    setting = asking.setting(tmp_path, few)
    assert "found 5 held-out clips, expected more than 5" in pictures.make(setting, Features(setting)).missing()


# Places of sounds ---------------------------------------------------------------------------------------------------------------


def matching() -> System:
    """A system whose space has an axis for each corner and its tone: each cell of a frame is as strong as it is white."""
    labels = list(TONES)

    def embed(variables, batch):
        found = {}
        if "waveform" in batch:
            parts = batch["waveform"].astype(jnp.float32).reshape(len(batch["waveform"]), 20, -1)
            when = jnp.abs(parts).mean(2)  # 50 ms each
            starts = [round((TONES[label][0] - 0.5) * 20) for label in labels]
            found["audio"] = jnp.stack([when[:, start : start + 3].mean(1) for start in starts], 1)
        if "frame" in batch:
            found["video"] = places(variables, batch).max(axis=(1, 2))
        return found

    def places(variables, batch):
        grey = batch["frame"].astype(jnp.float32).mean(3).reshape(-1, 8, 8, 8, 8).mean((2, 4))
        axis = np.zeros((8, 8, 4), np.float32)
        for number, label in enumerate(labels):
            down, right = CORNERS[label]
            axis[4 * down : 4 * down + 4, 4 * right : 4 * right + 4, number] = 1
        return grey[..., None] * axis

    made = asking.system(RATE)
    features = made.features | {"frame": dataclasses.replace(made.features["frame"], shape=(SIDE, SIDE, 3))}
    return dataclasses.replace(made, features=features, embed=embed, places=places, cells={"video": (8, 8)})


def test_the_place_of_a_sound_is_its_corner(corners, tmp_path):
    setting = asking.setting(tmp_path, corners, asked=matching(), **SEEING, pictures__localised=8)
    evaluator = pictures.make(setting, Features(setting))
    answer = evaluator(asking.network())
    assert answer["localised"] == 1.0
    assert evaluator.rows(answer, None)[-1].chance == 0.5
    found = read(tmp_path / "pictures", "localisation_trained")
    assert found["heat"].shape == (8, SIDE, SIDE)
    for label, placed, own, other in zip(found["label"], found["heat"], found["own"], found["other"], strict=True):
        at = np.array(np.unravel_index(placed.argmax(), placed.shape)) >= SIDE / 2
        assert at.tolist() == [bool(side) for side in CORNERS[label]]
        assert own > 0.9 and other < own


def test_places_of_a_network_with_one_cell_are_its_embedding():
    config = tiny.config(system__head="ave", system__conv1_stride=1, data__frame_size=8, data__frame_short_side=8)
    system = systems.make(config)
    variables, batch = tiny.variables(system), tiny.batch(system, 2)
    found = system.places(variables, batch)
    assert found.shape == (2, 1, 1, 128)
    np.testing.assert_allclose(found[:, 0, 0], system.embed(variables, batch)["video"], rtol=1e-5, atol=1e-6)
    assert systems.make(tiny.config()).places is None


@pytest.mark.parametrize("stride", [1, 2])
def test_cells_are_where_the_network_looks(stride):
    """The middle of what changes a cell's value is the middle of the cell, for frames and for spectrograms."""
    config = tiny.config(system__conv1_stride=stride, data__frame_size=SIDE, data__frame_short_side=SIDE)
    system, variables = seeing(config)
    trunk = VGGTrunk(**l3net.network(config).trunk)
    collections = {name: tree["vision"] for name, tree in variables.items()}
    step, cell = system.cells["video"][0], 2
    x = jnp.asarray(np.random.default_rng(0).random((64, SIDE, SIDE, 3)), jnp.float32)
    moved = jax.grad(lambda x: trunk.apply(collections, x, False)[:, cell, cell].sum())(x)
    weight = np.asarray(moved, float).sum((0, 2, 3))
    middle = (weight * (np.arange(SIDE) + 0.5)).sum() / weight.sum()
    # Max-pools choose one of a cell's values at random, 64 times over; a stride of 2 hands on every other value.
    assert middle == pytest.approx((cell + 0.5) * step, abs=4 * step / np.sqrt(12 * 64) + 0.5)
    assert np.flatnonzero(weight)[[0, -1]] == pytest.approx([cell * step, (cell + 1) * step - 1], abs=stride)
