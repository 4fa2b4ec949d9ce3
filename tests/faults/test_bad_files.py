"""Files that hang the decoder, crash it, or have it allocate without end, are quarantined, and the run goes on."""

import json
import shutil
from pathlib import Path

import pytest
from end_to_end import command
from faults import process

_KINDS = {"hangs.mp4": "hangs", "segfaults.mp4": "crashed", "swells.mp4": "too_large"}
_LIMIT_S = 3


@pytest.mark.fault("bad_file", "one that hangs the decoder")
@pytest.mark.fault("bad_file", "one that segfaults it")
@pytest.mark.fault("bad_file", "one that allocates without end")
@pytest.mark.slow
def test_files_that_hurt_the_decoder_are_quarantined(cache, videos, tmp_path, note):
    root = tmp_path / "videos"
    shutil.copytree(videos, root)
    for name in _KINDS:
        shutil.copy(next(root.rglob("*.mp4")), root / name)
    sabotage = {"PYTHONPATH": f"{Path(__file__).parent / 'sabotage'}:{command.ROOT}"}
    process.run(cache, *process.TRAIN, f"--workdir={tmp_path / 'w'}", f"--config.data.root={root}", "--config.data.split=all",
                "--config.data.quarantine_budget=0.5", f"--config.data.decode_limit_s={_LIMIT_S}",
                "--config.data.decode_memory_mb=256", environment=sabotage)
    ledger = [json.loads(line) for line in (tmp_path / "w" / "quarantine.jsonl").read_text().splitlines()]
    assert {row["path"]: row["kind"] for row in ledger} == _KINDS
    reasons = {row["path"]: row["reason"] for row in ledger}
    assert "SIGSEGV" in reasons["segfaults.mp4"] and f"after {_LIMIT_S} s" in reasons["hangs.mp4"]
    note(f"limits of {_LIMIT_S} s and 256 MB")
