"""Two runs on one workdir: the second is refused, and the first does not notice."""

import pytest
from faults import process


@pytest.mark.fault("two_runs", "the second is started while the first trains")
def test_second_run_is_refused_and_the_first_ends_as_ever(cache, videos, unbroken, tmp_path):
    args = (*process.TRAIN, f"--workdir={tmp_path}", f"--config.data.root={videos}")
    with process.Command(cache, *args) as first:
        # As soon as the lock names its owner the folder is taken, long before the first step.
        process.wait_until(lambda: (tmp_path / "lock").exists() and (tmp_path / "lock").read_text(), "a lock")
        second = process.run(cache, *args, expect=64)
        assert f"in use by another run (process {first.process.pid})" in second.printed
        assert first.end().code == 0, first.printed
    assert process.params_sha256(tmp_path) == process.params_sha256(unbroken)
