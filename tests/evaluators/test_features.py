"""Features: of the right moments, the same however they are computed, and computed once."""

import dataclasses
import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest
import tiny
from data import test_records as records
from evaluators import asking

from avc_jax import errors, systems
from avc_jax.data import sources
from avc_jax.data import visit as visits
from avc_jax.data.decode import MediaFile
from avc_jax.data.records import source as record_source
from avc_jax.evaluators import features
from avc_jax.evaluators.features import Features
from avc_jax.evaluators.labelled_sounds import ClipSound, LabelledSound
from avc_jax.systems.base import Feature


@pytest.fixture(scope="module")
def source(videos):
    return sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))


@pytest.fixture
def reads(monkeypatch):
    """The clips that are read, in the order in which they are."""
    found = []
    whole = visits.Reader.whole

    def counted(self, indices):
        found.append(indices)
        return whole(self, indices)

    monkeypatch.setattr(visits.Reader, "whole", counted)
    return found


def grey(number: int) -> float:
    return 40 + 30 * number


def tone_hz(number: int) -> float:
    return 300 + 250 * number


def with_bad(videos, folder, good: int) -> sources.Source:
    """`good` videos, and a text file among them, as clip 1."""
    for place, number in enumerate(range(good)):
        (folder / f"{place + (place > 0)}.mp4").symlink_to(videos / f"{number:02d}.mp4")
    media.text_file(folder / "1.mp4")
    return sources.open_folder(str(folder), "", (1.0, 0.0, 0.0))


# Clips ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "devices"), [(1, 1), (4, 1), (64, 1), (8, 4), (8, 8)])
def test_row_of_every_clip_is_of_its_own_frame_and_sound(source, tmp_path, batch_size, devices):
    asked = Features(asking.setting(tmp_path, source, devices=devices, evaluate__batch_size=batch_size))
    table = asked.clips(asking.network(2.0), source, "embed")
    np.testing.assert_array_equal(table.clip, np.arange(6))
    np.testing.assert_allclose(table.values["video"], [[2 * grey(number)] for number in range(6)], atol=6)
    np.testing.assert_allclose(table.values["audio"], [[2 * tone_hz(number)] * 2 for number in range(6)], atol=8)
    assert table.values["video"].dtype == np.float32


def test_features_are_those_that_the_system_gives_for_the_middle_of_a_clip(source, tmp_path):
    system = systems.make(tiny.config())
    variables = tiny.variables(system)
    network = dataclasses.replace(asking.network(), variables=variables)
    setting = asking.setting(tmp_path, source, asked=system, evaluate__batch_size=6)
    table = Features(setting).clips(network, source, "transfer")
    with MediaFile(source.root / "03.mp4") as file:
        middle_s = (file.span.start_s + file.span.end_s) / 2
        frame = file.crops([middle_s], np.full((1, 2), 0.5), 32, 32)
        waveform = file.sounds([middle_s - 0.25], 0.5, 8000)
    wanted = jax.jit(system.transfer)(variables, {"frame": frame, "waveform": waveform})
    assert set(table.values) == {"video", "audio"}
    for modality, value in wanted.items():
        assert table.values[modality].shape == (6, value.shape[1])
        np.testing.assert_allclose(table.values[modality][3], value[0], rtol=1e-4, atol=1e-4)


def test_bad_clips_are_left_out_and_go_to_the_ledger(videos, tmp_path):
    source = with_bad(videos, tmp_path, 4)
    setting = asking.setting(tmp_path / "run", source)
    table = Features(setting).clips(asking.network(), source, "embed")
    np.testing.assert_array_equal(table.clip, [0, 2, 3, 4])
    assert len(table.values["audio"]) == 4
    assert set(setting.quarantine.reasons) == {"1.mp4"}


def test_too_many_bad_clips_end_with_an_error(videos, tmp_path):
    source = with_bad(videos, tmp_path, 1)
    with pytest.raises(errors.DataError, match=r"1 of 2 files unusable"):
        Features(asking.setting(tmp_path / "run", source, budget=0.0)).clips(asking.network(), source, "embed")


def test_no_clip_at_all_gives_an_empty_table_of_the_right_width(source, tmp_path):
    empty = dataclasses.replace(source, clips=())
    table = Features(asking.setting(tmp_path, source)).clips(asking.network(), empty, "transfer")
    assert len(table.clip) == 0 and table.values["audio"].shape == (0, 6)


def test_clips_of_a_single_file_can_be_asked_about(source, tmp_path):
    one = dataclasses.replace(source, clips=source.clips[:1])
    assert Features(asking.setting(tmp_path, one)).clips(asking.network(), one, "embed").clip.tolist() == [0]


