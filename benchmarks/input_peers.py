"""The peers of benchmarks/input.py: a PyTorch DataLoader with torchcodec, PyAV, decord2, and with JPEG and PCM files.

Each is used as its own documentation advises: one decoder per file and per worker process with one thread, as many workers as
cores; torchcodec with approximate seeking, and its own resize and crop inside the decoder; decord2 with its resize inside the
decoder and its batch call; audio decoders that resample. An item is a visit: it is opened once and asked for all its pairs in
one call; where that is not what the contestant stands for, the visits have one pair each.
"""

import math

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

WINDOW = torch.hann_window(480, periodic=True)


def spectrograms(waveforms: torch.Tensor) -> torch.Tensor:
    """int16[k, n] -> float32[k, 257, 199], as avc_jax.audio.log_spectrogram."""
    frames = (waveforms.float() / 32768).unfold(1, 480, 240) * WINDOW
    return (0.2 * torch.fft.rfft(frames, n=512).abs().clamp_min(1e-12).log()).transpose(1, 2)


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)


def corners(places, height: int, width: int, size: int) -> list[tuple[int, int]]:
    return [(int(y * (height - size + 1)), int(x * (width - size + 1))) for y, x in places]


def crops(frames: torch.Tensor, places, form) -> torch.Tensor:
    """uint8[k, H, W, 3] -> uint8[k, size, size, 3]."""
    size = form["size"]
    return torch.stack([frame[y : y + size, x : x + size] for frame, (y, x) in
                        zip(frames, corners(places, *frames.shape[1:3], size), strict=True)])


def padded(sound: torch.Tensor, count: int) -> torch.Tensor:
    return functional.pad(sound[:count], (0, max(0, count - len(sound))))


def torchcodec_item(visit, form):
    from torchcodec.decoders import AudioDecoder, VideoDecoder
    from torchcodec.transforms import Resize

    facts = VideoDecoder(visit["path"], seek_mode="approximate").metadata
    size = scaled_size(facts.height, facts.width, form["short_side"])
    video = VideoDecoder(visit["path"], seek_mode="approximate", num_ffmpeg_threads=1, dimension_order="NHWC",
                         transforms=[Resize(size)])
    begin, end = video.metadata.begin_stream_seconds, video.metadata.end_stream_seconds
    times = [min(max(t, begin), end - 1e-3) for t in visit["frame_s"]]
    frames = video.get_frame_played_at(times[0]).data[None] if len(times) == 1 else video.get_frames_played_at(times).data
    rate, count = form["rate_hz"], round(form["window_s"] * form["rate_hz"])
    # One call for all sounds: several calls on one decoder fail for some files.
    heard = AudioDecoder(visit["path"], sample_rate=rate, num_channels=1).get_samples_played_in_range(
        min(visit["sound_s"]), max(visit["sound_s"]) + form["window_s"])
    starts = [max(0, round((start - heard.pts_seconds) * rate)) for start in visit["sound_s"]]
    sounds = torch.stack([padded(heard.data[0, start:], count) for start in starts])
    return crops(frames, visit["place"], form), (sounds * 32767).to(torch.int16)


def decord_item(visit, form):
    import decord

    shape = decord.VideoReader(visit["path"], num_threads=1)[0].shape
    height, width = scaled_size(*shape[:2], form["short_side"])
    video = decord.VideoReader(visit["path"], num_threads=1, width=width, height=height)
    numbers = [min(int(t * video.get_avg_fps()), len(video) - 1) for t in visit["frame_s"]]
    frames = torch.from_numpy(video.get_batch(numbers).asnumpy())
    audio = decord.AudioReader(visit["path"], sample_rate=form["rate_hz"], mono=True)
    count = round(form["window_s"] * form["rate_hz"])
    starts = [min(max(0, round(start * form["rate_hz"])), audio.shape[1] - count) for start in visit["sound_s"]]
    sounds = [torch.from_numpy(audio[start : start + count].asnumpy()[0]) for start in starts]
    return crops(frames, visit["place"], form), (torch.stack(sounds) * 32767).to(torch.int16)


def pyav_item(visit, form):
    pairs = [_pyav_pair(visit["path"], *moment, form) for moment in zip(visit["frame_s"], visit["sound_s"], strict=True)]
    return (torch.cat([crops(torch.from_numpy(frame)[None], [place], form)
                       for (frame, _), place in zip(pairs, visit["place"], strict=True)]),
            torch.stack([torch.from_numpy(sound) for _, sound in pairs]))


