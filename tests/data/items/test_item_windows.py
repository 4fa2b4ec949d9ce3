"""The arithmetic of windows, against what AVLnet's own loaders gave, and at the edges where they go wrong."""

import itertools
import math

import numpy as np
import pytest
from parity.vectors import Vectors

from avc_jax.data.items import windows
from avc_jax.data.items.windows import Window


@pytest.fixture(scope="module")
def vectors(shared):
    return Vectors(shared / "vectors" / "avlnet" / "sampler.npz")


def test_times_and_frames_are_those_of_the_reference(vectors):
    found = [windows.frame_at(time_s) for time_s in vectors["in/seconds"].tolist()]
    np.testing.assert_array_equal(found, vectors["out/time_to_frames"])
    np.testing.assert_allclose([windows.frame_time_s(frame) for frame in vectors["in/frames"].tolist()],
                               vectors["out/frames_to_time"], rtol=1e-12)


@pytest.mark.parametrize("film_frames", [6000, 900, 1102, 1250, 3333])
def test_random_windows_are_those_of_the_reference(vectors, film_frames):
    firsts, lasts = vectors[f"out/random_F{film_frames}_first_last_frame"].astype(int)
    counts, starts, ends = vectors[f"out/random_F{film_frames}_nframes_start_end"].astype(int)
    possible = {windows.random_start(draw, film_frames, 1000) for draw in np.linspace(0, 1, 4000, endpoint=False)}
    assert possible == set(range(max(possible) + 1)) and set(starts) <= possible
    for first, last, count, start, end in zip(firsts, lasts, counts, starts, ends, strict=True):
        window = windows.window_at(int(start), 1000)
        assert (window.start_s, window.end_s) == (start, end)
        # The reference's spectrogram is the ramp 1, 2, 3, ...
        assert windows.sound_frames(window, film_frames, 1000) == (first - 1, count) and last == first - 1 + count


def test_the_example_of_the_published_sampler():
    assert {windows.random_start(draw, 6000, 1000) for draw in (0.0, 0.9999999)} == {0, 48}
    window = windows.window_at(5, 1000)
    assert windows.sound_frames(window, 6000, 1000) == (498, 1000)
    assert windows.feature_rows(window, 1.0, 60) == (5, 16) and windows.feature_rows(window, 1.5, 90) == (7, 23)


def test_captions_are_joined_as_in_the_reference_but_begin_at_zero_where_it_finds_silence(vectors):
    about = vectors.meta["captions"]
    known = {word for wanted in about["result"] for word in wanted["words"]}  # the reference leaves out what has no vector
    for wanted in about["result"]:
        begin, end, joined = windows.grow(about["start"], about["end"], wanted["ind"], about["min_time"])
        assert (begin, end) == (wanted["start"], wanted["end"])
        assert [word for place in joined for word in about["text"][place].split() if word in known] == wanted["words"]
        first, count = windows.sound_frames(Window(begin, end, begin, end), 6000, 1000)
        if begin == 0:
            assert (first, count, wanted["nframes"]) == (0, 1000, 0)
        else:
            assert (first + 1, count) == (wanted["first_value"], wanted["nframes"])


def test_a_caption_grows_until_it_is_long_enough_or_alone():
    starts, ends = [0.0, 3.0, 7.0], [3.0, 6.0, 12.0]
    assert windows.grow(starts, ends, 1, 10.0) == (0.0, 12.0, [1, 0, 2])
    assert windows.grow(starts, ends, 1, 0.0) == (3.0, 6.0, [1])
    assert windows.grow(starts, ends, 2, 99.0) == (0.0, 12.0, [2, 1, 0])
    # Both neighbours would make it six seconds long: the one before comes first.
    assert windows.grow([0.0, 2.0, 4.0], [2.0, 4.0, 6.0], 1, 3.0)[2] == [1, 0]


@pytest.mark.parametrize(("film_frames", "seconds"), itertools.product([0, 1, 50, 700, 1000, 5000], [0.5, 1.0, 10.0]))
def test_windows_stay_within_what_there_is(film_frames, seconds):
    frames = windows.frames_in(seconds)
    for draw in (0.0, 0.5, 1 - 1e-12):
        window = windows.window_at(windows.random_start(draw, film_frames, frames), frames)
        first, count = windows.sound_frames(window, film_frames, frames)
        assert first >= 0 and 0 <= count <= frames and (count == 0 or first + count <= film_frames)
        for rate, rows in ((1.0, film_frames // 100), (1.5, int(film_frames * 0.015))):
            begin, end = windows.feature_rows(window, rate, rows)
            assert 0 <= begin <= end <= rows


def test_all_rows_belong_to_what_has_no_end_and_none_to_what_is_over():
    assert windows.feature_rows(Window(0.0, math.inf, 0.0, math.inf), 1.5, 7) == (0, 7)
    assert windows.feature_rows(Window(70.0, 80.0, 70.0, 80.0), 1.0, 60) == (60, 60)