def test_records_give_what_their_videos_give(videos, tmp_path):
    folder = records.make_records(videos, tmp_path / "records")
    source = record_source.open_records(records.config_of(tmp_path / "records"))
    assert source.stored_side
    tables = [Features(asking.setting(tmp_path / name, clips)).clips(asking.network(), clips, "embed")
              for name, clips in (("one", folder), ("other", source))]
    np.testing.assert_array_equal(tables[0].clip, tables[1].clip)
    np.testing.assert_array_equal(tables[0].values["audio"], tables[1].values["audio"])
    # The levels that were drawn, of which scaling and converting a frame at once loses up to two, and a JPEG none.
    for table in tables:
        np.testing.assert_allclose(table.values["video"][:, 0], 40 + 30 * table.clip, atol=2)
    np.testing.assert_array_equal(folder.sound(2, records.RATE), source.sound(2, records.RATE))
    sounds = [[ClipSound(clips.root / "02.mp4", "x", "1", source=clips, place=2)] for clips in (folder, source)]
    one, other = (Features(asking.setting(tmp_path / name, source)).sounds(asking.network(), own, 3)
                  for name, own in zip("ab", sounds, strict=True))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, np.full((1, 3, 6), tone_hz(2)), atol=8)


def test_only_labelled_clips_come_with_labels(source, tmp_path):
    labels = ["", "b", "a", "", "b", "a"]
    labelled = dataclasses.replace(source, clips=tuple(dataclasses.replace(clip, label=label)
                                                       for clip, label in zip(source.clips, labels, strict=True)))
    table, found = Features(asking.setting(tmp_path, labelled)).labelled(asking.network(), labelled, "embed")
    assert found.tolist() == ["b", "a", "b", "a"] and table.clip.tolist() == [1, 2, 4, 5]
    np.testing.assert_allclose(table.values["video"][:, 0], [grey(1), grey(2), grey(4), grey(5)], atol=4)


class Silent(sources.Source):
    """Clips of three numbers of sound and of words; every third lacks its sound, clip 1 its words."""

    def reader(self, plan, form, quarantine, features, *, pairing="none"):
        return self

    by_rows = False
    shapes = {"waveform": ((3,), np.int16), "words": ((3,), np.float16), **{name: ((), np.int32) for name in (  # noqa: RUF012
        "waveform_length", "words_length", "clip")}}

    def whole(self, place):
        row = np.full((1, 3), place + 1)
        return {"waveform": row.astype(np.int16), "waveform_length": np.array([3 * (place % 3 > 0)], np.int32),
                "words": row.astype(np.float16), "words_length": np.array([place != 1], np.int32),
                "clip": np.array([place], np.int32)}


def test_what_a_clip_lacks_is_nan(tmp_path):
    def embed(variables, batch):
        sound, text = batch["waveform"].astype(jnp.float32), batch["words"].astype(jnp.float32)
        return {"audio": sound, "text": text, "audio+text": sound + text, "video": 0 * text}

    whole = {"waveform": Feature((3,), "int16", modality="audio"), "words": Feature((3,), "float16", modality="text"),
             "waveform_length": Feature((), "int32"), "words_length": Feature((), "int32")}
    clips = tuple(sources.Clip(f"{n}.mp4", n, "test", "ab"[n % 2]) for n in range(7))
    system = dataclasses.replace(asking.system(), features=whole, embed=embed)
    asked = asking.setting(tmp_path, Silent(tmp_path, clips), asked=system)
    table = Features(asked).clips(asking.network(), asked.heldout, "embed")
    assert table.clip.tolist() == list(range(7))
    lacks = {name: np.flatnonzero(features.missing_rows(rows)).tolist() for name, rows in table.values.items()}
    assert lacks == {"audio": [0, 3, 6], "text": [1], "audio+text": [0, 1, 3, 6], "video": []}
    assert table.values["audio"][4].tolist() == [5, 5, 5]
    assert np.flatnonzero(table.complete).tolist() == [2, 4, 5]
    labelled, labels = Features(asked).labelled(asking.network(), asked.heldout, "embed")
    assert labelled.clip.tolist() == [2, 4, 5] and labels.tolist() == ["a", "a", "b"]


def test_maps_are_in_the_order_asked_and_nan_where_a_clip_is_bad(videos, tmp_path):
    source = with_bad(videos, tmp_path, 4)
    maps = Features(asking.setting(tmp_path / "run", source)).maps(asking.network(), source, np.array([4, 1, 0]))
    assert maps["video"].shape == (3, 32, 32, 3) and np.isnan(maps["video"][1]).all()
    assert [tiny.picture_of(maps["video"][row]) for row in (0, 2)] == [3, 0]
    assert tiny.sound_of(maps["audio"][0, 0, :, 0], 8000) == 3


