"""The sounds of a rendered clip: its nuisance, one synthesiser per class, the room and the background noise.

Every sound is continuous or repeats well within a second, so any one-second window shows its class. Waveforms
are [N] float arrays at `rate` samples per second. Nothing in this module knows about the clip's picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

Array = np.ndarray
Strike = Callable[[int, Array], Array]
TAU = 2.0 * np.pi


@dataclasses.dataclass(frozen=True)
class SoundNuisance:
    """All that varies between the sounds of one class."""

    pitch: float  # within [0, 1]: from the low to the high end of the class's range
    tempo: float  # within [0, 1]: from slow to fast
    phase: float  # within [0, 1]: where in its period the sound starts
    loudness_db: float  # RMS over the clip, relative to full scale
    noise_db: float  # RMS of the background noise, relative to the sound
    noise_slope: float  # exponent of its amplitude spectrum: 0 white, -1 pink-brown
    reverb_seconds: float
    reverb_share: float
    detail_seed: int  # jitter, noise


def draw_sound_nuisance(rng: np.random.Generator) -> SoundNuisance:
    """Draws the nuisance of one sound; no argument tells the class, so none of it can."""
    u = rng.uniform
    return SoundNuisance(pitch=u(), tempo=u(), phase=u(), loudness_db=u(-36.0, -22.0),
                         noise_db=u(-34.0, -20.0), noise_slope=u(-1.2, 0.3), reverb_seconds=u(0.03, 0.25),
                         reverb_share=u(0.03, 0.3), detail_seed=int(rng.integers(2**31)))


class Score:
    """What a synthesiser may use: the clip's length, the nuisance scaled to its class, and building blocks.

    Attributes:
      rate: samples per second.
      t: [N], the time of each sample in seconds.
      rng: generator for the details of this clip, of the sound's own stream.
    """

    def __init__(self, nuisance: SoundNuisance, num_samples: int, rate: int):
        self.nuisance, self.rate = nuisance, rate
        self.t = np.arange(num_samples) / rate
        self.rng = np.random.default_rng(nuisance.detail_seed)

    def hz(self, low: float, high: float) -> float:
        """The clip's pitch within a range of frequencies, even in octaves."""
        return low * (high / low) ** self.nuisance.pitch

    def period(self, slow: float, fast: float) -> float:
        """The clip's period in seconds, between `slow` and `fast`."""
        return slow * (fast / slow) ** self.nuisance.tempo

    def noise(self, low: float, high: float) -> Array:
        """Noise of unit RMS within a band, its edges about a third of an octave wide."""
        return shaped_noise(self.rng, self.t.size, self.rate,
                            lambda f: 1.0 / (1.0 + (low / f) ** 8) / (1.0 + (f / high) ** 8))

    def strikes(self, period: float, length: float, strike: Strike, jitter: float = 0.03) -> Array:
        """Adds up `strike(k, tau)`, for k = 0, 1, ..., one `period` apart, each `length` seconds long.

        `tau` is the time since the onset, [length * rate]; the first onset lies before the clip's start.
        """
        tau = np.arange(int(length * self.rate)) / self.rate
        before = tau.size + int(period * self.rate)
        wave = np.zeros(self.t.size + before + tau.size)
        onset, k = self.nuisance.phase * period, 0
        while onset * self.rate < self.t.size + before:
            at = int(onset * self.rate)
            wave[at:at + tau.size] += strike(k, tau)
            onset += period * max(0.2, 1.0 + jitter * self.rng.standard_normal())
            k += 1
        return wave[before:before + self.t.size]


def shaped_noise(rng: np.random.Generator, num_samples: int, rate: int,
                 gain: Callable[[Array], Array]) -> Array:
    """[num_samples] noise of unit RMS whose amplitude spectrum is `gain(frequency in Hz)`."""
    padded = 1 << (num_samples - 1).bit_length()
    frequency = np.fft.rfftfreq(padded, 1.0 / rate)
    frequency[0] = frequency[1]
    spectrum = np.fft.rfft(rng.standard_normal(padded, dtype=np.float32)) * gain(frequency)
    wave = np.fft.irfft(spectrum, padded)[:num_samples]
    return wave / np.sqrt(np.mean(np.square(wave)))


