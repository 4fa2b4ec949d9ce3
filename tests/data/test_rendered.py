"""The rendered clips: deterministic, resumable, balanced; only the class joins picture and sound."""

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from scipy import stats

from avc_jax.data.rendered import NAMES, Recipe, label_of, nuisance_of, render_clip, render_folder, split_of
from avc_jax.errors import ConfigError

RECIPE = Recipe(seed=3, size=(40, 36), seconds=1.5, fps=8.0, rate_hz=16_000)
FOLDER = dict(num_clips=32, seed=3, size=(40, 36), seconds=1.5, fps=8.0, rate_hz=16_000, workers=0)


def decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return frames, sound


def rows_of(root: Path) -> list[dict[str, str]]:
    with open(root / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rendered")
    render_folder(root, **FOLDER)
    return root


def test_same_seed_same_clips_other_seed_others(folder, tmp_path):
    render_folder(tmp_path / "again", **FOLDER)
    render_folder(tmp_path / "other", **{**FOLDER, "seed": 4})
    for row in rows_of(folder)[::5]:
        frames, sound = decode(folder / row["path"])
        again = decode(tmp_path / "again" / row["path"])
        np.testing.assert_array_equal(frames, again[0])
        np.testing.assert_array_equal(sound, again[1])
        other = decode(tmp_path / "other" / row["path"])
        assert np.abs(frames.astype(int) - other[0]).mean() > 5.0
        assert np.abs(sound - other[1]).max() > 1e-3


def test_every_class_has_picture_and_sound_of_the_declared_length(folder):
    rows = rows_of(folder)
    assert {row["label"] for row in rows} == set(NAMES)
    assert len(NAMES) >= 12
    for row in rows[:len(NAMES)]:
        frames, sound = decode(folder / row["path"])
        assert frames.shape == (12, 36, 40, 3)
        assert 0 <= sound.size - 24_000 <= 1024, "AAC pads its last block only"
        assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 30, f"{row['label']} does not move"


def test_files_hold_what_was_rendered(folder):
    """The written picture and sound start together and are not shifted by the encoders' delays."""
    for index in (0, 7):
        frames, sound = render_clip(RECIPE, index)
        decoded, heard = decode(folder / f"videos/{index:06d}.mp4")
        assert np.abs(decoded.astype(int) - frames).mean() < 25.0
        heard = heard[:sound.size]
        lags = np.fft.irfft(np.fft.rfft(heard) * np.conj(np.fft.rfft(sound)))
        assert np.argmax(lags) == 0


@pytest.mark.parametrize("num_clips", [32, 330])
def test_splits_are_balanced_and_disjoint(num_clips):
    counts = {split: dict.fromkeys(NAMES, 0) for split in ("train", "test")}
    for index in range(num_clips):
        counts[split_of(index)][label_of(RECIPE, index)] += 1
    for of_class in counts.values():
        assert max(of_class.values()) - min(of_class.values()) <= 1
        assert min(of_class.values()) >= 1


def test_manifest_lists_every_clip_once(folder):
    paths = [row["path"] for row in rows_of(folder)]
    assert len(set(paths)) == len(paths) == 32
    assert sorted(paths) == sorted(f"videos/{p.name}" for p in (folder / "videos").iterdir())


def test_resume_renders_only_what_is_missing(tmp_path, capsys):
    render_folder(tmp_path, **FOLDER)
    videos = sorted((tmp_path / "videos").iterdir())
    wanted = decode(videos[3])
    kept = {path: path.stat().st_mtime_ns for path in videos}
    videos[3].unlink()
    (tmp_path / "videos" / ".000003.mp4.part").write_bytes(b"half a file")
    videos[9].write_bytes(videos[9].read_bytes()[:500])
    (tmp_path / "manifest.csv").unlink()
    capsys.readouterr()
    render_folder(tmp_path, **FOLDER)
    assert "rendered 2 clips" in capsys.readouterr().err
    assert sorted((tmp_path / "videos").iterdir()) == videos, "no temporary file is left"
    changed = [path for path in videos if path.stat().st_mtime_ns != kept[path]]
    assert changed == [videos[3], videos[9]]
    np.testing.assert_array_equal(decode(videos[3])[1], wanted[1])
    assert len(rows_of(tmp_path)) == 32


def test_folder_grows_with_more_clips(tmp_path, capsys):
    render_folder(tmp_path, **FOLDER)
    before = rows_of(tmp_path)
    capsys.readouterr()
    render_folder(tmp_path, **{**FOLDER, "num_clips": 35})
    assert "rendered 3 clips" in capsys.readouterr().err
    assert rows_of(tmp_path)[:32] == before


def test_another_recipe_is_refused(folder):
    with pytest.raises(ConfigError, match=r"seed is 3 there and 5 here"):
        render_folder(folder, **{**FOLDER, "seed": 5})
    with pytest.raises(ConfigError, match=r"fps is 8.0 there"):
        render_folder(folder, **{**FOLDER, "fps": 10.0})


def test_bad_arguments_and_foreign_folders_are_refused(tmp_path):
    for bad in (dict(num_clips=10), dict(size=(41, 36)), dict(rate_hz=12_345), dict(seconds=0.5),
                dict(seed=-1)):
        with pytest.raises(ConfigError):
            render_folder(tmp_path / "new", **{**FOLDER, **bad})
    assert not (tmp_path / "new").exists()
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "mine.mp4").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"no recipe\.json"):
        render_folder(tmp_path, **FOLDER)


