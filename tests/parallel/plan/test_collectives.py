"""Collectives as compilers write them: forms of groups, started ones, loops; and how long they take at least."""

import numpy as np
import pytest

from avc_jax.parallel.plan import collectives, estimate, topology

# The forms are those of XLA's text; the program is made up.
TEXT = """HloModule jit_step, num_partitions=8

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%body.1 (p: (s32[], f32[64])) -> (s32[], f32[64]) {
  %looped = f32[64]{0} all-reduce(%x), channel_id=1, replica_groups={}, to_apply=%add, metadata={op_name="jit(step)/loop/sum"}
}

%cond.1 (p: (s32[], f32[64])) -> pred[] {
  ROOT %less = pred[] compare(%a, %b), direction=LT
}

%async (p: f32[8,16]) -> f32[1,16] {
  %scattered = f32[1,16]{1,0:T(1,128)} reduce-scatter(%p), channel_id=2, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
}

ENTRY %main.9 (p: f32[]) -> f32[] {
  %joined = (f32[3,3,64]{2,1,0:T(8,128)S(1)}, bf16[5]{0:T(256)(128)(2,1)}, pred[]) all-reduce(%a, %b), replica_groups=[2,4]<=[8]
  %across = f32[10]{0} all-reduce-start(%a), replica_groups=[4,2]<=[2,4]T(1,0), to_apply=%add
  %ended = f32[10]{0} all-reduce-done(%across)
  %gathered = (f32[4,7]{1,0}, f32[8,7]{1,0}) all-gather-start(%a), replica_groups={{0,4},{1,5},{2,6},{3,7}}, dimensions={0}
  %moved = (f32[9]{0}, f32[9]{0}, u32[], u32[]) collective-permute-start(%a), source_target_pairs={{0,1},{3,4}}
  %loop = (s32[], f32[64]{0}) while(%t), condition=%cond.1, body=%body.1, backend_config={"known_trip_count":{"n":"5"}}
  %begun = ((f32[8,16]), f32[1,16], u32[]) async-start(%p), calls=%async
  ROOT %out = f32[] copy(%p)
}
"""


@pytest.fixture(scope="module")
def found():
    read = collectives.read(TEXT, 8, lambda partitions: partitions // 4)
    return {(one.kind, one.size): one for one in read}


@pytest.mark.parametrize(("kind", "size", "group", "islands", "times"), [
    ("all-reduce", 4 * 576 + 2 * 5 + 1, 4, 1, 1), ("all-reduce", 40, 2, 2, 1), ("all-gather", 4 * 56, 2, 2, 1),
    ("collective-permute", 36, 2, 2, 1), ("all-reduce", 256, 8, 2, 5), ("reduce-scatter", 512, 8, 2, 1)])
def test_each_is_read_with_its_size_its_group_and_how_often_it_runs(found, kind, size, group, islands, times):
    one = found[kind, size]
    assert (one.group, one.islands, one.times) == (group, islands, times)


def test_nothing_else_is_read(found):
    assert len(found) == 6


def test_groups_of_every_form():
    def groups(text):
        return collectives._groups(text, 8).tolist()

    assert groups("replica_groups=[2,4]<=[8]") == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert groups("replica_groups=[4,2]<=[2,4]T(1,0)") == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert groups("replica_groups={{0,2},{1,3}}") == [[0, 2], [1, 3]]
    assert groups("replica_groups={}") == [list(range(8))]


# How long -----------------------------------------------------------------------------------------------------------------


def one(kind, group, islands, size=1e9):
    return collectives.Collective(kind, ((1,),), int(size), group, islands, 1, ("",))


def test_a_ring_within_a_slice():
    where = topology.parse("v5e:4x4")
    assert np.isclose(estimate.seconds(one("all-gather", 16, 1), where), 15 / 16 / 200)
    assert np.isclose(estimate.seconds(one("all-reduce", 16, 1), where), 2 * 15 / 16 / 200)
    assert np.isclose(estimate.seconds(one("collective-permute", 2, 1), where), 1 / 200)
    assert estimate.seconds(one("all-reduce", 1, 1), where) == 0


def test_between_slices_each_chip_sends_its_part():
    where = topology.parse("v5e:4x4:2")
    assert np.isclose(estimate.seconds(one("all-reduce", 32, 2), where), 2 * (15 / 16 / 200 + 1 / 16 * 1 / 2 / 3.125))
    assert np.isclose(estimate.seconds(one("all-reduce", 2, 2), where), 2 * 1 / 2 / 3.125)
