"""One record: a tf.train.Example with the frames, the sound and the clock of a clip, and a digest of it all.

The protocol buffer is the copy that tensorflow-datasets carries: neither writing nor reading a record needs TensorFlow.
"""

import dataclasses
import hashlib
import struct

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from avc_jax.data.decode import Span

_TEXT = ("path", "split", "label", "source_sha256")
_INTEGERS = ("clip", "file", "rate_hz", "native_width", "native_height", "source_bytes")
_SECONDS = ("span_start_s", "span_end_s", "measured_start_s", "measured_end_s", "frames_end_s", "sound_start_s")
_DIGEST = "payload_sha256"


@dataclasses.dataclass(frozen=True)
class Content:
    """What a record holds. Times are seconds on the clock of the source file.

    Attributes:
      path, split, label, file: of the clip; see `sources.Clip`.
      clip: its place among all clips.
      span, measured: of the whole file: what its headers say, and what it was found to hold (the same where the headers
        were right).
      frame_s: float64[n], when each frame was on screen; ascending and evenly spaced.
      frames: n JPEGs, RGB.
      frames_end_s: the last frame counts until then.
      sound_start_s: the time of the first sample.
      sound: int16[m], mono.
      rate_hz: samples per second.
      native_width, native_height: pixels of the source's stored picture.
      source_bytes, source_sha256: of the source file.
    """

    path: str
    split: str
    label: str
    file: int
    clip: int
    span: Span
    measured: Span
    frame_s: np.ndarray
    frames: list[bytes]
    frames_end_s: float
    sound_start_s: float
    sound: np.ndarray
    rate_hz: int
    native_width: int
    native_height: int
    source_bytes: int
    source_sha256: str


class DamagedRecord(Exception):
    """A record does not read as what was written."""


def features():
    """The features of a record, as tensorflow-datasets describes them. Seconds are float64, which needs `encoding`."""
    import tensorflow_datasets as tfds

    def array(shape, dtype, doc):
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes", doc=doc)

    return tfds.features.FeaturesDict({
        **{name: tfds.features.Text() for name in (*_TEXT, _DIGEST)},
        **{name: tfds.features.Scalar(dtype=np.int64) for name in _INTEGERS},
        **{name: array((), np.float64, "Seconds on the clock of the source file.") for name in _SECONDS},
        "frame_s": array((None,), np.float64, "When each frame was on screen, in seconds on that clock."),
        "sound": array((None,), np.int16, "Mono, rate_hz samples per second, from sound_start_s on."),
        "frames": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")),
    })


def serialize(content: Content) -> bytes:
    """The bytes of a record: the same for the same content."""
    example = tf_example_pb2.Example()
    feature = example.features.feature
    for name in _TEXT:
        feature[name].bytes_list.value.append(getattr(content, name).encode("utf-8", "surrogateescape"))
    for name in _INTEGERS:
        feature[name].int64_list.value.append(getattr(content, name))
    seconds = (content.span.start_s, content.span.end_s, content.measured.start_s, content.measured.end_s,
               content.frames_end_s, content.sound_start_s)
    for name, value in zip(_SECONDS, seconds, strict=True):
        feature[name].bytes_list.value.append(np.array(value, "<f8").tobytes())
    feature["frame_s"].bytes_list.value.append(np.asarray(content.frame_s, "<f8").tobytes())
    feature["sound"].bytes_list.value.append(np.asarray(content.sound, "<i2").tobytes())
    feature["frames"].bytes_list.value.extend(content.frames)
    feature[_DIGEST].bytes_list.value.append(_digest(example).encode())
    return example.SerializeToString(deterministic=True)


def parse(record: bytes, *, check: bool = False) -> Content:
    """The content of a record.

    Args:
      record: its bytes.
      check: compute the digest and compare; the container's own checksums have been compared by then in any case.

    Raises:
      DamagedRecord: it is no record, or its digest is wrong.
    """
    try:
        example = tf_example_pb2.Example.FromString(record)
        if check and example.features.feature[_DIGEST].bytes_list.value[0].decode() != _digest(example):
            raise DamagedRecord("the content does not fit its sha256")
        return _content(example.features.feature)
    except (DecodeError, IndexError, ValueError, struct.error) as error:
        raise DamagedRecord(f"it does not read as a record ({error})") from error


def _content(feature) -> Content:
    values = {name: feature[name].bytes_list.value[0].decode("utf-8", "surrogateescape") for name in _TEXT}
    values |= {name: feature[name].int64_list.value[0] for name in _INTEGERS}
    seconds = {name: struct.unpack("<d", feature[name].bytes_list.value[0])[0] for name in _SECONDS}
    return Content(
        **values,
        span=Span(seconds["span_start_s"], seconds["span_end_s"]),
        measured=Span(seconds["measured_start_s"], seconds["measured_end_s"]),
        frames_end_s=seconds["frames_end_s"],
        sound_start_s=seconds["sound_start_s"],
        frame_s=np.frombuffer(feature["frame_s"].bytes_list.value[0], "<f8"),
        frames=list(feature["frames"].bytes_list.value),
        sound=np.frombuffer(feature["sound"].bytes_list.value[0], "<i2"),
    )


def _digest(example: tf_example_pb2.Example) -> str:
    """sha256 of names and values in order of name, each with its length: no two contents give the same bytes."""
    digest = hashlib.sha256()

    def add(value: bytes) -> None:
        digest.update(struct.pack("<q", len(value)))
        digest.update(value)

    feature = example.features.feature
    for name in sorted(feature):
        if name == _DIGEST:
            continue
        add(name.encode())
        values = [*feature[name].bytes_list.value, *(struct.pack("<q", value) for value in feature[name].int64_list.value)]
        digest.update(struct.pack("<q", len(values)))
        for value in values:
            add(value)
    return digest.hexdigest()
