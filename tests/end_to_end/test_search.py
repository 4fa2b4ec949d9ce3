"""The command that searches: a folder embedded once, asked many times; told in words where it cannot be."""

import itertools
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import media
import numpy as np
import pytest
from browser import wait
from end_to_end import command, here
from search import nets

from avc_jax import config as configs
from avc_jax.data.decode import MediaFile
from avc_jax.search import ask
from avc_jax.search import index as indexes
from avc_jax.search.network import Network


def search(*args, expect: int = 0) -> str:
    return here.call("avc_jax.search.__main__", *args, expect=expect)


def listed(printed: str) -> list[str]:
    """The names of the files that were found, in order."""
    return [Path(line.split(" s  ", 1)[1].split("  (")[0]).name
            for line in printed.splitlines() if re.match(r" +\d+ +-?\d", line)]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return nets.save(tmp_path_factory.mktemp("net") / "model")


@pytest.fixture(scope="module")
def index(net, videos, cache, tmp_path_factory):
    """An index of the twelve videos."""
    out = tmp_path_factory.mktemp("index") / "i"
    printed = command.run(cache, "index", f"--checkpoint={net}", f"--inputs={videos}", f"--out={out}", module="avc_jax.search")
    assert "12 files (12 embedded now, 0 known before, 0 dropped); 60 windows of audio, 72 windows of video." in printed
    return out


def test_an_index_is_asked_and_shown(index, videos, cache, tmp_path):
    page = tmp_path / "found.html"
    printed = command.run(cache, f"--index={index}", f"--ask={videos / 'a' / '03.mp4'}", "--as=sound", "--among=sounds",
                          "--at=1.0", "--top=5", f"--page={page}", module="avc_jax.search")
    found = listed(printed)
    # Its own sound is the nearest to itself.
    assert len(found) == 5 and found[0] == "03.mp4" and "(the file you asked with)" in printed.splitlines()[0]
    assert "   1.00 s  " in printed.splitlines()[0] and "Compared the sound with sounds of 12 files" in printed
    text = page.read_text()
    assert text.count("<audio ") == 6 and all(name in text for name in found)


def test_lists_are_made_and_used_where_there_are_more_windows_than_wished(index, videos, tmp_path):
    out = shutil.copytree(index, tmp_path / "i")
    printed = search("index", f"--out={out}", "--exact_rows=50")
    assert "audio: more than 50 windows" in printed and "video: more than 50" in printed
    assert "(0 embedded now, 12 known" in printed
    question = (f"--index={out}", f"--ask={videos / 'a' / '03.mp4'}", "--top=3")
    assert "approximate" not in search(*question, "--exact")
    assert len(listed(search(*question))) == 3
    assert len(list(out.glob("*.faiss"))) == 2


def test_bad_files_are_told_and_the_rest_is_found(net, videos, tmp_path):
    folder = tmp_path / "files"
    shutil.copytree(videos / "a", folder)
    media.text_file(folder / "bad.mp4")
    printed = search("index", f"--checkpoint={net}", f"--inputs={folder}", f"--out={tmp_path / 'i'}", expect=65)
    assert "1 of 7 files could not be read" in printed and "quarantine.jsonl" in printed
    assert "bad.mp4" in (tmp_path / "i" / "quarantine.jsonl").read_text()
    assert len(listed(search(f"--index={tmp_path / 'i'}", f"--ask={folder / '01.mp4'}"))) == 6


@pytest.mark.parametrize(("args", "code", "words"), [
    (("--index={index}",), 64, "--ask is missing"),
    (("--ask={videos}/a/01.mp4",), 66, "--index=: expected an index, found none"),
    (("--index={index}", "--ask={tmp}/none.wav"), 66, "--ask="),
    (("--index={index}", "--ask={videos}/a/01.mp4", "--as=smell"), 64, "as"),
    (("--index={index}", "--ask={videos}/a/01.mp4", "--at=99"), 65, "cannot be asked with"),
    (("--index={index}", "--ask={videos}/a/01.mp4", "--checkpoint={other}"), 64, "The index was made with step 7"),
    (("--index={index}", "--ask={videos}/a/01.mp4", "--checkpoint={tmp}"), 66, "--checkpoint="),
    (("indx", "--index={index}"), 64, "is no flag"),
    (("index", "--checkpoint={net}", "--inputs={videos}"), 64, "--out is missing"),
    (("index", "--checkpoint={net}", "--out={tmp}/i"), 66, "--inputs is missing"),
    (("index", "--inputs={videos}", "--out={tmp}/i"), 66, "--checkpoint="),
    (("index", "--checkpoint={apart}", "--inputs={videos}", "--out={tmp}/i"), 64, "l3net with config.system.head=ave"),
    (("index", "--checkpoint={other}", "--out={index}"), 64, "make another index in another folder"),
    (("index", "--checkpoint={net}", "--inputs={videos}", "--out={net}"), 64, "holds something that is no index")])
def test_bad_input_is_told_in_words_and_by_exit_code(index, net, videos, tmp_path, args, code, words):
    other, apart = tmp_path / "other", tmp_path / "apart"
    if any("{other}" in arg for arg in args):
        nets.save(other, seed=1)
    if any("{apart}" in arg for arg in args):
        nets.save(apart, system__head="l3")
    filled = [arg.format(index=index, net=net, videos=videos, tmp=tmp_path, other=other, apart=apart) for arg in args]
    assert words in search(*filled, expect=code)


def test_help_tells_both_uses():
    assert "--ask" in search("--help") and "--inputs" in search("index", "--help")


# Learning ---------------------------------------------------------------------------------------------------------------

SIZES = 8  # of the red and of the blue part of a picture
TRAINED, ASKED = 256, SIZES**2  # Clips to train on, and held-out ones.


