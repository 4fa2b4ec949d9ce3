"""Tiny folders in the true layouts of the data sets."""

import shutil
from pathlib import Path

import media
import numpy as np
import tiny

from avc_jax.datasets import dcase2013_scenes, esc50

ESC50_COLUMNS = "filename,fold,target,category,esc10,src_file,take"
KINETICS_COLUMNS = "label,youtube_id,time_start,time_end,split,is_cc"


def tone(path: Path, *, hz: float = 440.0, seconds: float = 0.05, rate_hz: int = 8000, **kind) -> Path:
    """Writes a short sine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    return media.write(path, sound=sound, rate_hz=rate_hz, **kind)


def write(path: Path, *lines: str) -> Path:
    """Writes lines of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def make_esc50(root: Path) -> Path:
    """Two classes in each of the five folds; dog is of ESC-10, airplane is not."""
    rows = []
    for fold in range(1, 6):
        for label in ("dog", "airplane"):
            target = esc50.CLASSES.index(label)
            name = f"{fold}-{1000 + fold}-A-{target}.wav"
            rows.append(f"{name},{fold},{target},{label},{label == 'dog'},{1000 + fold},A")
            tone(root / "audio" / name, hz=300 * fold + 50 * len(label), rate_hz=44100)
    write(root / "meta" / "esc50.csv", ESC50_COLUMNS, *rows)
    return root


def make_dcase2013_scenes(root: Path) -> Path:
    """Ten recordings per class and part."""
    for number, part in enumerate(dcase2013_scenes.PARTS):
        for place, label in enumerate(dcase2013_scenes.CLASSES):
            for take in range(dcase2013_scenes.PER_CLASS):
                tone(root / part / f"{label}{3 * take + 1 + number:02d}.wav", hz=200 + 100 * place + 10 * take + 5 * number,
                     seconds=0.02, layout="stereo")
    return root


def make_kinetics_sounds(root: Path) -> Path:
    """Five clips of the classes and one of another; one video is replaced, one not cut, one in a folder of its class."""
    root.mkdir(parents=True, exist_ok=True)
    video = tiny.write_video(root / "video.mp4", 1, seconds=0.2)
    for path in ("train/aaaaaaaaaaa_000010_000020.mp4", "train/bowling/bbbbbbbbbbb_000000_000010.mp4",
                 "val/ccccccccccc_000003_000013.mp4", "test/ddddddddddd.mp4", "test/eeeeeeeeeee_000001_000011.mp4",
                 "replacement/replacement_for_corrupted_k400/aaaaaaaaaaa_000010_000020.mp4",
                 "train/fffffffffff_000001_000011.mp4"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, root / path)
    video.unlink()
    lists = root / "annotations"
    write(lists / "train.csv", KINETICS_COLUMNS, '"playing drums",aaaaaaaaaaa,10,20,train,0', "bowling,bbbbbbbbbbb,0,10,train,0",
          "yoga,fffffffffff,1,11,train,0")
    write(lists / "val.csv", KINETICS_COLUMNS, "mowing lawn,ccccccccccc,3,13,val,0")
    write(lists / "test.csv", KINETICS_COLUMNS, "bowling,ddddddddddd,7,17,test,0", "stomping grapes,eeeeeeeeeee,1,11,test,0")
    return root


def make_flickr_soundnet(root: Path, videos: int = 12) -> Path:
    """A list of addresses and numbers, and a video for each."""
    root.mkdir(parents=True, exist_ok=True)
    video = tiny.write_video(root / "video.mp4", 1, seconds=0.2)
    lines = []
    for number in range(9000, 9000 + videos):
        lines.append(f"http://www.flickr.com/videos/47762553@N00/{number}/play/orig/8461e78d0d" if number % 2 else str(number))
        (root / "videos").mkdir(exist_ok=True)
        shutil.copy(video, root / "videos" / f"{number}.mp4")
    video.unlink()
    write(root / "urls_public.txt", *lines)
    return root


def make_labelled_audio(root: Path) -> Path:
    """Sounds of several codecs and rates, one of them in two rows."""
    for place, (name, rate_hz) in enumerate({"a.wav": 8000, "deep/b.flac": 16000, "c.mp3": 44100}.items()):
        tone(root / name, hz=400 + 200 * place, seconds=0.4, rate_hz=rate_hz)
    write(root / "labels.csv", "path,label,fold,start_s,end_s", "a.wav,low,1,,0.1", "a.wav,low,2,0.1,0.3", "deep/b.flac,high,1,,",
          "c.mp3,high,2,,")
    return root


def make_labelled_media(root: Path) -> Path:
    """Two videos, one of them in two rows."""
    for number, name in enumerate(("a.mp4", "deep/b.mkv")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        tiny.write_video(root / name, number, seconds=0.4)
    write(root / "labels.csv", "path,label,split,start_s,end_s", "a.mp4,dog,train,,0.2", "a.mp4,dog,train,0.2,",
          "deep/b.mkv,cat,test,,")
    return root
