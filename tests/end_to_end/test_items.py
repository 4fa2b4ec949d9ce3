"""A system of features, long sounds and no score trains, resumes, evaluates and reports on items, by the loop of all systems."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data.items import made
from end_to_end import here

from avc_jax import systems
from avc_jax.systems.base import Feature, System

UNITS = 8


def pooled_sound(batch):
    """f32[B, 4]: means of what sound there is, in quarters of its values."""
    if "waveform" in batch:
        sound = jnp.abs(batch["waveform"].astype(jnp.float32)) / 32768
        return sound.reshape(len(sound), 4, -1).sum(2) / jnp.maximum(batch["waveform_length"], 1)[:, None]
    return batch["spectrogram"].astype(jnp.float32).sum(2) / jnp.maximum(batch["spectrogram_length"], 1)[:, None] / 20


def make(config) -> System:
    """Two matrices, one for each modality, and InfoNCE over the batch; neither maps nor transfer nor a score."""
    sound = {"waveform": (round(config.data.window_s * config.audio.rate_hz),), "spectrogram": (
        made.BANDS, round(100 * config.data.window_s))}[config.data.sound]
    features = {config.data.sound: Feature(sound, {"waveform": "int16", "spectrogram": "float16"}[config.data.sound],
                                           modality="audio"),
                f"{config.data.sound}_length": Feature((), "int32"),
                "video": Feature((2 * made.WIDTH,), "float32", modality="video"), "video_length": Feature((), "int32")}

    def init(rng, batch):
        keys = jax.random.split(rng)
        return {"params": {"audio": {"kernel": jax.random.normal(keys[0], (4, UNITS))},
                           "video": {"kernel": jax.random.normal(keys[1], (2 * made.WIDTH, UNITS))}}}

    def embed(variables, batch):
        found = {}
        if config.data.sound in batch:
            found["audio"] = pooled_sound(batch) @ variables["params"]["audio"]["kernel"]
        if "video" in batch:
            found["video"] = batch["video"] @ variables["params"]["video"]["kernel"]
        return found

    def loss(variables, batch, rng):
        found = embed(variables, batch)
        logits = found["audio"] @ found["video"].T
        each = jax.nn.logsumexp(logits, 1) - jnp.diag(logits)
        return each.mean(), {}, {"loss": (each.sum(), jnp.float32(len(each)))}

    return System(features=features, init=init, loss=loss, embed=embed, common_space=True, similarity="dot")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(systems, "make", make)


def run(config, folder, steps: int, *, evaluate_only: bool = False) -> tuple[dict, str]:
    """results.json of a run, and what is on its page."""
    config.train.steps = steps
    return here.run(config, folder, evaluate_only=evaluate_only), (folder / "report.html").read_text()


def small_run(config):
    config.train.update(batch_size=8, log_every=5, checkpoint_every=5, compilation_cache=False)
    config.data.update(pairs_per_visit=4, together=True, decode_threads=2)
    config.evaluate.batch_size = 8
    config.optimizer.lr = 0.01
    config.data.quarantine_budget = 0.5
    return config


def test_published_features_train_resume_and_evaluate_at_another_length(small, tmp_path, capsys):
    root = made.write_howto100m(tmp_path / "films", films=8, seconds=30)
    (root / "list.csv").write_text("path,split\n" + "".join(
        f"food/{n}/film{n:07d},{'test' if n > 4 else 'train'}\n" for n in range(8)))
    (root / "food/0/film0000000_2d.npz").write_bytes(b"broken")
    config = small_run(made.config("howto100m", root, data__manifest="list.csv", data__captions="caption.json"))
    config.evaluate.window_s = 20.0
    found, page = run(config, tmp_path / "whole", 15)
    printed = capsys.readouterr().err
    assert found["train"]["step"] == 15 and found["data"]["quarantined"] == 1
    assert "No avc: l3net does not score" in printed and "No transfer: " in printed
    notes = {name: value["note"] for name, value in found["evaluate"].items() if "note" in value}
    assert {"avc", "transfer", "probe"} <= set(notes) and "does not score" in notes["avc"] and notes["avc"][12:-1] in page
    directions = found["evaluate"]["retrieval"]["trained"]["directions"]
    assert found["evaluate"]["retrieval"]["trained"]["clips"] == 3 and directions
    # A run in two parts ends where a run in one does.
    run(config, tmp_path / "parts", 7)
    again, _ = run(config, tmp_path / "parts", 15)
    assert again["train"]["params_sha256"] == found["train"]["params_sha256"]
    once_more, _ = run(config, tmp_path / "parts", 15, evaluate_only=True)
    assert once_more["evaluate"]["retrieval"]["trained"] == found["evaluate"]["retrieval"]["trained"]


def real_videos(shared, tmp_path) -> list[str]:
    """Random features of real videos, as avc_jax.features lays them out elsewhere; the lines of the manifest."""
    clips = shared / "data" / "clips" / "open"
    rng, rows = np.random.default_rng(0), ["path,split"]
    for number, video in enumerate(sorted(path for path in clips.iterdir() if path.suffix in (".mp4", ".mpg", ".avi", ".webm"))):
        rows.append(f"{video.name},{'test' if number % 3 == 0 else 'train'}")
        for name, rate in (("2d", 1.0), ("3d", 1.5)):
            features = rng.normal(size=(int(8 * rate), made.WIDTH)).astype(np.float16)
            np.savez(tmp_path / f"{video.stem}_{name}.npz", features=features)
    (tmp_path / "manifest.csv").write_text("\n".join([*rows, ""]))
    (tmp_path / "features.json").write_text(json.dumps({"videos": str(clips)}))
    return rows


def test_real_videos_with_features_train_with_sound_from_their_files(small, shared, tmp_path):
    rows = real_videos(shared, tmp_path)
    config = small_run(made.config("features", tmp_path, data__window_s=2.0, audio__rate_hz=8000))
    found, _ = run(config, tmp_path / "run", 10)
    assert found["train"]["step"] == 10 and found["data"]["quarantined"] == 0
    assert found["evaluate"]["retrieval"]["trained"]["clips"] == sum(",test" in row for row in rows)


def avlnet(source, root, **changes):
    """A small AVLnet with features of twelve numbers."""
    small = dict(system__embedding=16, system__trunk_width=1 / 16, system__video_width=2 * made.WIDTH, data__window_s=2.0,
                 audio__front_end="mel40", audio__rate_hz=16000)
    return small_run(made.config(source, root, system="avlnet", **small | changes))


@pytest.mark.slow
def test_avlnet_trains_on_published_features_with_captions(tmp_path):
    root = made.write_howto100m(tmp_path / "films", films=8, bands=40)
    (root / "list.csv").write_text("path,split\n" + "".join(
        f"food/{n}/film{n:07d},{'test' if n > 5 else 'train'}\n" for n in range(8)))
    rng, width = np.random.default_rng(0), 300
    words = [f"{word} {' '.join(map(str, rng.normal(size=width).round(3)))}" for word in made.WORDS]
    (root / "vectors.txt").write_text("\n".join([f"{len(words)} {width}", *words, ""]))
    config = avlnet("howto100m", root, system__variant="tri", data__manifest="list.csv", data__captions="caption.pickle",
                    data__word_vectors=str(root / "vectors.txt"), data__clip_choice="captions")
    found, _ = run(config, tmp_path / "run", 6)
    assert found["train"]["skipped_steps"] == 0 and found["data"]["quarantined"] == 0
    assert found["evaluate"]["retrieval"]["trained"]["clips"] == 2


@pytest.mark.slow
def test_avlnet_trains_on_real_videos_whose_sound_is_decoded(shared, tmp_path):
    real_videos(shared, tmp_path)
    found, _ = run(avlnet("features", tmp_path), tmp_path / "run", 6)
    assert found["train"]["skipped_steps"] == 0 and found["data"]["quarantined"] == 0


@pytest.mark.slow
def test_spoken_objectnet_trains_on_real_pictures_with_captions(shared, tmp_path):
    config = small_run(made.config(
        "spoken_captions", shared / "data" / "image_speech_synth", system="spoken_objectnet", data__manifest="pairs.csv",
        data__split_fractions=(0.6, 0.2, 0.2), data__window_s=2.0, data__frame_size=64, data__frame_short_side=72,
        audio__front_end="mel40", audio__rate_hz=16000, system__image_depth=18, system__image_width=1 / 16,
        system__audio_width=1 / 16))
    config.data.update(pairs_per_visit=1, together=False)
    found, _ = run(config, tmp_path / "run", 6)
    assert found["train"]["skipped_steps"] == 0 and found["data"]["quarantined"] == 0
    told = found["evaluate"]["retrieval"]["trained"]
    assert told["clips"] > 10
    asked = {name: (one["asked"], one["candidates"]) for name, one in told["directions"].items()}
    assert asked == {"sound to image": (told["clips"], told["clips"] // 6), "image to sound": (told["clips"] // 6, told["clips"])}
