"""Audio front ends as pure jnp functions, for use inside the jitted step."""

import functools
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from avc_jax.parallel import mesh as meshes

# OpenL3's sizes in samples, made for 48 kHz: one hop for all of its inputs, one FFT for the linear and one for the mel ones.
OPENL3_HOP, OPENL3_LINEAR_FFT, OPENL3_MEL_FFT = 242, 512, 2048
_FLOOR = 1e-20  # the square of its smallest amplitude

# AVLnet's sizes in samples, made for 16 kHz: 25 ms and 10 ms.
MEL40_RATE_HZ, MEL40_WINDOW, MEL40_HOP = 16000, 400, 160
_MEL40_FLOOR = 1e-10  # of the power


def front_end(config) -> Callable[[jax.Array], jax.Array]:
    """What the section `audio` of a checked config asks for: f32[B, N] of full scale 1 -> f32[B, F, T]."""
    if config.front_end == "log":
        window, hop, fft_length = stft_sizes(config.rate_hz, config.stft_window_s, config.stft_hop_s, config.fft_length)
        return functools.partial(log_spectrogram, window=window, hop=hop, fft_length=fft_length, floor=config.log_floor,
                                 scale=config.log_scale)
    if config.front_end == "linear":
        return openl3_linear
    if config.front_end == "mel40":
        return functools.partial(mel40, border=config.mel40_border, window=config.mel40_window)
    return functools.partial(openl3_mel, rate_hz=config.rate_hz, mels=int(config.front_end.removeprefix("mel")),
                             form=config.mel_form)


def row_hz(config, rows: int) -> np.ndarray:
    """float64[rows]: the frequency in Hz in the middle of each row of what the `front_end` of a section `audio` gives."""
    if not config.front_end.startswith("mel"):
        return np.linspace(0, config.rate_hz / 2, rows)
    import librosa

    own = config.front_end == "mel40"
    return librosa.mel_frequencies(rows + 2, fmin=20 if own else 0, fmax=config.rate_hz / 2,
                                   htk=config.mel_form == "kapre" and not own)[1:-1]


def stft_sizes(rate_hz: int, window_s: float, hop_s: float, fft_length: int = 0) -> tuple[int, int, int]:
    """(window, hop, FFT length) in samples; an FFT length of 0 becomes the next power of two of the window."""
    window, hop = round(window_s * rate_hz), round(hop_s * rate_hz)
    return window, hop, fft_length or 1 << (window - 1).bit_length()


def num_stft_frames(num_samples: int, window: int, hop: int) -> int:
    """How many whole windows fit, without padding."""
    return max(0, 1 + (num_samples - window) // hop)


def stft(waveform: jax.Array, window: int, hop: int, fft_length: int) -> jax.Array:
    """Short-time Fourier transform with a periodic Hann window and no padding at the ends of the sound.

    Args:
      waveform: f32[B, N], full scale = 1.
      window, hop, fft_length: samples; windows are zero-padded at their end to fft_length.

    Returns:
      c64[B, F, T] with F = fft_length // 2 + 1 bins from 0 Hz to half the rate, T = 1 + (N - window) // hop.
    """
    return _stft(waveform, (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)), hop, fft_length)


def _stft(waveform: jax.Array, taper: np.ndarray, hop: int, fft_length: int) -> jax.Array:
    """As `stft`, with any window f[window]."""
    windows = _windows(waveform, len(taper), hop) * taper.astype(np.float32)
    return jnp.fft.rfft(windows, n=fft_length).swapaxes(1, 2)


