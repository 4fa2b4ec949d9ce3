"""Which pictures make which rows: on the clock of the file, as ffmpeg's filter `fps` takes them."""

import itertools

import numpy as np
import pytest

from avc_jax.data.clock import Span
from avc_jax.visual import grid


@pytest.mark.parametrize(("seconds", "rows_2d", "rows_3d"), [
    (10.0, 10, 15), (60.0, 60, 90), (2.4, 2, 4), (2.5, 3, 4), (16 / 24, 1, 1), (17 / 24, 1, 2), (0.3, 1, 1), (0.01, 1, 1)])
def test_rows_of_a_length(seconds, rows_2d, rows_3d):
    made = grid.make_grid(Span(0.0, seconds), 0.0)
    assert (made.rows_2d, made.rows_3d) == (rows_2d, rows_3d)


def test_a_clip_finds_its_rows_by_its_seconds():
    made = grid.make_grid(Span(0.0, 60.0), 0.0)
    # The published rule: rows int(s * rate) to int(e * rate), both included; 5 s to 15 s here.
    assert made.rows_2d > 15 and made.rows_3d > 22
    block, = made.blocks()
    assert 5 <= block.times_2d[5] < 6 and 15 <= block.times_2d[15] < 16
    chunks = block.times_3d.reshape(-1, grid.CHUNK)
    for row in (7, 22):
        assert (chunks[row] >= row / 1.5).all() and (chunks[row] < (row + 1) / 1.5).all()


@pytest.mark.parametrize("seconds", [3.0, 64.0, 64.4, 65.2, 200.0, 1000.1])
def test_blocks_hold_every_row_once(seconds):
    made = grid.make_grid(Span(0.0, seconds), 0.0)
    blocks = made.blocks()
    assert sum(len(block.times_2d) for block in blocks) == made.rows_2d
    assert sum(-(-len(block.times_3d) // grid.CHUNK) for block in blocks) == made.rows_3d
    for before, block in itertools.pairwise(blocks):
        assert block.row_2d == before.row_2d + len(before.times_2d)
        assert block.row_3d == before.row_3d + -(-len(before.times_3d) // grid.CHUNK)
    times = np.concatenate([block.times_3d for block in blocks])
    np.testing.assert_allclose(np.diff(times[:-1]), 1 / 24, atol=1e-9)
    assert times[-1] < seconds


def test_a_clock_that_begins_anywhere_is_no_clock_of_rows():
    made = grid.make_grid(Span(101.5, 111.5), 101.4)
    assert made.origin_s == 101.4 and made.rows_2d == 10
    assert made.blocks()[0].times_2d[0] == pytest.approx(101.9, abs=2e-3)
    assert grid.make_grid(Span(0.1, 10.0), 0.02).origin_s == 0


def test_where_the_picture_begins_late_there_is_none():
    block, = grid.make_grid(Span(3.03, 6.0), 0.0).blocks()
    assert np.isnan(block.times_2d).tolist() == [True] * 3 + [False] * 3
    assert np.isnan(block.times_3d).sum() == 72 and block.times_3d[72] == 3.03  # whose slot began before it, but has it