def write_clip(path: Path, red: int, blue: int, rng: np.random.Generator) -> None:
    """A second of a picture that is red from the left and blue from the top, and of two tones: the low one says how far it is
    red, the high one how far it is blue."""
    picture = rng.uniform(0, 20, (64, 64, 3))
    picture[:, : 4 + 8 * red, 0] += 230
    picture[: 4 + 8 * blue, :, 2] += 230
    phase = 2 * np.pi * np.arange(16000) / 16000
    sound = np.sin(400 * 1.25**red * phase + rng.uniform(0, 6)) + np.sin(2500 * 1.15**blue * phase + rng.uniform(0, 6))
    media.write(path, pictures=[picture.astype(np.uint8)] * 5, times_s=[place / 5 for place in range(5)], fps=5, size=(64, 64),
                rate_hz=16000, sound=rng.uniform(0.1, 0.4) * sound + 0.003 * rng.normal(size=16000))


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    """Features of clips, as the command makes them, by a network that nobody has trained."""
    base, rng = tmp_path_factory.mktemp("learned"), np.random.default_rng(0)
    kinds = [("train", *kind) for kind in rng.integers(0, SIZES, (TRAINED, 2)).tolist()]
    kinds += [("test", *kind) for kind in itertools.product(range(SIZES), repeat=2)]
    rows = ["path,split"]
    (base / "clips").mkdir()
    for number, (split, red, blue) in enumerate(kinds):
        write_clip(base / "clips" / f"{number:03d}.mp4", red, blue, rng)
        rows.append(f"{number:03d}.mp4,{split}")
    (base / "clips" / "manifest.csv").write_text("\n".join(rows))
    here.call("avc_jax.features", f"--videos={base / 'clips'}", "--manifest=manifest.csv", f"--out={base / 'features'}",
              "--random_weights=0", "--streams=2d", "--depth_2d=18", "--width=0.125", "--spectrograms", "--batch_size=64")
    return base / "features"


class Asked(NamedTuple):
    """Held-out clips of a network, each asked for by the sound of its own.

    Attributes:
      index: of all of them.
      sounds: wav files, in the order of the clips.
      names: of the videos.
      found: the names that each sound lists.
    """

    index: Path
    sounds: list[Path]
    names: list[str]
    found: list[list[str]]


@pytest.fixture(scope="module")
def asked(features, tmp_path_factory) -> Asked:
    """A small AVLnet after some seconds of training, and what the sounds of its held-out clips find."""
    base = tmp_path_factory.mktemp("asked")
    config = configs.default("avlnet")
    config.system.update(embedding=64, trunk_width=1 / 16, video_width=64)
    config.data.update(root=str(features), manifest="manifest.csv", sound="spectrogram", streams="2d", clip_choice="whole",
                       window_s=1.0)
    config.train.update(batch_size=32, steps=300, checkpoint_every=300, evaluate_every=300)
    config.optimizer.update(lr=5e-3, schedule="cosine", weight_decay=0.0)
    config.evaluators.update(dict.fromkeys(config.evaluators, "off"))
    configs.check(config)
    here.run(config, base / "run")
    held = shutil.copytree(features, base / "held")
    lines = (held / "manifest.csv").read_text().splitlines()
    (held / "manifest.csv").write_text("\n".join([lines[0], *(line for line in lines if ",test," in line)]))
    search("index", f"--checkpoint={base / 'run'}", f"--inputs={held}", f"--out={base / 'index'}")
    index, network = indexes.load(base / "index"), Network(str(base / "run"), 0.0, 32)
    assert len(index.files) == ASKED
    sounds, found = [], []
    for number, entry in enumerate(index.files):
        with MediaFile(entry.path, video=False) as file:
            _, samples = file.stretch(file.span.start_s, file.span.start_s + 1.0, 16000)  # a window: what AAC pads makes another
        sounds.append(media.write(base / f"{number}.wav", sound=samples[:16000] / 32768, rate_hz=16000))
        question = ask.question(network, str(sounds[-1]), None, None, lambda: None)
        hits = ask.answer(index, question, network.model.system.directions).hits
        found.append([Path(index.files[hit.file].path).name for hit in hits])
    return Asked(base / "index", sounds, [Path(entry.path).name for entry in index.files], found)


@pytest.fixture
def path(asked, tmp_path) -> Path:
    """The page of a sound whose video is found, as the command writes it."""
    place = next(place for place, name in enumerate(asked.names) if name in asked.found[place])
    printed = search(f"--index={asked.index}", f"--ask={asked.sounds[place]}", f"--page={tmp_path / 'found.html'}")
    assert listed(printed) == asked.found[place] and f"Compared the sound with pictures of {ASKED} files" in printed
    (tmp_path / "own").write_text(asked.names[place])
    return tmp_path / "found.html"


@pytest.mark.slow
def test_the_sound_of_a_held_out_clip_finds_its_own_video_among_the_first_ten(asked):
    share = np.mean([name in found for name, found in zip(asked.names, asked.found, strict=True)])
    assert share >= 0.8, share  # chance is 10 / 64 = 0.16


@pytest.mark.slow
def test_the_page_shows_and_plays_the_own_video(opened, path):
    page = opened()
    titles = page.locator("#answer h3 .path").all_inner_texts()
    place = titles.index((path.parent / "own").read_text())
    assert len(titles) == 10 and place < 10
    card = page.locator("#answer .pair").nth(place)
    assert card.locator(".frame img").evaluate("(image) => image.naturalWidth") > 0
    card.locator("audio").evaluate("(audio) => { audio.loop = true; audio.play(); }")
    wait(page, f"document.querySelectorAll('#answer audio')[{place}].currentTime > 0.2")
    assert card.locator(".playhead").is_visible()
