"""AVLnet's spectrogram beside that of the release."""

import jax
import numpy as np
import pytest
from parity.vectors import Vectors

from avc_jax import audio

DECIBELS = 1e-3  # what the vectors' authors allow, absolute
BORDERS = {"reflect": "reflect", "constant": "zeros"}


@pytest.fixture(scope="module")
def vectors(shared) -> Vectors:
    return Vectors(shared / "vectors" / "avlnet" / "spectrogram.npz")


def mel40(wave: np.ndarray, border: str) -> np.ndarray:
    return np.asarray(jax.jit(lambda x: audio.mel40(x, border=BORDERS[border]))(wave[None].astype(np.float32)))[0]


@pytest.mark.parametrize("border", BORDERS)
def test_decibels_are_those_of_the_release(vectors, border):
    vectors.check(f"raw_{border}", mel40(vectors.input("wave"), border), atol=DECIBELS)


@pytest.mark.parametrize("border", BORDERS)
def test_a_scaled_sound_has_the_same_decibels(vectors, border):
    found = mel40(0.1 * vectors.input("wave"), border)
    vectors.check(f"scaled_{border}", found[:, :20], atol=DECIBELS)


@pytest.mark.parametrize("samples", [150, 399])
def test_sounds_shorter_than_a_window_are_as_in_the_release(vectors, samples):
    vectors.check(f"short{samples}_constant", mel40(vectors.input("wave")[:samples], "constant"), atol=DECIBELS)


def test_silence_and_no_sound_at_all_are_as_in_the_release(vectors):
    vectors.check("silence_constant", mel40(np.zeros(4000), "constant"), atol=DECIBELS)
    vectors.check("empty_constant", mel40(np.zeros(200), "constant"), atol=DECIBELS)  # it puts 200 zeros for an empty file


def test_mel_filters_are_those_of_the_release(vectors):
    vectors.check("mel_basis", audio._mel_filters(16000, 400, 40, False, 20.0))
