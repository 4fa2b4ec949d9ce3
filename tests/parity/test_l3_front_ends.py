"""Our front ends beside those that OpenL3 was trained with (kapre) and those that it offers besides (librosa)."""

import jax
import librosa
import numpy as np
import pytest
from parity.vectors import Vectors

from avc_jax import audio
from avc_jax import config as configs

DECIBELS = 1e-3  # what the vectors' authors allow, absolute


@pytest.fixture(scope="module")
def training(shared) -> Vectors:
    return Vectors(shared / "vectors" / "l3" / "frontends_training.npz")


@pytest.fixture(scope="module")
def openl3(shared) -> Vectors:
    return Vectors(shared / "vectors" / "l3" / "frontends_openl3.npz")


def front_end(waveform: np.ndarray, **keys) -> np.ndarray:
    """What the keys of the section audio make of f32[B, N]."""
    config = configs.default("l3net").audio
    for name, value in keys.items():
        config[name] = value
    return np.asarray(jax.jit(audio.front_end(config))(waveform))


def rows_of(training: Vectors) -> np.ndarray:
    wave = training.input("wave")
    return np.stack([wave, np.float32(0.3) * wave[::-1]])


def test_linear_amplitude_is_that_of_training(training):
    training.check("linear_amplitude", np.abs(audio.stft(rows_of(training), 512, 242, 512))[..., None])


def test_logarithm_is_that_of_training_with_windows_of_512_and_a_hop_of_242(training):
    found = front_end(rows_of(training), stft_window_s=512 / 48000, stft_hop_s=242 / 48000)
    training.check("linear_log", found[..., None])


@pytest.mark.parametrize("name", ["linear", "mel128", "mel256"])
def test_decibels_are_those_of_training(training, name):
    training.check(f"{name}_decibel", front_end(rows_of(training), front_end=name)[..., None], atol=DECIBELS)


@pytest.mark.parametrize("mels", [128, 256])
def test_mel_filters_are_those_of_training(training, mels):
    found = audio._mel_filters(48000, 2048, mels, True)
    wanted = training.meta["outputs"][f"mel{mels}_basis"]["shape"]
    training.check(f"mel{mels}_basis", found if list(found.shape) == wanted else found.T)


def test_int16_samples_are_scaled_as_in_training(training):
    values = np.array([-32768, -1, 0, 1, 32767], np.int16)
    np.testing.assert_allclose(values / np.float32(32768), training["out/pcm2float"], rtol=1e-6)


def test_linear_decibels_are_those_of_openl3(openl3):
    openl3.check("linear", front_end(openl3.input("wave")[None], front_end="linear")[0], atol=DECIBELS)


def test_decibels_of_a_quiet_sound_are_those_of_openl3(openl3):
    quiet = openl3.input("wave")[None] * np.float32(1e-4)
    openl3.check("linear_quiet", front_end(quiet, front_end="linear")[0], atol=DECIBELS)


def test_decibels_of_silence_are_those_of_openl3(openl3):
    found = front_end(np.zeros((1, 48000), np.float32), front_end="linear")[0]
    np.testing.assert_allclose(found[:3, :3], openl3["out/linear_silence"], atol=1e-5)
    np.testing.assert_allclose(found, 0, atol=1e-5)


LIBROSA = [("librosa", "constant"), ("librosa_reflect", "reflect")]


@pytest.mark.parametrize("mels", [128, 256])
@pytest.mark.parametrize(("form", "name"), LIBROSA)
def test_mel_decibels_of_librosa_are_those_of_openl3_but_for_the_area_of_the_filters(openl3, monkeypatch, mels, form, name):
    # These vectors were made with filters of equal height, against their own note and against what librosa does for OpenL3's
    # call, see below. All the rest is as in the vectors.
    monkeypatch.setattr(audio, "_mel_filters", lambda rate_hz, fft, mels, htk: librosa.filters.mel(
        sr=rate_hz, n_fft=fft, n_mels=mels, htk=htk, norm=None))
    openl3.check(f"mel{mels}_{name}", front_end(openl3.input("wave")[None], front_end=f"mel{mels}", mel_form=form)[0], DECIBELS)


@pytest.mark.parametrize("mels", [128, 256])
@pytest.mark.parametrize(("form", "name"), LIBROSA)
def test_mel_decibels_of_librosa_are_what_the_call_of_openl3_gives(openl3, mels, form, name):
    wave = openl3.input("wave")
    amplitude = librosa.feature.melspectrogram(y=wave, sr=48000, n_mels=mels, n_fft=2048, hop_length=242, center=True, power=1.0,
                                               pad_mode=name)
    wanted = librosa.power_to_db(S=amplitude, ref=1.0, amin=1e-10, top_db=80.0)
    found = front_end(wave[None], front_end=f"mel{mels}", mel_form=form)[0]
    np.testing.assert_allclose(found, wanted - wanted.max(), rtol=0, atol=DECIBELS)