def _decay(tau: Array, seconds: float, attack: float = 0.002) -> Array:
    """An envelope that rises within `attack` seconds and falls by 1 / e in `seconds`."""
    return np.exp(-tau / seconds) * np.clip(tau / attack, 0.0, 1.0)


def thuds(s: Score) -> Array:
    """Bounces: a low tone that falls in pitch, dull."""
    top = s.hz(130.0, 260.0)

    def strike(k: int, tau: Array) -> Array:
        phase = TAU * (0.45 * top * tau + 0.55 * top * 0.04 * (1.0 - np.exp(-tau / 0.04)))
        return np.sin(phase) * _decay(tau, 0.07)

    return s.strikes(s.period(0.42, 0.26), 0.35, strike)


def tolls(s: Score) -> Array:
    """A bell: inharmonic partials that ring on."""
    f0 = s.hz(420.0, 900.0)
    partials = ((0.5, 0.4, 0.5), (1.0, 1.0, 0.4), (1.19, 0.7, 0.35), (1.5, 0.5, 0.3), (2.0, 0.8, 0.3),
                (2.74, 0.5, 0.22), (3.76, 0.4, 0.16), (5.1, 0.3, 0.12))

    tau = np.arange(int(1.2 * s.rate)) / s.rate
    stroke = sum(a * np.sin(TAU * f0 * r * tau) * _decay(tau, d) for r, a, d in partials)
    return s.strikes(s.period(0.6, 0.4), 1.2, lambda k, _: stroke)


def wail(s: Score) -> Array:
    """A siren: harmonics that sweep up and down."""
    centre, period = s.hz(600.0, 1100.0), s.period(0.8, 0.4)
    sweep = np.sin(TAU * (s.t / period + s.nuisance.phase))
    phase = TAU * np.cumsum(centre * 1.55 ** sweep) / s.rate
    return np.sin(phase) + 0.5 * np.sin(2.0 * phase) + 0.35 * np.sin(3.0 * phase)


def chirps(s: Score) -> Array:
    """Birdsong: short whistles high up, swooping down and up in turn."""
    top = s.hz(2600.0, 4600.0)

    def strike(k: int, tau: Array) -> Array:
        bend = 0.45 * np.cos(TAU * tau / 0.07) * (1.0 if k % 3 else -1.0)
        return np.sin(TAU * np.cumsum(top * (1.0 + bend)) / s.rate) * np.sin(np.pi * tau / 0.085) ** 2

    return s.strikes(s.period(0.19, 0.11), 0.085, strike, jitter=0.12)


def rumble(s: Score) -> Array:
    """An engine: a rich saw-tooth, low and rough."""
    f0 = s.hz(65.0, 140.0) * (1.0 + 0.03 * np.sin(TAU * (1.3 * s.t + s.nuisance.phase)))
    phase = np.cumsum(f0) / s.rate
    cycle = sum(np.sin(TAU * k * np.arange(4096) / 4096) / k ** 0.8 for k in range(1, 19))
    wave = cycle[(4096.0 * phase).astype(int) % 4096]
    return wave * (1.0 + 0.35 * np.sin(TAU * phase / 4.0)) + 0.15 * s.noise(200.0, 2500.0)