def _windows(waveform: jax.Array, window: int, hop: int) -> jax.Array:
    """f32[B, N] -> f32[B, T, window], from slices: to gather every number takes longer."""
    frames, pieces = num_stft_frames(waveform.shape[-1], window, hop), -(-window // hop)
    count = frames + pieces - 1
    padded = jnp.pad(waveform, ((0, 0), (0, max(0, count * hop - waveform.shape[-1]))))[:, :count * hop]
    hops = padded.reshape(waveform.shape[0], count, hop)
    return jnp.concatenate([hops[:, piece : piece + frames] for piece in range(pieces)], axis=-1)[..., :window]


def _sound_by_sound(spectrograms: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Has each device make the spectrograms of its own rows, and a CPU one after the other.

    What lies between the steps to a spectrogram then stays in the cache of the CPU, which halves its time.
    """

    @functools.wraps(spectrograms)
    def run(*sounds: jax.Array, **settings) -> jax.Array:
        at_once = functools.partial(spectrograms, **settings)

        def singly(*sounds: jax.Array) -> jax.Array:
            return jax.lax.map(lambda one: at_once(*(array[None] for array in one))[0], sounds)

        return meshes.by_rows(functools.partial(jax.lax.platform_dependent, cpu=singly, default=at_once), *sounds)

    return run


@_sound_by_sound
def log_spectrogram(waveform: jax.Array, *, window: int, hop: int, fft_length: int, floor: float = 1e-12,
                    scale: float = 0.2) -> jax.Array:
    """f32[B, N] -> f32[B, F, T]: scale * log(max(|STFT|, floor)); the default scale is the re-implementation's 1/5.

    The squared magnitude is floored, not the magnitude: the same value without a square root.
    """
    power = _power(stft(waveform, window, hop, fft_length))
    return (0.5 * scale) * jnp.log(jnp.maximum(power, floor**2))


@_sound_by_sound
def openl3_linear(waveform: jax.Array) -> jax.Array:
    """OpenL3's linear input: f32[B, N] -> f32[B, 257, T], decibels of magnitudes; 197 frames of 48000 samples."""
    return _decibels(_power(stft(waveform, OPENL3_LINEAR_FFT, OPENL3_HOP, OPENL3_LINEAR_FFT)))


@_sound_by_sound
def openl3_mel(waveform: jax.Array, *, rate_hz: int, mels: int, form: str = "kapre") -> jax.Array:
    """OpenL3's mel input: f32[B, N] -> f32[B, mels, T], decibels; 199 frames of 48000 samples.

    Args:
      waveform: full scale = 1.
      rate_hz: the filters span 0 Hz to half of it.
      mels: 128 or 256.
      form: kapre, as the published weights were trained with: HTK filters on the power, then the root, zeros around the sound
        so that a window begins every hop (T = ceil(N / hop)). librosa, OpenL3's later front end: Slaney filters on
        magnitudes, windows centred on every hop-th sample, zeros around the sound (T = 1 + N // hop); librosa_reflect: the
        same with the sound mirrored at its ends, as librosa did before 0.10.
    """
    samples, fft = waveform.shape[-1], OPENL3_MEL_FFT
    if form == "kapre":
        around = max((-(-samples // OPENL3_HOP) - 1) * OPENL3_HOP + fft - samples, 0)
        sides = (around // 2, around - around // 2)
    else:
        sides = (fft // 2, fft // 2)
    padded = jnp.pad(waveform, ((0, 0), sides), mode="reflect" if form == "librosa_reflect" else "constant")
    power = _power(stft(padded, fft, OPENL3_HOP, fft))
    weigh = functools.partial(jnp.einsum, "mf,bft->bmt", _mel_filters(rate_hz, fft, mels, form == "kapre"), precision="highest")
    return _decibels(weigh(power) if form == "kapre" else weigh(jnp.sqrt(jnp.maximum(power, _FLOOR))) ** 2)


@_sound_by_sound
def mel40(waveform: jax.Array, length: jax.Array | None = None, /, *, border: str = "reflect",
          window: str = "symmetric") -> jax.Array:
    """AVLnet's spectrogram of sounds at 16 kHz: f32[B, N] -> f32[B, 40, 1 + N // 160], decibels from -80 to 0.

    The mean is taken off and high frequencies are raised (pre-emphasis of 0.97); power of 25 ms every 10 ms, centred on every
    160th sample; 40 Slaney mels from 20 to 8000 Hz; decibels relative to the largest of the sound. A silent sound is 0
    everywhere, as loud as a peak (arXiv:2006.09199 and its released code; 1e-10 is the smallest power).

    Args:
      waveform: full scale = 1.
      length: int32[B], how many samples there are of each sound; what follows them has no influence, and frames from
        1 + length // 160 on (all, if length is 0) are 0. None: all samples.
      border: how the sound goes on before its beginning and after its end: mirrored (reflect; librosa before 0.10, which released
        weights were trained with), or zeros.
      window: Hamming's window, symmetric (as the released code gets it) or periodic.
    """
    samples = waveform.shape[-1]
    count = jnp.full(waveform.shape[:1], samples) if length is None else length
    within = jnp.arange(samples) < count[:, None]
    mean = jnp.sum(jnp.where(within, waveform, 0.0), 1) / jnp.maximum(count, 1)
    centred = jnp.where(within, waveform - mean[:, None], 0.0)
    raised = jnp.where(within, centred - 0.97 * jnp.pad(centred, ((0, 0), (1, 0)))[:, :-1], 0.0)
    padded = _mirrored(raised, count, MEL40_WINDOW // 2) if border == "reflect" else jnp.pad(
        raised, ((0, 0), (MEL40_WINDOW // 2,) * 2))
    steps = MEL40_WINDOW - (window == "symmetric")
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(MEL40_WINDOW) / steps)
    filters = _mel_filters(MEL40_RATE_HZ, MEL40_WINDOW, 40, False, 20.0)
    power = jnp.einsum("mf,bft->bmt", filters, _power(_stft(padded, hamming, MEL40_HOP, MEL40_WINDOW)), precision="highest")
    level = (10 / np.log(10)) * jnp.log(jnp.maximum(power, _MEL40_FLOOR))
    frames = jnp.arange(level.shape[-1]) <= (count // MEL40_HOP)[:, None]
    sounding = (frames & (count > 0)[:, None])[:, None]
    peak = jnp.max(jnp.where(sounding, level, -jnp.inf), (1, 2), keepdims=True)
    # The peak is found and subtracted with two roundings.
    return jnp.where(sounding, jnp.clip(level - jnp.where(jnp.isfinite(peak), peak, 0.0), -80.0, 0.0), 0.0)


def _mirrored(sound: jax.Array, count: jax.Array, around: int) -> jax.Array:
    """f32[B, N] with `around` more samples on both sides, mirrored at the first and at the last of count int32[B] samples.

    Sounds shorter than that go to and fro between their ends.
    """
    place = jnp.arange(-around, sound.shape[-1] + around)
    way = jnp.maximum(2 * (count - 1), 1)[:, None]
    turned = jnp.mod(place, way)
    return jnp.take_along_axis(sound, jnp.minimum(turned, way - turned), axis=1)


@functools.cache
def _mel_filters(rate_hz: int, fft_length: int, mels: int, htk: bool, lowest_hz: float = 0.0) -> np.ndarray:
    """f32[mels, fft_length // 2 + 1] triangles of equal area on the HTK or the Slaney scale, from lowest_hz to half the rate."""
    from librosa import filters  # takes a second, and few need it

    with warnings.catch_warnings():
        # The lowest of 256 filters are narrower than a bin and stay empty, as they were when the published weights were trained.
        warnings.filterwarnings("ignore", "Empty filters detected", UserWarning)
        return filters.mel(sr=rate_hz, n_fft=fft_length, n_mels=mels, fmin=lowest_hz, htk=htk, norm="slaney")


def _power(spectrum: jax.Array) -> jax.Array:
    return spectrum.real**2 + spectrum.imag**2


def _decibels(power: jax.Array) -> jax.Array:
    """OpenL3's decibels of f32[B, F, T] squared amplitudes: 10 log10 of the amplitude, so half of what is usual, relative to the
    largest of the sound, and at least -80. A silent sound is 0 everywhere, as loud as a peak.

    The squares are floored, not the amplitudes: the same value without a square root.
    """
    level = (5 / np.log(10)) * jnp.log(jnp.maximum(power, _FLOOR))
    return jnp.maximum(level - level.max((1, 2), keepdims=True), -80.0)
