"""Batches: in order whatever the threads, the same on any number of hosts and from any step on."""

import io
import itertools
import threading
import time

import numpy as np
import pytest
import tiny
from PIL import Image

from avc_jax import errors
from avc_jax.data import jpegs, pipeline, sources
from avc_jax.data import visit as visits
from avc_jax.data.plan import Plan
from avc_jax.data.quarantine import Quarantine

FORM = visits.Format(short_side=32, size=24, window_s=0.25, rate_hz=8000)
SMALL = visits.Format(short_side=8, size=8, window_s=1.0, rate_hz=8)
NAMES = ("frame", "waveform", "label", "file")


class FakeReader:
    """Reads no files: the field `clip` holds the visit, `sound_clip` which of its pairs."""

    by_rows, shapes = False, visits.fields(SMALL)

    def __init__(self, plan, delay=lambda visit: 0.0):
        self.plan, self._delay = plan, delay
        self.visits, self._lock = [], threading.Lock()

    def train(self, visit):
        time.sleep(self._delay(visit))
        with self._lock:
            self.visits.append(visit)
        k = self.plan.pairs_per_visit
        return zeros(k) | {"clip": np.full(k, visit, np.int32), "sound_clip": np.arange(k, dtype=np.int32)}


class FakeStoredReader(FakeReader):
    """The same, row by row, with frames that are JPEGs of one level: the visit."""

    by_rows = True

    def train(self, visit, pair):
        cut = jpegs.make_cut(16, SMALL)
        crops = [cut.crop(gray_jpeg(np.full((16, 24), value)), 16, 24, (0.5, 0.5)) for value in visit]
        return zeros(len(visit)) | {"frame": jpegs.Crops(crops, cut), "clip": visit.astype(np.int32),
                                    "sound_clip": pair.astype(np.int32)}


def zeros(rows):
    return {name: np.zeros((rows, *shape), dtype) for name, (shape, dtype) in visits.fields(SMALL).items()}