def downpour(s: Score) -> Array:
    """Rain: steady bright noise with fine drops."""
    low = s.hz(1200.0, 2400.0)
    drops = (s.rng.random(s.t.size) < 60.0 / s.rate) * s.rng.uniform(2.0, 6.0, s.t.size)
    drops = np.convolve(drops, np.hanning(max(3, s.rate // 2000)))[:s.t.size] * s.noise(low, 6500.0)
    return s.noise(low, 6500.0) + drops


def ticks(s: Score) -> Array:
    """A clock: very short woody clicks, tick and tock."""
    f0 = s.hz(1500.0, 2900.0)

    def strike(k: int, tau: Array) -> Array:
        f = f0 * (1.0, 0.72)[k % 2]
        return (np.sin(TAU * f * tau) + 0.6 * np.sin(TAU * 1.83 * f * tau)) * _decay(tau, 0.004, 0.0004)

    return s.strikes(s.period(0.36, 0.2), 0.04, strike, jitter=0.004)


def beats(s: Score) -> Array:
    """A snare drum: modes of a membrane under a burst of noise."""
    f0 = s.hz(140.0, 260.0)
    hiss = s.noise(700.0, 6000.0)

    def strike(k: int, tau: Array) -> Array:
        skin = sum(np.sin(TAU * f0 * r * tau) for r in (1.0, 1.59, 2.14, 2.3)) * _decay(tau, 0.06)
        start = int(s.rng.integers(hiss.size - tau.size))
        return skin + 1.3 * hiss[start:start + tau.size] * _decay(tau, 0.07)

    return s.strikes(s.period(0.36, 0.2), 0.3, strike)


def whistle(s: Score) -> Array:
    """A flute: a nearly pure tone with vibrato and breath, stepping from note to note."""
    f0, period = s.hz(450.0, 1100.0), s.period(0.6, 0.3)
    step = np.floor(s.t / period + s.nuisance.phase).astype(int)
    scale = np.array([0, 2, 4, 7, 9, 12])[s.rng.integers(6, size=step[-1] + 1)] - 5
    into = np.mod(s.t / period + s.nuisance.phase, 1.0)
    f = f0 * 2.0 ** (scale[step] / 12.0) * (1.0 + 0.014 * np.sin(TAU * 5.5 * s.t))
    phase = TAU * np.cumsum(f) / s.rate
    swell = np.clip(into / 0.12, 0.0, 1.0) * np.clip((1.0 - into) / 0.1, 0.0, 1.0)
    return (np.sin(phase) + 0.12 * np.sin(2.0 * phase) + 0.02 * s.noise(800.0, 5000.0)) * (0.15 + swell)


def plucks(s: Score) -> Array:
    """Plucked strings after Karplus and Strong, running over a chord."""
    f0 = s.hz(150.0, 300.0)

    def strike(k: int, tau: Array) -> Array:
        loop = max(2, int(s.rate / (f0 * (1.0, 1.25, 1.5, 2.0)[k % 4])))
        # Each round of the loop is the mean of neighbours of the round before, so round k is the first one
        # filtered k times: all rounds at once in the frequency domain.
        spectrum = np.fft.rfft(s.rng.uniform(-1.0, 1.0, loop))
        mean = 0.497 * (1.0 + np.exp(-1j * TAU * np.arange(spectrum.size) / loop))
        rounds = np.fft.irfft(spectrum * mean ** np.arange(tau.size // loop + 1)[:, None], loop)
        return rounds.ravel()[:tau.size] * np.clip((tau[-1] - tau) / 0.05, 0.0, 1.0)

    return s.strikes(s.period(0.3, 0.17), 0.5, strike)


def blips(s: Score) -> Array:
    """Bubbles: short tones that glide upwards."""
    f0 = s.hz(350.0, 700.0)

    def strike(k: int, tau: Array) -> Array:
        f = f0 * s.rng.uniform(0.8, 1.5) * 3.0 ** (tau / 0.07)
        return np.sin(TAU * np.cumsum(f) / s.rate) * np.sin(np.pi * tau / 0.075) ** 2

    return s.strikes(s.period(0.16, 0.09), 0.075, strike, jitter=0.25)


def crackle(s: Score) -> Array:
    """A fire: sharp cracks at random times over a low roar."""
    roar = s.noise(60.0, s.hz(250.0, 500.0))

    def strike(k: int, tau: Array) -> Array:
        size = s.rng.lognormal(0.0, 0.7)
        return size * s.rng.standard_normal(tau.size) * _decay(tau, s.rng.uniform(0.001, 0.005), 0.0003)

    return 0.5 * roar + 3.0 * s.strikes(s.period(0.05, 0.028), 0.025, strike, jitter=0.9)


def surf(s: Score) -> Array:
    """Waves: noise that swells, opens up and draws back."""
    swell = 0.5 + 0.5 * np.sin(TAU * (s.t / s.period(0.85, 0.5) + s.nuisance.phase))
    deep = s.noise(80.0, s.hz(350.0, 600.0))
    middle, spray = s.noise(500.0, 3000.0), s.noise(2500.0, 7000.0)
    return deep * (0.25 + swell) + 0.9 * middle * swell ** 2 + 0.5 * spray * swell ** 5


def ring(s: Score) -> Array:
    """A telephone: two tones in quick alternation, on and off."""
    f0, period = s.hz(700.0, 1250.0), s.period(0.45, 0.3)
    high = np.sin(TAU * 21.0 * s.t) > 0.0
    phase = TAU * np.cumsum(np.where(high, f0 * 1.3, f0)) / s.rate
    on = np.mod(s.t / period + s.nuisance.phase, 1.0) < 0.7
    on = np.convolve(on, np.ones(s.rate // 200) / (s.rate // 200), "same")
    return on * (np.sin(phase) + 0.4 * np.sin(3.0 * phase) + 0.25 * np.sin(5.0 * phase))


def chop(s: Score) -> Array:
    """A helicopter: dull noise cut up by the blades."""
    blade = np.mod(s.t / s.period(0.075, 0.05) + s.nuisance.phase, 1.0)
    return s.noise(80.0, s.hz(900.0, 1500.0)) * (0.04 + np.exp(-5.0 * blade))


def shakes(s: Score) -> Array:
    """A maraca: soft bursts of high noise, long and short in turn."""
    grains = s.noise(s.hz(2600.0, 4000.0), 7500.0)

    def strike(k: int, tau: Array) -> Array:
        start = int(s.rng.integers(grains.size - tau.size))
        return grains[start:start + tau.size] * _decay(tau, (0.035, 0.014)[k % 2], 0.02)

    return s.strikes(s.period(0.21, 0.12), 0.14, strike)


def render_sound(synthesise: Callable[[Score], Array], nuisance: SoundNuisance, *, num_samples: int,
                 rate: int) -> Array:
    """Plays one of the synthesisers in a room, over background noise.

    Args:
      synthesise: a function of a `Score`, one of those above.
      nuisance: what varies within the class.
      num_samples: N.
      rate: samples per second.

    Returns:
      [N] float32 within [-1, 1], with the RMS the nuisance asks for (a little less where peaks are bent).
    """
    score = Score(nuisance, num_samples, rate)
    dry = synthesise(score)
    tail = np.arange(int(0.3 * rate)) / rate
    echo = score.rng.standard_normal(tail.size) * np.exp(-3.0 * tail / nuisance.reverb_seconds)
    # The echo of the clip's end wraps around to its start, so that the start sounds like the middle.
    wet = np.fft.irfft(np.fft.rfft(dry) * np.fft.rfft(echo, num_samples), num_samples)
    dry, wet = dry / _rms(dry), wet / _rms(wet)
    sound = (1.0 - nuisance.reverb_share) * dry + nuisance.reverb_share * wet
    hiss = shaped_noise(score.rng, num_samples, rate, lambda f: np.maximum(f, 100.0) ** nuisance.noise_slope)
    sound = sound / _rms(sound) + hiss * 10.0 ** (nuisance.noise_db / 20.0)
    sound = sound / _rms(sound) * 10.0 ** (nuisance.loudness_db / 20.0)
    return np.tanh(sound).astype(np.float32)


def _rms(wave: Array) -> float:
    return float(np.sqrt(np.mean(np.square(wave))) + 1e-12)
