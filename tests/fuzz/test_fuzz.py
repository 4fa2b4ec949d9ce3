"""A few of the damaged files of `make fuzz`, and what was found with others."""

import numpy as np
import pytest
from fuzz import checkpoints, run
from fuzz.mutate import damage

from avc_jax.train.checkpoint import Checkpoints

COUNTS = {"media": 150, "records": 100, "tracks": 150, "verify": 20, "manifests": 60, "checkpoints": 15}


@pytest.mark.parametrize("name", COUNTS)
def test_damaged_files_are_read_or_refused(name):
    outcomes = run.run(name, 0, COUNTS[name], jobs=2)
    assert not [outcome for outcome in outcomes if outcome.kind == "FAILED"], run.describe(name, 0, outcomes)
    assert len({outcome.kind for outcome in outcomes}) > 1 or name == "checkpoints", "some are read, some are refused"


def test_every_input_is_determined_by_its_number():
    data = bytes(range(256)) * 20
    first, again = ([damage(data, np.random.default_rng(number), [data]) for number in range(100)] for _ in range(2))
    assert first == again
    assert len({one.kind for one in first}) == 9


def test_what_was_not_touched_is_as_it_was():
    data = bytes(range(256)) * 20
    for number in range(300):
        found = damage(data, np.random.default_rng(number), [data[::-1]])
        if found.touched is not None:
            other = bytearray(found.data)
            for begin, end in found.touched:
                other[begin:end] = data[begin:end]
            assert bytes(other) == data


def test_checkpoint_whose_metadata_makes_no_sense_is_set_aside(tmp_path):
    """Orbax's manager of checkpoints ended at it, before any digest was compared."""
    checkpoints.prepare(tmp_path)
    path = tmp_path / "checkpoints" / "2" / "_CHECKPOINT_METADATA"
    path.write_text('{"init_timestamp_nsecs": "long ago", "metrics": 3}')
    opened = Checkpoints(tmp_path, keep=9)
    try:
        found = opened.restore_newest_valid(checkpoints.template())
    finally:
        opened.close()
    assert found is not None and int(found.step) == 1
