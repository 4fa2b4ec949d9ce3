"""Voices: espeak-ng where it is installed, else words made of tones.

The made words serve tests and machines without espeak-ng: each word of a language is a fixed row of syllables with formants of
its own, and a voice changes pitch, tempo and the size of the throat, but not the word.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import shutil
import subprocess

import numpy as np

from avc_jax.errors import MissingInputError

RATE_HZ = 22_050  # what espeak-ng speaks at
KINDS = ("espeak-ng", "tones")
_VARIANTS = ("m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f4", "f5")
_TAU = 2.0 * np.pi


@dataclasses.dataclass(frozen=True)
class Voice:
    """Who speaks.

    Attributes:
      variant: one of espeak-ng's voices, male or female.
      speed: words a minute.
      pitch: 0 to 99.
    """

    variant: str
    speed: int
    pitch: int


def draw_voice(rng: np.random.Generator) -> Voice:
    """Draws a voice."""
    return Voice(str(rng.choice(_VARIANTS)), int(rng.integers(165, 211)), int(rng.integers(25, 76)))


def available() -> str:
    """The best kind of speech that there is on this machine."""
    return "espeak-ng" if shutil.which("espeak-ng") else "tones"


@functools.cache
def version(kind: str) -> str:
    """What fixes the sound of a kind of speech.

    Raises:
      MissingInputError: it is espeak-ng, which is not installed.
    """
    if kind == "tones":
        return "1"
    said = _espeak(["--version"]).decode()
    return (re.search(r"\d+(\.\d+)+", said) or [said.strip()])[0]


def speak(text: str, language: str, voice: Voice, kind: str, longest_s: float) -> np.ndarray:
    """f32[n] at RATE_HZ, peak 1: a sentence, at most `longest_s` long; the voice hurries where it has to."""
    say = _speak_espeak if kind == "espeak-ng" else _speak_tones
    for _ in range(4):
        sound = _trimmed(say(text, language, voice))
        if len(sound) <= longest_s * RATE_HZ:
            break
        voice = dataclasses.replace(voice, speed=int(np.ceil(voice.speed * 1.03 * len(sound) / (longest_s * RATE_HZ))))
    return sound[:int(longest_s * RATE_HZ)]


def _trimmed(sound: np.ndarray) -> np.ndarray:
    """Without the silence before and after."""
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    sound = sound[loud[0]:loud[-1] + 1]
    return (sound / np.abs(sound).max()).astype(np.float32)


def _espeak(arguments: list[str]) -> bytes:
    try:
        return subprocess.run(["espeak-ng", *arguments], capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise MissingInputError("espeak-ng is not installed: install it, or take --speech=tones.") from None
    except subprocess.CalledProcessError as error:
        raise MissingInputError(f"espeak-ng fails: {error.stderr.decode(errors='replace').strip()}. Its voices may be missing; "
                                "--speech=tones needs none.") from error


def _speak_espeak(text: str, language: str, voice: Voice) -> np.ndarray:
    wav = _espeak(["-v", f"{language}+{voice.variant}", "-s", str(voice.speed), "-p", str(voice.pitch), "--stdout", "--", text])
    # The header of a stream cannot know its length: samples are whatever follows "data" and four bytes.
    return np.frombuffer(wav[wav.index(b"data") + 8:], "<i2").astype(np.float32) / 32768.0


def _speak_tones(text: str, language: str, voice: Voice) -> np.ndarray:
    throat = 1.18 if voice.variant.startswith("f") else 1.0
    throat *= 1.0 + 0.015 * (int(voice.variant[1:]) - 3)
    f0_hz = (105.0 if voice.variant.startswith("m") else 190.0) * (0.75 + voice.pitch / 100.0)
    tempo = voice.speed / 175.0
    pieces = []
    for word in text.split():
        pieces += [_syllable(syllable, f0_hz, throat, tempo) for syllable in _syllables(language, word)]
        pieces.append(np.zeros(int(0.04 * RATE_HZ / tempo)))
    return np.concatenate(pieces)


@dataclasses.dataclass(frozen=True)
class _Syllable:
    """Seconds at tempo 1; three formants in Hz where it begins and where it ends; the middle of its consonant's noise in Hz."""

    seconds: float
    begin: tuple[float, ...]
    end: tuple[float, ...]
    noise_hz: float


@functools.cache
def _syllables(language: str, word: str) -> tuple[_Syllable, ...]:
    """The syllables of a word, drawn from a hash of it: the same at all times and everywhere."""
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(f"{language} {word}".encode()).digest(), np.uint32))

    def formants() -> tuple[float, ...]:
        return tuple(float(rng.uniform(*span)) for span in ((260, 850), (850, 2300), (2400, 3300)))

    return tuple(_Syllable(float(rng.uniform(0.11, 0.19)), formants(), formants(), float(rng.uniform(1500, 6500)))
                 for _ in range(2 if len(word) < 6 else 3))


def _syllable(own: _Syllable, f0_hz: float, throat: float, tempo: float) -> np.ndarray:
    """f64[n]: a burst of noise, and harmonics under formants that glide."""
    count = int(own.seconds / tempo * RATE_HZ)
    along = np.linspace(0.0, 1.0, count)
    phase = _TAU * np.cumsum(f0_hz * (1.08 - 0.16 * along)) / RATE_HZ
    sound = np.zeros(count)
    for harmonic in range(1, int(5000.0 / f0_hz)):
        gain = sum(1.0 / (1.0 + np.square((harmonic * f0_hz / throat - (a + (b - a) * along)) / 90.0))
                   for a, b in zip(own.begin, own.end, strict=True))
        sound += gain * np.sin(harmonic * phase) / np.sqrt(harmonic)
    rng = np.random.default_rng(int(own.noise_hz * 1000))
    burst = rng.standard_normal(count) * np.cos(_TAU * own.noise_hz * throat * np.arange(count) / RATE_HZ)
    return sound * np.sqrt(np.sin(np.pi * along)) + 1.5 * burst * np.exp(-along / 0.06)
