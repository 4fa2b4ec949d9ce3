"""The published networks built in Keras with random weights, saved as Keras saves them, converted, and asked the same."""

import json

import jax
import numpy as np
import pytest

from avc_jax import audio, convert, model

keras = pytest.importorskip("keras")

CHANNELS = (64, 128, 256, 512)


def tower(name: str, shape: tuple[int, ...], *, cut: bool) -> "keras.Model":
    """OpenL3's tower: cut off after conv4_2, or with all that follows up to the pooled vector."""
    layers = keras.layers
    x = given = layers.Input(shape)
    x = layers.BatchNormalization()(x)
    for block, channels in enumerate(CHANNELS, start=1):
        for place in (1, 2):
            last = (block, place) == (4, 2)
            x = layers.Conv2D(channels, 3, padding="same", name=f"{name}_embedding_layer" if last else None)(x)
            if last and cut:
                return keras.Model(given, x)
            odd = name == "vision" and (block, place) == (1, 2)  # ReLU first
            for layer in ([layers.ReLU(), layers.BatchNormalization()] if odd else [layers.BatchNormalization(), layers.ReLU()]):
                x = layer(x)
        if block < 4:
            x = layers.MaxPooling2D(2, padding="same" if name == "vision" else "valid")(x)
    return keras.Model(given, layers.Flatten()(layers.MaxPooling2D(x.shape[1:3])(x)), name=f"{name}_model")


def whole() -> "keras.Model":
    """Both towers and the fusion."""
    layers = keras.layers
    picture, sound = layers.Input((224, 224, 3)), layers.Input((257, 197, 1))
    pooled = [tower("vision", picture.shape[1:], cut=False)(picture), tower("audio", sound.shape[1:], cut=False)(sound)]
    both = layers.Concatenate()(pooled)
    return keras.Model([picture, sound], layers.Dense(2, activation="softmax")(layers.Dense(128, activation="relu")(both)))


def with_random_weights(network: "keras.Model", seed: int) -> "keras.Model":
    rng = np.random.default_rng(seed)
    for weight in network.weights:
        noise = rng.normal(size=weight.shape)
        value = {"kernel": noise * np.sqrt(2 / np.prod(weight.shape[:-1])), "gamma": 1 + 0.1 * noise,
                 "moving_variance": 1 + 0.1 * np.abs(noise)}.get(weight.name, 0.1 * noise)
        weight.assign(value)
    return network


def converted(network: "keras.Model", path, out) -> model.Model:
    network.save(path)
    return model.load(convert.convert("l3net", str(path), str(out)))


def close(found, wanted) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_an_embedding_network_of_sounds_converts_to_the_same_embeddings(tmp_path, monkeypatch):
    network = with_random_weights(tower("audio", (128, 199, 1), cut=True), 0)
    spectrogram = np.random.default_rng(1).uniform(-2, 2, (2, 128, 199)).astype(np.float32)
    monkeypatch.setattr(audio, "front_end", lambda config: lambda waveform: spectrogram[:len(waveform)])
    made = converted(network, tmp_path / "openl3_audio_mel128_music.h5", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "model.json").read_text())["source_kind"] == "openl3_audio_mel128"
    batch = {"waveform": np.zeros((2, 48000), np.int16)}
    wanted = np.asarray(network(spectrogram[..., None]))
    close(jax.jit(made.system.embed)(made.variables, batch)["audio"], wanted.max((1, 2)))
    pooled = wanted.reshape(2, 4, 4, 3, 8, 512).max((2, 4)).reshape(2, 6144)
    close(jax.jit(made.system.transfer)(made.variables, batch)["audio"], pooled)


def test_an_embedding_network_of_images_converts_to_the_same_embeddings(tmp_path):
    tower("vision", (224, 224, 3), cut=True)  # so that the next one's layers have other numbers
    network = with_random_weights(tower("vision", (224, 224, 3), cut=True), 2)
    made = converted(network, tmp_path / "weights.h5", tmp_path / "out")
    frame = np.random.default_rng(3).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    wanted = np.asarray(network(frame / np.float32(127.5) - 1))
    close(made.embed(frame=frame)["video"], wanted.max((1, 2)))
    pooled = wanted.reshape(2, 4, 7, 4, 7, 512).max((2, 4)).reshape(2, 8192)
    close(jax.jit(made.system.transfer)(made.variables, {"frame": frame})["video"], pooled)


@pytest.mark.slow
def test_a_whole_network_converts_to_the_same_scores(tmp_path, monkeypatch):
    network = with_random_weights(whole(), 4)
    spectrogram = np.random.default_rng(5).uniform(-2, 2, (2, 257, 197)).astype(np.float32)
    monkeypatch.setattr(audio, "front_end", lambda config: lambda waveform: spectrogram[:len(waveform)])
    made = converted(network, tmp_path / "cnn_L3_kapredbinputbn.h5", tmp_path / "out")
    assert made.missing_modalities == ()
    frame = np.random.default_rng(6).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    wanted = np.asarray(network([frame / np.float32(127.5) - 1, spectrogram[..., None]]))
    batch = {"frame": frame, "waveform": np.zeros((2, 48000), np.int16)}
    close(jax.jit(made.system.score)(made.variables, batch), wanted[:, 1])
    assert not np.allclose(wanted, 0.5, atol=1e-3)
