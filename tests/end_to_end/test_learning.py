"""The network learns from real videos what it should, and nothing where there is nothing to learn."""

import json
from pathlib import Path

import pytest
from end_to_end import command

pytestmark = pytest.mark.slow

SMALL = ("--config=configs/flickr.py:tiny", "--config.data.split=all", "--config.data.evaluate_split=all", "--config.data.frame_short_side=64",
         "--config.train.log_every=50", "--config.train.checkpoint_every=10000")


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory):
    """Flags that name the first 2.5 s of sixteen real clips of several containers and codecs."""
    clips = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"
    if not clips.is_dir():
        pytest.skip(f"{clips} is not here")
    found = sorted(path for path in clips.rglob("*") if path.suffix in (".mp4", ".mkv", ".webm", ".avi"))
    manifest = tmp_path_factory.mktemp("sixteen") / "manifest.csv"
    rows = [f"{path.relative_to(clips)},0,2.5" for path in found[:: len(found) // 16][:16]]
    manifest.write_text("\n".join(["path,start_s,end_s", *rows]))
    return (f"--config.data.root={clips}", f"--config.data.manifest={manifest}")


def last_training_accuracy(workdir) -> float:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line["train/accuracy"] for line in lines if "train/accuracy" in line][-1]


def test_sixteen_real_clips_are_fitted(sixteen, cache, tmp_path):
    command.run(cache, *SMALL, f"--workdir={tmp_path}", *sixteen, "--config.train.steps=300",
                "--config.data.pairing=shared", "--config.data.pairs_per_visit=16", "--config.system.width=0.25",
                "--config.optimizer.schedule=cosine", "--config.optimizer.lr=2e-3")
    assert last_training_accuracy(tmp_path) > 0.95
    assert command.results(tmp_path)["evaluate"]["avc"]["accuracy"] > 0.9


def test_a_network_whose_sound_is_silenced_stays_at_chance(sixteen, cache, tmp_path):
    command.run(cache, *SMALL, f"--workdir={tmp_path}", *sixteen, "--config.train.steps=150",
                "--config.data.pairs_per_visit=16", "--config.augment.gain=(0.0,0.0)")
    # 150 x 16 decisions in all; the last 50 steps have 800, whose standard deviation at chance is 0.018.
    assert 0.43 < last_training_accuracy(tmp_path) < 0.57