# Once -------------------------------------------------------------------------------------------------------------------------


def test_every_clip_is_read_once_for_a_network_and_a_kind(source, tmp_path, reads):
    asked = Features(asking.setting(tmp_path, source))
    first = asked.clips(asking.network(), source, "embed")
    again = asked.clips(asking.network(), source, "embed")
    assert len(reads) == 6 and again.values["video"] is first.values["video"]
    asked.clips(asking.network(), source, "transfer")
    assert len(reads) == 12


def test_another_run_of_the_same_folder_reads_nothing_again(source, tmp_path, reads):
    first = Features(asking.setting(tmp_path, source)).clips(asking.network(), source, "embed")
    again = Features(asking.setting(tmp_path, source)).clips(asking.network(), source, "embed")
    assert len(reads) == 6
    np.testing.assert_array_equal(again.values["audio"], first.values["audio"])
    np.testing.assert_array_equal(again.clip, first.clip)


@pytest.mark.parametrize("change", ["params", "statistics", "clips", "format", "front end"])
def test_whatever_changes_the_answer_is_asked_anew(source, tmp_path, reads, change):
    Features(asking.setting(tmp_path, source)).clips(asking.network(), source, "embed")
    network = {"params": asking.network(3.0), "statistics": asking.network(statistics=1.0)}.get(change, asking.network())
    clips = dataclasses.replace(source, clips=source.clips[::-1]) if change == "clips" else source
    changes = {"format": {"data__frame_short_side": 40}, "front end": {"audio__log_scale": 0.3}}.get(change, {})
    Features(asking.setting(tmp_path, source, **changes)).clips(network, clips, "embed")
    assert len(reads) == 12


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_damaged_file_is_said_and_made_anew(source, tmp_path, damage):
    before = Features(asking.setting(tmp_path, source)).clips(asking.network(), source, "embed")
    file = next((tmp_path / "features").glob("*.npz"))
    content = bytearray(file.read_bytes())
    place = content.index(before.values["audio"].tobytes())
    content[place] ^= 1
    file.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "text": b"no arrays at all"}[damage])
    said = []
    again = Features(asking.setting(tmp_path, source, say=said.append)).clips(asking.network(), source, "embed")
    np.testing.assert_array_equal(again.values["audio"], before.values["audio"])
    assert len(said) == 1 and str(file) in said[0] and "damaged" in said[0]
    Features(asking.setting(tmp_path, source, say=said.append)).clips(asking.network(), source, "embed")
    assert len(said) == 1


def test_what_is_shared_cannot_be_written_to(source, tmp_path):
    table = Features(asking.setting(tmp_path, source)).clips(asking.network(), source, "embed")
    with pytest.raises(ValueError, match="read-only"):
        table.values["video"][0] = 0


def test_files_of_other_networks_are_removed(source, tmp_path, reads):
    asked = Features(asking.setting(tmp_path, source))
    one, two, three = (asking.network(factor) for factor in (1, 2, 3))
    for network in (one, two, three):
        asked.clips(network, source, "embed")
    asked.tidy(one, three)
    assert len(list((tmp_path / "features").iterdir())) == 2
    asked.clips(one, source, "embed")
    asked.clips(three, source, "embed")
    assert len(reads) == 18


def test_a_folder_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "features").write_text("in the way")
    with pytest.raises(errors.CannotWriteError, match="features"):
        Features(asking.setting(tmp_path, source)).clips(asking.network(), source, "embed")


def test_a_signal_ends_the_wait(source, tmp_path):
    def pulse():
        raise errors.Stopped("Stopped by SIGTERM.")

    with pytest.raises(errors.Stopped):
        Features(asking.setting(tmp_path, source, pulse=pulse)).clips(asking.network(), source, "embed")


def test_a_batch_that_does_not_fit_the_devices_is_refused(source, tmp_path):
    with pytest.raises(errors.ConfigError, match=r"evaluate\.batch_size"):
        Features(asking.setting(tmp_path, source, devices=8, evaluate__batch_size=4))


_PROCESS = """
import sys
from pathlib import Path
import jax
number, port, videos, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
jax.distributed.initialize(f"localhost:{port}", 2, number)
from avc_jax.data import sources
from avc_jax.evaluators.features import Features
from evaluators import asking
import numpy as np
source = sources.open_folder(videos, "", (1.0, 0.0, 0.0))
for _ in range(2):
    asked = Features(asking.setting(folder, source, devices=4, evaluate__batch_size=4))
    table = asked.clips(asking.network(), source, "embed")
    np.savez(folder / f"{number}.npz", clip=table.clip, **table.values)
"""


