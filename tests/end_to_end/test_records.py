"""Training from records instead of videos, by the commands that users type."""

import pytest
from end_to_end import command


@pytest.mark.slow
def test_a_network_trains_on_records_that_were_prepared(videos, cache, tmp_path):
    records = tmp_path / "records"
    printed = command.run(cache, f"--videos={videos}", f"--out={records}", "--rate_hz=8000", "--short_side=40", "--workers=2",
                          module="avc_jax.prepare")
    assert "12 records of 12 clips" in printed
    args = (*command.TINY, f"--workdir={tmp_path / 'w'}", "--config.data.source=records", f"--config.data.root={records}",
            "--config.train.steps=5", "--config.data.split=all")
    command.run(cache, *args)
    assert command.results(tmp_path / "w")["train"]["step"] == 5
    assert "audio.rate_hz: found 16000, expected the records' 8000" in command.run(
        cache, *args, f"--workdir={tmp_path / 'other'}", "--config.audio.rate_hz=16000", expect=64)
