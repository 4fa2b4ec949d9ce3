"""SIGKILL while a checkpoint is being written, at moments that chance chooses."""

import random
import re
import time

import pytest
from end_to_end import command
from faults import process

SAVE_S = 0.4  # about what saving the small state takes, with its digest


@pytest.mark.fault("kill_in_save", "killed in the first, second or third save")
def test_a_kill_in_a_save_changes_nothing(cache, videos, unbroken, tmp_path, draw, note):
    args = (*process.TRAIN, f"--workdir={tmp_path}", f"--config.data.root={videos}")
    chance = random.Random(draw)
    nth = 2 if draw == 0 else chance.randint(1, 3)
    inject = ("--at=orbax.checkpoint:AsyncCheckpointer.save", f"--nth={nth}", "--do=SIGKILL",
              f"--after={chance.uniform(0, SAVE_S)}")
    began = time.monotonic()
    killed = process.run(cache, *args, inject=inject, expect=-9)
    half = [path.name for path in (tmp_path / "checkpoints").iterdir() if "tmp" in path.name]
    whole = process.finished_steps(tmp_path)
    after = process.run(cache, *args)
    off = command.results(tmp_path)["goodput"]["wall_s"] / (time.monotonic() - began) - 1
    # The newest that was finished, whatever lies beside it, and nothing of what was begun.
    resumed = re.findall(r"Resuming at step (\d+)\.", after.printed)
    assert resumed == [str(step) for step in whole[-1:]], killed.printed + after.printed
    assert whole in ([3, 6, 9][: nth - 1], [3, 6, 9][:nth])  # the save before was waited for
    assert process.params_sha256(tmp_path) == process.params_sha256(unbroken)
    assert not list((tmp_path / "checkpoints").glob("*tmp*"))
    note(f"save {nth} {'half written' if half else 'finished' if 3 * nth in whole else 'without digest'}")
    note(f"ledger of time off by {100 * off:.1f}%")
