"""What the end-to-end tests share: a folder of videos, a cache of compiled programs, one finished run."""

import csv
import os

import media
import pytest
from end_to_end import command

from avc_jax.data.rendered import render_folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Compiled programs, shared (by parallel test processes too) so that only the first run of each shape compiles."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Twelve good videos of a tone and a moving picture, in folders below the root."""
    root = tmp_path_factory.mktemp("videos")
    for index in range(12):
        folder = root / ("a" if index % 2 else "b/c")
        folder.mkdir(parents=True, exist_ok=True)
        media.tone_video(folder / f"{index:02d}.mp4", seconds=2.5, tone_hz=200 + 100 * index)
    return root


@pytest.fixture(scope="session")
def finished(videos, cache, tmp_path_factory):
    """The workdir of an unbroken run of 60 steps."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    command.run(cache, *command.TINY, f"--workdir={workdir}", f"--config.data.root={videos}", "--config.train.steps=60",
                "--config.train.checkpoint_every=7", "--config.train.evaluate_every=20")
    return workdir


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """64 small rendered clips; a manifest holds half of them out, and puts the 16 classes together to four."""
    folder = tmp_path_factory.mktemp("rendered")
    render_folder(folder, num_clips=64, size=(48, 40), seconds=1.6, fps=5.0, workers=0)
    with open(folder / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["label"] for row in rows})
    four = [(row["path"], "train" if place < 32 else "test", "abcd"[names.index(row["label"]) // 4])
            for place, row in enumerate(rows)]
    with open(folder / "four.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "split", "label"), *four])
    return folder
