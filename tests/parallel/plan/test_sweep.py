"""What a sweep tries and chooses; the estimates are made up, as each real one takes a compilation."""

import dataclasses

import pytest
import tiny

from avc_jax.parallel.plan import report, sweep, topology
from avc_jax.parallel.plan.estimate import DoesNotFitError, Estimate

WHERE = topology.parse("v5e:4x4")


class Device:
    def __init__(self, number):
        self.process_index, self.id = number // 4, number


DEVICES = [Device(number) for number in range(16)]


def made_up(config, per_row_gb, refused_from=1 << 30):
    """An estimate whose memory grows with the rows of a chip; splitting the state saves 4 GB and costs time."""
    split = config.mesh.fsdp * config.mesh.tensor > 1
    batch = config.train.batch_size
    if batch >= refused_from:
        raise DoesNotFitError("needs 20.1G of 15.7G")
    mesh = {"data": 16 // config.mesh.fsdp // config.mesh.tensor, "fsdp": config.mesh.fsdp, "tensor": config.mesh.tensor}
    return Estimate(topology=WHERE, mesh=mesh, batch=batch, pairs=batch, row_bytes=1, hosts=4, parameters=1,
                    memory={"all": int(1e9 * (per_row_gb * batch / 16 + (1 if split else 5)))}, flops=1.0, bytes=1.0,
                    collectives={}, compute_s=1.0 + batch / 16, memory_s=0.0, network_s=1.5 if split else 0.5, compile_s=1.0)


@pytest.fixture
def swept(monkeypatch):
    """A function: GB per row, batch from which the compiler refuses -> (what was chosen, lines, batches that were tried)."""

    def run(per_row_gb, refused_from=1 << 30, batch=64, **changes):
        lines, tried = [], []

        def estimate(config, where, devices):
            tried.append((config.mesh.fsdp, config.mesh.tensor, config.train.batch_size))
            return made_up(config, per_row_gb, refused_from)

        monkeypatch.setattr(sweep, "estimate", estimate)
        config = tiny.config(train__batch_size=batch, **changes)
        best = sweep.sweep(config, WHERE, DEVICES, lines.append)
        assert config.train.batch_size == batch
        assert config.mesh.fsdp == 1
        return best, lines, tried

    return run


def test_batches_are_doubled_until_they_do_not_fit_and_the_most_pairs_per_second_win(swept):
    best, lines, tried = swept(0.3)  # 16 GB hold 36 rows of a chip beside the whole state, 50 beside a split one
    assert [batch for fsdp, tensor, batch in tried if (fsdp, tensor) == (1, 1)] == [64, 128, 256, 512, 1024]
    assert {(fsdp, tensor) for fsdp, tensor, _ in tried} == {(1, 1), (4, 1), (16, 1), (1, 2)}
    assert (best.batch, best.mesh["fsdp"], best.mesh["tensor"]) == (512, 1, 1)
    assert lines[0] == report.ROW_HEAD
    assert len(lines) == 1 + len(tried)


def test_a_split_state_wins_where_only_it_has_room_for_a_larger_batch(swept):
    best, _, tried = swept(0.2)  # 55 rows, or 75
    assert best.batch == 1024
    assert best.mesh["fsdp"] * best.mesh["tensor"] > 1
    assert (4, 1, 512) in tried, "begins with the largest batch that fitted"


def test_what_the_compiler_refuses_ends_the_doubling(swept):
    best, lines, _ = swept(0.01, refused_from=256)
    assert best.batch == 128
    assert any("needs 20.1G of 15.7G" in line for line in lines)


def test_nothing_fits(swept):
    assert swept(100.0)[0] is None


def test_a_batch_that_does_not_divide_is_filled_up(swept):
    _, _, tried = swept(0.3, batch=8)
    assert tried[0] == (1, 1, 16)


def test_every_process_gets_whole_visits(swept):
    _, _, tried = swept(0.3, batch=12, data__pairs_per_visit=6)
    assert all(batch % (6 * 4) == batch % 8 == 0 for _, _, batch in tried)


def test_rows_of_the_table_stand_under_their_heads():
    found = dataclasses.replace(made_up(tiny.config(), 0.1), compute_s=0.002, network_s=0.001)
    line = report.row(found)
    for head, value in (("batch", "8"), ("ms, best", "2.00"), ("ms, worst", "3.00"), ("pairs/s", "2,667")):
        assert line.index(value + " ") + len(value) == report.ROW_HEAD.index(head) + len(head)
