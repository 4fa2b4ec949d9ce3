"""The front end of L3-Net: shapes, closed forms, and agreement with librosa on real sound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avc_jax import audio

L3 = dict(window=480, hop=240, fft_length=512)  # 10 ms and 5 ms at 48 kHz


def test_sizes_at_48_khz_are_those_of_the_paper():
    assert audio.stft_sizes(48000, 0.01, 0.005) == (480, 240, 512)
    assert audio.num_stft_frames(48000, 480, 240) == 199


@pytest.mark.parametrize(("rate_hz", "sizes"), [(8000, (80, 40, 128)), (16000, (160, 80, 256)), (44100, (441, 220, 512)),
                                                (51200, (512, 256, 512)), (100, (1, 0, 1))])
def test_fft_length_is_the_next_power_of_two_of_the_window(rate_hz, sizes):
    assert audio.stft_sizes(rate_hz, 0.01, 0.005) == sizes
    assert audio.stft_sizes(rate_hz, 0.01, 0.005, 1024)[2] == 1024


def test_one_second_gives_257_bins_by_199_frames():
    waveform = np.random.default_rng(0).normal(size=(2, 48000)).astype(np.float32)
    assert audio.log_spectrogram(waveform, **L3).shape == (2, 257, 199)


def test_sine_of_1_khz_peaks_in_bin_11():
    sine = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(48000) / 48000)
    image = np.asarray(audio.log_spectrogram(sine[None].astype(np.float32), **L3))[0]
    assert (image.argmax(0) == 11).all()
    assert round(1000 * 512 / 48000) == 11


def test_peak_of_a_sine_has_the_magnitude_of_its_amplitude_times_half_the_sum_of_the_window():
    # 937.5 Hz lies on bin 10 of 512 exactly; the periodic Hann window sums to 240.
    sine = 0.5 * np.sin(2 * np.pi * 937.5 * np.arange(48000) / 48000)
    image = np.asarray(audio.log_spectrogram(sine[None].astype(np.float32), **L3))[0]
    np.testing.assert_allclose(image[10], np.log(0.5 * 240 / 2) / 5, atol=1e-4)


def test_silence_is_the_logarithm_of_the_floor():
    image = audio.log_spectrogram(np.zeros((1, 48000), np.float32), **L3)
    np.testing.assert_allclose(image, np.log(1e-12) / 5, rtol=1e-6)
    assert np.log(1e-12) / 5 == pytest.approx(-5.526, abs=1e-3)


def test_doubling_the_amplitude_adds_a_constant_above_the_floor():
    waveform = 0.1 * np.random.default_rng(1).normal(size=(1, 48000)).astype(np.float32)
    once, twice = (np.asarray(audio.log_spectrogram(factor * waveform, **L3)) for factor in (1, 2))
    np.testing.assert_allclose(twice - once, np.log(2) / 5, atol=1e-6)


def test_floor_and_scale_are_those_that_were_asked_for():
    image = audio.log_spectrogram(np.zeros((1, 480), np.float32), **L3, floor=1e-6, scale=2.0)
    np.testing.assert_allclose(image, 2 * np.log(1e-6), rtol=1e-6)


def test_stft_equals_the_sum_that_defines_it():
    window, hop, length = 6, 4, 8
    x = np.random.default_rng(2).normal(size=21)
    n = np.arange(window)
    hann = np.sin(np.pi * n / window) ** 2
    wanted = [[sum(hann[i] * x[t * hop + i] * np.exp(-2j * np.pi * k * i / length) for i in n)
               for t in range(1 + (21 - window) // hop)] for k in range(length // 2 + 1)]
    found = np.asarray(audio.stft(x[None].astype(np.float32), window, hop, length))[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("number", range(6))
def test_magnitudes_agree_with_librosa_on_real_sound(shared, number):
    librosa, soundfile = pytest.importorskip("librosa"), pytest.importorskip("soundfile")
    paths = sorted((shared / "data" / "esc10" / "audio").glob("*.ogg"))
    path = paths[number * len(paths) // 6]
    sound, _ = soundfile.read(path, dtype="float32")
    # librosa centres the window in the FFT; zeros at both ends move its frames back onto ours.
    pad = (512 - 480) // 2
    wanted = np.abs(librosa.stft(np.pad(sound, pad), n_fft=512, win_length=480, hop_length=240, window="hann", center=False))
    found = np.abs(np.asarray(audio.stft(sound[None], 480, 240, 512)))[0]
    assert found.shape == wanted.shape
    assert wanted.max() > 0.01, "a silent clip proves nothing"
    np.testing.assert_allclose(found, wanted, atol=1e-4 * wanted.max())


@pytest.mark.parametrize("sound", [np.zeros(480), np.ones(480), 1e-20 * np.ones(480), np.eye(1, 480)[0]],
                         ids=["silence", "constant", "tiny", "click"])
def test_gradients_are_finite(sound):
    grad = jax.grad(lambda x: audio.log_spectrogram(x, **L3).sum())(jnp.asarray(sound[None], jnp.float32))
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("floor", [0.0, 1e-12, 1.0])
def test_every_floor_that_the_config_allows_keeps_silence_finite(floor):
    from avc_jax import config

    key = config.schema("l3net")["audio"]["log_floor"]
    floor = min(max(floor, key.low), key.high)
    image, grad = jax.value_and_grad(lambda x: audio.log_spectrogram(x, **L3, floor=floor).mean())(jnp.zeros((1, 480)))
    assert float(image) == pytest.approx(np.log(floor) / 5, rel=1e-5)
    assert np.isfinite(grad).all()


# OpenL3's inputs ---------------------------------------------------------------------------------------------------------


def openl3(name: str, waveform: np.ndarray, form: str = "kapre") -> np.ndarray:
    from avc_jax import config

    section = config.default("l3net").audio
    section.front_end, section.mel_form = name, form
    return np.asarray(jax.jit(audio.front_end(section))(waveform.astype(np.float32)))


OPENL3 = [("linear", "kapre"), ("mel128", "kapre"), ("mel256", "kapre"), ("mel128", "librosa"), ("mel256", "librosa_reflect")]


@pytest.mark.parametrize(("name", "form"), OPENL3)
def test_openl3s_inputs_have_their_shapes_and_range_and_do_not_depend_on_loudness(name, form):
    waveform = 0.1 * np.random.default_rng(4).normal(size=(2, 48000))
    image = openl3(name, waveform, form)
    assert image.shape == {"linear": (2, 257, 197), "mel128": (2, 128, 199), "mel256": (2, 256, 199)}[name]
    np.testing.assert_allclose(image.max((1, 2)), 0, atol=1e-5)
    assert image.min() >= -80
    np.testing.assert_allclose(openl3(name, 0.01 * waveform, form), image, atol=2e-2)  # quiet bins are mostly rounding


@pytest.mark.parametrize(("name", "form"), OPENL3)
def test_a_louder_sine_in_the_same_second_is_ten_decibels_above_one_of_a_tenth(name, form):
    # The published decibels are those of power, taken of amplitudes: a tenth of the amplitude is 10 below, not 20.
    t = np.arange(48000) / 48000
    loud, soft = np.sin(2 * np.pi * 937.5 * t) * (t < 0.5), 0.1 * np.sin(2 * np.pi * 937.5 * t) * (t >= 0.5)
    image = openl3(name, (loud + soft)[None], form)[0]
    row = image.max(1).argmax()
    middle = image.shape[1] // 4
    assert image[row, middle] - image[row, 3 * middle] == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize(("name", "form"), OPENL3)
def test_silence_in_openl3s_inputs_is_as_loud_as_a_peak_and_has_finite_gradients(name, form):
    np.testing.assert_allclose(openl3(name, np.zeros((1, 48000)), form), 0, atol=1e-5)
    from avc_jax import config

    section = config.default("l3net").audio
    section.front_end, section.mel_form = name, form
    assert np.isfinite(jax.grad(lambda x: audio.front_end(section)(x).sum())(jnp.zeros((1, 4096)))).all()


@pytest.mark.parametrize(("mels", "hz"), [(128, 1000), (128, 5000), (256, 440), (256, 12000)])
def test_a_sine_peaks_in_the_mel_band_around_it(mels, hz):
    sine = 0.5 * np.sin(2 * np.pi * hz * np.arange(48000) / 48000)
    image = openl3(f"mel{mels}", sine[None])[0]
    edges = np.linspace(0, 2595 * np.log10(1 + 24000 / 700), mels + 2)  # the HTK scale
    band = edges.searchsorted(2595 * np.log10(1 + hz / 700)) - 1
    assert abs(image[:, 100].argmax() - band) <= 1


# AVLnet's input ----------------------------------------------------------------------------------------------------------

NOISE = 0.1 * np.random.default_rng(5).normal(size=(3, 16000)).astype(np.float32)


def test_ten_seconds_are_1001_frames_of_40_bands_from_minus_80_decibels_to_0():
    waveform = 0.1 * np.random.default_rng(6).normal(size=(1, 160000)).astype(np.float32)
    image = np.asarray(audio.mel40(waveform))
    assert image.shape == (1, 40, 1001)
    assert -1e-6 < image.max() <= 0
    assert image.min() >= -80


def test_a_tone_is_loudest_in_its_band_and_loudness_does_not_matter():
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)[None]
    image = np.asarray(audio.mel40(tone))
    assert image.shape == (1, 40, 101)
    librosa = pytest.importorskip("librosa")
    middles = librosa.mel_frequencies(42, fmin=20, fmax=8000)[1:-1]
    assert abs(middles[image[0, :, 50].argmax()] - 1000) < 100
    np.testing.assert_allclose(audio.mel40(0.1 * tone)[:, :, 5:-5], image[:, :, 5:-5], atol=0.05)


@pytest.mark.parametrize("border", ["reflect", "zeros"])
@pytest.mark.parametrize("samples", [1, 2, 150, 399, 400, 4000, 7777, 15999, 16000])
def test_what_follows_the_length_has_no_influence(border, samples):
    rng = np.random.default_rng(samples)
    padded = np.concatenate([NOISE[0, :samples], rng.normal(size=16000 - samples)]).astype(np.float32)
    found = np.asarray(audio.mel40(padded[None], np.array([samples]), border=border))[0]
    frames = 1 + samples // 160
    np.testing.assert_allclose(found[:, :frames], audio.mel40(padded[None, :samples], border=border)[0], atol=2e-3)
    assert (found[:, frames:] == 0).all()


def test_a_missing_sound_is_zeros_and_leaves_its_neighbours_alone():
    found = np.asarray(audio.mel40(NOISE, np.array([16000, 0, 8000])))
    assert (found[1] == 0).all()
    np.testing.assert_allclose(found[0], audio.mel40(NOISE[:1])[0], atol=1e-4)


def test_symmetric_and_periodic_windows_differ_a_little():
    symmetric, periodic = (np.asarray(audio.mel40(NOISE, window=window)) for window in ("symmetric", "periodic"))
    assert 1e-4 < np.abs(symmetric - periodic).max() < 1


def test_rows_of_avlnets_input_have_the_middles_of_its_bands():
    from avc_jax import config

    section = config.default("l3net").audio
    section.front_end, section.rate_hz = "mel40", 16000
    hz = audio.row_hz(section, 40)
    assert hz.shape == (40,)
    assert 20 < hz[0] < 100
    assert 7000 < hz[-1] < 8000
    assert jax.eval_shape(audio.front_end(section), jnp.zeros((2, 1600))).shape == (2, 40, 11)


@pytest.mark.parametrize(("spectrograms", "settings"), [
    (audio.log_spectrogram, L3), (audio.openl3_linear, {}), (audio.openl3_mel, {"rate_hz": 16000, "mels": 128}),
    (audio.mel40, {})])
def test_accelerators_which_take_all_sounds_at_once_get_what_a_cpu_gets(spectrograms, settings):
    at_once = spectrograms.__wrapped__
    np.testing.assert_allclose(at_once(jnp.asarray(NOISE), **settings), spectrograms(NOISE, **settings), atol=1e-4)


def test_each_sound_keeps_its_length_at_once_and_singly():
    lengths = np.array([16000, 0, 8000])
    np.testing.assert_allclose(audio.mel40.__wrapped__(jnp.asarray(NOISE), lengths), audio.mel40(NOISE, lengths), atol=1e-4)
