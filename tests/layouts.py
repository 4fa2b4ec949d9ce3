"""Tiny folders in the true layouts of the data sets."""

import json
import shutil
from pathlib import Path

import media
import numpy as np
import tiny
import torchfile
from PIL import Image

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


# Features and spoken captions ------------------------------------------------------------------------------------------------


def clip(number: int, *, pooled: str = "", frames: int = 120, **more) -> dict:
    """A record of a pickle: the first number of its rows is its own, and its spectrogram is a tensor, as in the release."""
    rows = {f"{stream}{pooled}": np.full(2048, number, np.float32) for stream in ("2d", "3d")}
    sound = np.full((40, frames), -number, np.float16)
    return {**rows, "audio": torchfile.Tensor(sound) if frames else None, "id": f"{number:011d}_{number}", **more}


def write_pickle(path: Path, clips: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(torchfile.pickled(clips))
    return path


def make_youcook2(root: Path) -> Path:
    """Two clips for training, two for validation, and the pickles of other sets beside them."""
    write_pickle(root / "youcook_train_audio.pkl", [clip(number, caption=f"stir bowl {number}") for number in (1, 2)])
    write_pickle(root / "youcook_val_audio.pkl", [clip(number, caption="serve") for number in (3, 4)])
    write_pickle(root / "youcook_val_sounds241.pkl", [clip(3, caption="serve")])
    write_pickle(root / "youcook_val_speech241.pkl", [clip(4, caption="serve")])
    make_crosstask(root)
    return make_msrvtt(root)


def make_msrvtt(root: Path) -> Path:
    """Clips with several captions; one for testing has no sound."""
    said = {"caption": ["a dog runs", "an animal"], "pooled": "_pooled"}
    write_pickle(root / "msrvtt_train.pkl", [clip(number, **said) for number in (5, 6)])
    write_pickle(root / "msrvtt_1k-A_train.pkl", [clip(number, **said) for number in (5, 6, 7)])
    write_pickle(root / "msrvtt_jsfusion_test.pkl", [clip(8, eval_caption="a cat", **said),
                                                     clip(9, eval_caption="a cow", frames=0, **said)])
    return root


def make_crosstask(root: Path) -> Path:
    write_pickle(root / "crosstask_clips_train.pkl", [clip(10, caption="cut"), clip(11, caption="fry")])
    write_pickle(root / "crosstask_clips_val.pkl", [clip(12, caption="eat")])
    return root


def make_youcook_japanese(root: Path) -> Path:
    for number, split in enumerate(("train", "val", "eval")):
        write_pickle(root / f"youcook_japanese_{split}.pkl", [clip(20 + number)])
    return root


def make_howto100m(root: Path) -> Path:
    """Three films of five seconds and what is said in two of them; the features of one lie in a folder of its own."""
    paths = ("food/video_a/aaaaaaaaaaa", "food/video_b/bbbbbbbbbbb", "pets/video_c/ccccccccccc/ccccccccccc")
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        np.savez(root / f"{path}_2d.npz", features=np.full((5, 2048), number, np.float16))
        np.savez(root / f"{path}_3d.npz", features=np.full((7, 2048), number, np.float16))
        np.savez(root / f"{path}_spec.npz", np.full((40, 500), -number, np.float16))
    said = {"start": [0.0, 2.5], "end": [2.5, 5.0], "text": ["take salt", "and stir"]}
    (root / "caption.json").write_text(json.dumps({"aaaaaaaaaaa": said, "bbbbbbbbbbb": said}))
    write(root / "paths.csv", "path", "food/video_a/aaaaaaaaaaa", "None/food/video_b/bbbbbbbbbbb", "pets/video_c/ccccccccccc")
    return root


def picture(path: Path, grey: int) -> Path:
    """Writes a small picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 18), (grey, grey, grey)).save(path)
    return path


def spoken(images: Path, wavs: Path, pairs: list[tuple[str, str]]) -> None:
    """Writes pictures and spoken captions (tones)."""
    for number, (image, wav) in enumerate(pairs):
        picture(images / image, 20 * number)
        tone(wavs / wav, hz=300 + 100 * number, seconds=0.3, rate_hz=16000)


def write_json_list(path: Path, pairs: list[tuple[str, str]], **more) -> Path:
    """A list as Places has it, with base paths of another machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"image": image, "wav": wav, "asr_text": f"what {wav} says", "speaker": "x", **more} for image, wav in pairs]
    path.write_text(json.dumps({"image_base_path": "/data/sls/images/", "audio_base_path": "/data/sls/audio/", "data": rows}))
    return path


def make_places_audio(root: Path) -> Path:
    """Two pictures for training, one for each other split, in three languages."""
    images = [f"a/abbey/{number}.jpg" for number in range(3)]
    english, hindi, japanese = (root / name for name in ("PlacesAudio_400k_distro", "PlacesHindi100k", "PlacesAudioJpn_100k"))
    pairs = {split: [(image, f"wavs/{split}/{image[8]}.wav") for image in own]
             for split, own in (("train", images[:2]), ("val", images[2:]))}
    for split, own in pairs.items():
        spoken(root / "images", english, own)
        write_json_list(english / "metadata" / f"{split}.json", own)
    for name in ("train", "dev_seen", "dev_unseen", "test_seen", "test_unseen"):
        write_json_list(english / "metadata" / f"{name}_2020.json", pairs["train" if name == "train" else "val"])
    for split, own in (("train", images[:2]), ("dev", images[2:]), ("test", images[2:])):
        named = [(image, f"wavs/hi_{split}_{image[8]}.wav") for image in own]
        spoken(root / "images", hindi, named)
        write_json_list(hindi / f"PlacesHindi100k_{split}.json", named)
    for split, own in (("train", images[:2]), ("valid", images[2:])):
        named = [(image, f"wav/ja_{split}_{image[8]}.wav") for image in own]
        spoken(root / "images", japanese, named)
        write(japanese / f"PlacesAudioJpn_100k_image2audio_{split}.txt", *(f"/{image} /{wav}" for image, wav in named))
    return root


def make_spoken_objectnet_50k(root: Path) -> Path:
    base = root / "Spoken-ObjectNet-50k"
    for number, split in enumerate(("train", "val", "test")):
        pairs = [(f"air_freshener/{split}.png", f"{split}{number}.wav")]
        spoken(root / "objectnet-1.0/images", base / "wavs", pairs)
        write_json_list(base / "metadata" / f"SON-{split}.json", pairs)
    return root


def make_flickr8k_audio(root: Path) -> Path:
    """A picture for each split and one that no list names, each with two captions."""
    lines = []
    for number, split in enumerate(("train", "dev", "test", "")):
        image = f"{number}_x.jpg"
        pairs = [(image, f"{number}_x_{caption}.wav") for caption in (0, 1)]
        spoken(root / "Flicker8k_Dataset", root / "flickr_audio/wavs", pairs)
        lines += [f"{wav} {image} #{caption}" for caption, (_, wav) in enumerate(pairs)]
        if split:
            write(root / "Flickr8k_text" / f"Flickr_8k.{split}Images.txt", image)
    write(root / "flickr_audio/wav2capt.txt", *lines)
    return root