@pytest.mark.slow
def test_processes_share_the_reading_and_all_have_the_whole(source, videos, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen([sys.executable, "-c", _PROCESS, str(number), str(port), str(videos), str(tmp_path)],
                                  env=os.environ | flags, stderr=subprocess.PIPE, text=True) for number in range(2)]
    for process in processes:
        _, printed = process.communicate(timeout=300)
        assert process.returncode == 0, printed
    wanted = Features(asking.setting(tmp_path / "alone", source)).clips(asking.network(), source, "embed")
    for number in range(2):
        with np.load(tmp_path / f"{number}.npz") as found:
            np.testing.assert_array_equal(found["clip"], wanted.clip)
            np.testing.assert_allclose(found["video"], wanted.values["video"], rtol=1e-6)
            np.testing.assert_allclose(found["audio"], wanted.values["audio"], rtol=1e-6)
    assert len(list((tmp_path / "features").glob("*.npz"))) == 1


# Sounds -----------------------------------------------------------------------------------------------------------------------


def test_subclips_are_equally_spaced_from_the_first_sample_to_the_last():
    found = features.spread(np.arange(40, dtype=np.int16), 8, 5)
    np.testing.assert_array_equal(found[:, 0], np.linspace(0, 32, 5))
    np.testing.assert_array_equal(found, found[:, :1] + np.arange(8))


def test_short_sounds_are_followed_by_silence():
    np.testing.assert_array_equal(features.spread(np.array([5, 6, 7], np.int16), 5, 2), [[5, 6, 7, 0, 0]] * 2)


def write_sounds(folder) -> list[LabelledSound]:
    """Four seconds each of a tone that rises to the double after two; the number says the tone."""
    made = []
    for number in range(3):
        rising = np.repeat([500.0 * (number + 1), 1000.0 * (number + 1)], 2 * asking.RATE)
        sound = 0.5 * np.sin(2 * np.pi * np.cumsum(rising) / asking.RATE)
        path = media.write(folder / f"{number}.wav", sound=sound, rate_hz=asking.RATE)
        made.append(LabelledSound(path, str(number), "1"))
    return made


@pytest.mark.parametrize(("batch_size", "devices"), [(1, 1), (4, 1), (8, 8)])
def test_rows_of_every_sound_are_of_its_own_subclips_in_order(source, tmp_path, batch_size, devices):
    setting = asking.setting(tmp_path, source, devices=devices, evaluate__batch_size=batch_size)
    found = Features(setting).sounds(asking.network(), write_sounds(tmp_path), 6)
    assert found.shape == (3, 6, 6)
    np.testing.assert_allclose(found[:, :, 0], [[500 * n] * 3 + [1000 * n] * 3 for n in (1, 2, 3)], atol=20)


def test_a_stretch_of_a_file_is_all_that_is_read(source, tmp_path):
    part = dataclasses.replace(write_sounds(tmp_path)[0], start_s=2.0, end_s=3.5)
    found = Features(asking.setting(tmp_path, source)).sounds(asking.network(), [part], 4)
    np.testing.assert_allclose(found[0, :, 0], 1000, atol=20)


def test_sounds_that_cannot_be_decoded_are_nan_and_in_a_ledger_of_their_own(source, tmp_path):
    sounds = write_sounds(tmp_path)
    media.text_file(sounds[1].path)
    setting = asking.setting(tmp_path / "run", source)
    found = Features(setting).sounds(asking.network(), sounds, 2)
    assert np.isnan(found[1]).all() and not np.isnan(found[[0, 2]]).any()
    assert "1.wav" in (tmp_path / "run" / "features" / "quarantine.jsonl").read_text()
    assert not setting.quarantine.reasons
    with pytest.raises(errors.DataError, match="1 of 3 files unusable"):
        Features(asking.setting(tmp_path / "other", source, budget=0.0)).sounds(asking.network(), sounds, 2)


def test_a_sound_that_was_repaired_is_read_again(source, tmp_path):
    sounds = write_sounds(tmp_path)
    whole = sounds[0].path.read_bytes()
    media.text_file(sounds[0].path)
    assert np.isnan(Features(asking.setting(tmp_path, source)).sounds(asking.network(), sounds, 2)[0]).all()
    sounds[0].path.write_bytes(whole)
    assert not np.isnan(Features(asking.setting(tmp_path, source)).sounds(asking.network(), sounds, 2)).any()