def gray_jpeg(levels):
    file = io.BytesIO()
    Image.fromarray(np.repeat(levels[..., None], 3, axis=2).astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


def rows_of(plan, steps, reader=FakeReader, **options):
    """(visit, pair) of every row of the first batches."""
    batches = pipeline.train_batches(reader(plan), threads=2, names=("clip", "sound_clip"), **options)
    return [list(zip(batch["clip"].tolist(), batch["sound_clip"].tolist(), strict=True))
            for batch in itertools.islice(batches, steps)]


@pytest.mark.parametrize("reader", [FakeReader, FakeStoredReader])
@pytest.mark.parametrize("pairs_per_visit", [1, 2, 4])
@pytest.mark.parametrize("first_step", [0, 1, 7])
def test_batches_are_the_rows_of_the_plan_from_any_step_on(pairs_per_visit, first_step, reader):
    plan = Plan(10, seed=0, batch_size=16, pairs_per_visit=pairs_per_visit)
    assert rows_of(plan, 4, reader, first_step=first_step) == [planned(plan, first_step + step) for step in range(4)]


@pytest.mark.parametrize("reader", [FakeReader, FakeStoredReader])
@pytest.mark.parametrize("pairs_per_visit", [1, 2, 4])
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_rows_of_all_hosts_make_the_same_global_batch(pairs_per_visit, hosts, reader):
    plan = Plan(10, seed=0, batch_size=16, pairs_per_visit=pairs_per_visit)
    shares = [rows_of(plan, 3, reader, first_step=2, host=host, hosts=hosts) for host in range(hosts)]
    for step in range(3):
        assert [row for share in shares for row in share[step]] == planned(plan, 2 + step)


@pytest.mark.parametrize("reader", [FakeReader, FakeStoredReader])
@pytest.mark.parametrize("hosts", [1, 2])
def test_pairs_of_a_visit_can_land_in_one_batch(hosts, reader):
    plan = Plan(10, seed=0, batch_size=16, pairs_per_visit=4, together=True)
    for step in range(3):
        assert planned(plan, step) == [(4 * step + slot, pair) for slot in range(4) for pair in range(4)]
    shares = [rows_of(plan, 3, reader, first_step=1, host=host, hosts=hosts) for host in range(hosts)]
    for step in range(3):
        assert [row for share in shares for row in share[step]] == planned(plan, 1 + step)


def planned(plan, step):
    return list(zip(*(column.tolist() for column in plan.rows(step)), strict=True))


def test_large_batches_of_stored_frames_are_read_in_pieces(monkeypatch):
    monkeypatch.setattr(pipeline, "_MOST_ROWS", 5)
    plan = Plan(10, seed=0, batch_size=16, pairs_per_visit=2)
    assert rows_of(plan, 3, FakeStoredReader, first_step=1) == [planned(plan, step) for step in (1, 2, 3)]


def test_stored_frames_are_decoded_in_their_places():
    plan = Plan(10, seed=0, batch_size=8, pairs_per_visit=2)
    batch = next(pipeline.train_batches(FakeStoredReader(plan), first_step=0, threads=2, names=("frame", "clip")))
    assert batch["frame"].shape == (8, 8, 8, 3)
    np.testing.assert_allclose(batch["frame"].mean((1, 2, 3)), batch["clip"], atol=1.5)


def test_no_host_reads_what_another_reads():
    plan = Plan(10, seed=0, batch_size=16, pairs_per_visit=2)
    readers = [FakeReader(plan) for _ in range(2)]
    for host, reader in enumerate(readers):
        list(itertools.islice(pipeline.train_batches(reader, first_step=0, host=host, hosts=2, threads=2, names=("clip",)), 4))
    assert not set(readers[0].visits) & set(readers[1].visits)


def test_order_is_kept_by_many_threads():
    plan = Plan(10, seed=0, batch_size=4)
    reader = FakeReader(plan, delay=lambda visit: 0.01 * (visit % 4 == 0))
    batches = pipeline.train_batches(reader, first_step=0, threads=4, names=("clip",))
    found = np.concatenate([batch["clip"] for batch in itertools.islice(batches, 8)])
    np.testing.assert_array_equal(found, np.arange(32))
    assert reader.visits[:32] != sorted(reader.visits[:32]), "the threads took turns, so nothing was tried"


@pytest.mark.parametrize("pairs_per_visit", [1, 4])
def test_real_files_give_the_same_batches_to_one_host_or_two_from_the_start_or_later(videos, pairs_per_visit):
    source = sources.open_folder(str(videos), "", (1.0, 0.0, 0.0))

    def batches(steps, **options):
        plan = Plan(len(source.clips), 0, batch_size=8, pairs_per_visit=pairs_per_visit)
        reader = visits.Reader(source, plan, FORM, Quarantine(None, 6, 0.5), pairing="independent")
        return list(itertools.islice(pipeline.train_batches(reader, threads=2, names=NAMES, **options), steps))

    whole = batches(4, first_step=0)
    resumed = batches(2, first_step=2)
    hosts = [batches(4, first_step=0, host=host, hosts=2) for host in range(2)]
    for step in range(4):
        for name in NAMES:
            np.testing.assert_array_equal(np.concatenate([share[step][name] for share in hosts]), whole[step][name])
            if step >= 2:
                np.testing.assert_array_equal(resumed[step - 2][name], whole[step][name])
    for batch in whole:
        for frame, waveform, label, file in zip(*(batch[name] for name in NAMES), strict=True):
            assert tiny.picture_of(frame) == file
            assert (tiny.sound_of(waveform, FORM.rate_hz) == file) == (label == 1)


def read_pairs(number):
    return zeros(1) | {"clip": np.full(1, number, np.int32)}


@pytest.mark.parametrize("error", [errors.DataError("Too many are bad."), errors.CannotWriteError("No room."), KeyError("x"),
                                   errors.BadMedia("damaged", "Broken.")])
def test_errors_of_reading_come_out_as_themselves(error):
    def read(number):
        if number == 3:
            raise error
        return read_pairs(number)

    stream = pipeline.read_in_parallel(read, 10, visits.fields(SMALL), threads=2, ahead=2)
    assert [int(next(stream)["clip"][0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error)) as caught:
        next(stream)
    assert caught.value is error


def test_reading_stops_at_the_count_and_keeps_empty_results():
    def read(number):
        return read_pairs(number) if number % 2 else zeros(0)

    found = list(pipeline.read_in_parallel(read, 5, visits.fields(SMALL), threads=2, ahead=2))
    assert [len(item["clip"]) for item in found] == [0, 1, 0, 1, 0]
    for name, (shape, dtype) in visits.fields(SMALL).items():
        assert found[0][name].shape == (0, *shape)
        assert found[0][name].dtype == dtype


def test_reading_runs_ahead_but_not_far():
    started = []

    def read(number):
        started.append(number)
        return read_pairs(number)

    stream = pipeline.read_in_parallel(read, 1000, visits.fields(SMALL), threads=2, ahead=4)
    next(stream)
    deadline = time.monotonic() + 5
    while len(started) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(started) >= 5
    time.sleep(0.2)
    assert len(started) < 20