def _pyav_pair(path, frame_s, sound_s, form):
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        container.seek(round(frame_s / stream.time_base), stream=stream)
        shown = None
        for frame in container.decode(stream):
            if shown is not None and frame.time > frame_s:
                break
            shown = frame
        height, width = scaled_size(shown.height, shown.width, form["short_side"])
        image = shown.reformat(width, height, "rgb24").to_ndarray()
    count = round(form["window_s"] * form["rate_hz"])
    with av.open(path) as container:
        stream = container.streams.audio[0]
        container.seek(math.floor(sound_s / stream.time_base), stream=stream)
        resampler, parts, begin_s = av.AudioResampler("s16", "mono", form["rate_hz"]), [], None
        for frame in container.decode(stream):
            begin_s = frame.time if begin_s is None else begin_s
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
            if frame.time > sound_s + form["window_s"]:
                break
    first = max(0, round((sound_s - begin_s) * form["rate_hz"]))
    sound = np.concatenate(parts)[first : first + count]
    return image, np.pad(sound, (0, count - len(sound)))


def jpeg_item(visit, form, decode):
    frames, sounds = [], []
    for jpeg, pcm, begin, place in zip(visit["jpeg"], visit["pcm"], visit["begin"], visit["place"], strict=True):
        with open(jpeg, "rb") as file:
            image = decode(file.read())
        (y, x), size = corners([place], *image.shape[:2], form["size"])[0], form["size"]
        frames.append(torch.from_numpy(image[y : y + size, x : x + size]))
        count = round(form["window_s"] * form["rate_hz"])
        with open(pcm, "rb") as file:
            file.seek(2 * begin)
            sounds.append(torch.from_numpy(np.frombuffer(file.read(2 * count), np.int16).copy()))
    return torch.stack(frames), torch.stack(sounds)


def simplejpeg_item(visit, form):
    import simplejpeg

    return jpeg_item(visit, form, simplejpeg.decode_jpeg)


def pillow_item(visit, form):
    import io

    from PIL import Image

    return jpeg_item(visit, form, lambda data: np.array(Image.open(io.BytesIO(data)).convert("RGB")))


ITEMS = {"torchcodec": torchcodec_item, "decord2": decord_item, "pyav": pyav_item, "simplejpeg": simplejpeg_item,
         "pillow": pillow_item}


class Visits(Dataset):
    """Visits as (frames, spectrograms or sounds); a visit that the peer fails on gives none."""

    def __init__(self, visits, form, peer: str, sounds: str):
        self.visits, self.form, self.peer, self.sounds = visits, form, peer, sounds

    def __len__(self):
        return len(self.visits)

    def __getitem__(self, place):
        torch.set_num_threads(1)
        try:
            frames, sounds = ITEMS[self.peer](self.visits[place], self.form)
        except Exception as error:  # what a peer cannot read is counted, and printed beside its rate
            return None, f"{self.visits[place].get('path')}: {error!r}"[:200]
        return frames, spectrograms(sounds) if self.sounds == "spectrogram" else sounds


def join(items):
    good = [item for item in items if item[0] is not None]
    failed = [item[1] for item in items if item[0] is None]
    return (torch.cat([item[0] for item in good]) if good else None,
            torch.cat([item[1] for item in good]) if good else None, failed)


class Order:
    """A batch sampler that first deals a few visits, to start the workers, and then all of them."""

    def __init__(self, visits: int, warm_up: int, batch: int):
        self.visits, self.warm_up, self.batch, self.started = visits, warm_up, batch, False

    def __iter__(self):
        count = self.visits if self.started else self.warm_up
        self.started = True
        return iter([list(range(i, min(i + self.batch, count))) for i in range(0, count, self.batch)])


def loader(visits, form, peer: str, *, sounds: str, workers: int, batch: int) -> DataLoader:
    """Iterate it once to warm up, then once to measure; yields (frames, sounds, what failed)."""
    return DataLoader(Visits(visits, form, peer, sounds), batch_sampler=Order(len(visits), 2 * workers * batch, batch),
                      num_workers=workers, persistent_workers=True, multiprocessing_context="fork", collate_fn=join)