def test_no_window_is_silent_and_all_levels_lie_in_one_range():
    for index in range(2 * len(NAMES)):
        sound = render_clip(RECIPE, index)[1]
        pieces = sound[:sound.size // 320 * 320].reshape(-1, 320)
        assert np.abs(pieces).max(axis=1).min() > 1e-5
        level = 20.0 * np.log10(np.sqrt(np.mean(np.square(sound))))
        assert -36.5 < level < -21.5
        assert np.abs(sound).max() <= 1.0


def _numbers(nuisance) -> dict[str, float]:
    """The nuisance's numbers by name, colours and positions as several."""
    numbers = {}
    for field in dataclasses.fields(nuisance):
        value = getattr(nuisance, field.name)
        if field.name == "detail_seed" or isinstance(value, str):
            continue
        for k, part in enumerate(value if isinstance(value, tuple) else (value,)):
            numbers[f"{field.name}{k}"] = float(part)
    return numbers


def test_picture_and_sound_share_no_nuisance():
    """Rank correlations over 400 clips stay within what chance gives for this many pairs."""
    drawn = [nuisance_of(RECIPE, index) for index in range(400)]
    pictures = np.array([list(_numbers(picture).values()) for picture, _ in drawn])
    sounds = np.array([list(_numbers(sound).values()) for _, sound in drawn])
    labels = np.array([NAMES.index(label_of(RECIPE, index)) for index in range(400)])
    within = stats.spearmanr(np.column_stack([pictures, sounds])).statistic
    across = within[:pictures.shape[1], pictures.shape[1]:]
    assert across.shape[0] >= 20
    assert across.shape[1] == 8
    assert np.abs(across).max() < 0.2, "4 standard errors; the largest of about 250 pairs"
    for column in np.column_stack([pictures, sounds]).T:
        groups = [column[labels == k] for k in range(len(NAMES))]
        assert stats.kruskal(*groups).pvalue > 1e-4, "the class tells no nuisance"


def test_workers_are_spawned_without_the_callers_imports(tmp_path):
    """An unguarded script whose own import fails in a child renders on two processes all the same."""
    script = tmp_path / "script.py"
    script.write_text("import os, sys\n"
                      "assert os.environ.setdefault('SCRIPT_PID', str(os.getpid())) == str(os.getpid())\n"
                      "from avc_jax.data.rendered import render_folder\n"
                      "assert not {'jax', 'tensorflow', 'flax'} & set(sys.modules)\n"
                      f"render_folder({str(tmp_path / 'clips')!r}, **{ {**FOLDER, 'workers': 2}!r})\n")
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "rendered 32 clips" in done.stderr
    assert len(rows_of(tmp_path / "clips")) == 32
