"""Spoken ObjectNet: pictures and spoken captions in one space, by ResDAVEnet or DAVEnet.

Palmer, Rouditchenko, Barbu, Katz & Glass, "Spoken ObjectNet: A Bias-Controlled Spoken Caption Dataset", Interspeech 2021,
arXiv:2110.07575; Harwath, Hsu & Glass, ICLR 2020, arXiv:1911.09602 (ResDAVEnet); Harwath et al., ECCV 2018, arXiv:1804.01452
(DAVEnet, and similarities by all places and moments).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax import augment, fields, losses
from avc_jax.nn import matchmap, pool
from avc_jax.nn.davenet import VGG16, DAVEnet
from avc_jax.nn.resdavenet import ResDAVEnet
from avc_jax.nn.resnet import ResNet
from avc_jax.published.davenet import davenet, vgg16
from avc_jax.published.resdavenet import resdavenet
from avc_jax.published.resnets import BESIDE, resnet2d
from avc_jax.published.table import Checkpoint, torch_conv
from avc_jax.schema import Key
from avc_jax.systems import base

CONFIG = dict(
    similarity=Key("pooled", "pooled: the dot product of mean vectors (the paper); sisa, misa, sima: of all places and moments, "
                   "averaged, the largest place, or the largest moment.", choices=("pooled", *matchmap.KINDS)),
    audio_network=Key("resdavenet", "What hears: ResDAVEnet, or the older DAVEnet.", choices=("resdavenet", "davenet")),
    audio_width=Key(1.0, "Factor on the channels of what hears, and so on the units of the common space.", low=1 / 64, high=8.0),
    image_depth=Key(50, "What sees: ResNet-18, 34 or 50; 16: VGG16, as in DAVEnet.", choices=(16, 18, 34, 50)),
    image_width=Key(1.0, "Factor on the channels of what sees.", low=1 / 64, high=8.0),
    image_batch_norm=Key("batch", "Training normalises pictures by the batch, or by running statistics that stay as they are "
                         "(running), which a frozen network needs; with it the published code keeps moving them.",
                         choices=("batch", "running")),
    jitter=Key((0.12, 0.12), "audio_network=resdavenet: probabilities that a frame is replaced by its left and by its right "
               "neighbour, in training.", low=0.0, high=0.5),
    jitter_form=Key("centred", "centred, or late: all frames one later, as in the published code.", choices=("centred", "late")),
    loss=Key("triplets", "triplets: sampled and semi-hard impostors, both ways (ResDAVEnet); rank: sampled ones (DAVEnet); mms: "
             "masked margin softmax.", choices=("triplets", "rank", "mms")),
    margin=Key(1.0, "What true pairs have to win by, or with loss=mms what they are lowered by.", low=0.0, high=100.0),
    legacy_floor=Key(False, "loss=triplets: a semi-hard impostor scores at least 0, as in the published code."),
    padding=Key("floor", "Decibels after the end of a sound: the lowest (floor), or 0, as loud as its peak (loudest, as in the "
                "published code).", choices=("floor", "loudest")),
)

# What the published networks take, and no changes of their pictures but the crop.
DEFAULTS = {"data.source": "spoken_captions", "data.pairing": "none", "data.window_s": 20.48, "audio.front_end": "mel40",
            "audio.rate_hz": 16000, "augment.flip": False, "augment.brightness": 0.0, "augment.saturation": (1.0, 1.0)}

# Of ResDAVEnet: channels of its first convolution and of its stages, and blocks of each stage.
WIDTHS, DEPTHS = (128, 256, 256, 512, 1024), (2, 2, 2, 2)
# Of ImageNet's pictures in [0, 1], red to blue: what the published weights of residual networks and of VGG16 expect.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Picture(nn.Module):
    """A network without its classifier, and a convolution into the common space: f[B, H, W, 3] -> f[B, H', W', embedding]."""

    trunk: nn.Module
    embedding: int
    size: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        seen = self.trunk(image, train)
        return nn.Conv(self.embedding, (self.size,) * 2, padding=(self.size // 2,) * 2, kernel_init=init, dtype=self.dtype,
                       name="embedder")(seen)


class SpokenObjectNet(nn.Module):
    """Maps of pictures and of sounds in one space.

    Attributes:
      own: the section `system` of a config.
      widths, depths: of `ResDAVEnet`; the last width is the size of the space.
      dtype: dtype of the computation.
      remat: recompute each block's activations in the backward pass.
    """

    own: Mapping[str, Any]
    widths: Sequence[int]
    depths: Sequence[int]
    dtype: jnp.dtype
    remat: bool

    def setup(self):
        own, dtype = self.own, self.dtype
        if own["audio_network"] == "davenet":
            self.audio = DAVEnet(own["audio_width"], dtype)
        else:
            self.audio = ResDAVEnet(self.widths, self.depths, jitter=tuple(own["jitter"]), jitter_form=own["jitter_form"],
                                    dtype=dtype, remat=self.remat)
        if own["image_depth"] == 16:
            trunk: nn.Module = VGG16(own["image_width"], dtype, parent=None)
        else:
            trunk = ResNet(own["image_depth"], own["image_width"], dtype, frozen=own["image_batch_norm"] == "running",
                           remat=self.remat, parent=None)
        self.video = Picture(trunk, self.widths[-1], 3 if own["image_depth"] == 16 else 1, dtype)

    def __call__(self, inputs: Mapping[str, jax.Array], train: bool) -> dict[str, jax.Array]:
        """Maps of what inputs hold: video f32[B, H, W, C] of normalised images, audio f32[B, T', C] of spectrograms."""
        towers = {name: getattr(self, name) for name in inputs}
        return {name: towers[name](inputs[name], train).astype(jnp.float32) for name in inputs}


def network(config) -> SpokenObjectNet:
    """The Flax module of a config."""
    widths = tuple(max(1, round(width * config.system.audio_width)) for width in WIDTHS)
    return SpokenObjectNet(config.system.to_dict(), widths, DEPTHS, jnp.dtype(config.train.precision), config.train.remat)


def make(config) -> base.System:
    """Builds the pure functions of the system from a checked config.

    Raises:
      ConfigError: the front end is not the one that it hears with.
    """
    own, net = config.system, network(config)
    by_maps = own.similarity in ("misa", "sima")

    def inputs(batch, rng=None):
        """Images and spectrograms that the batch holds, and how many frames int32[B] of each are sound; with a key, augmented."""
        made, length = {}, None
        if "image" in batch:
            image = batch["image"] / 255.0
            if rng is not None:
                rng_flip, rng_colour = jax.random.split(rng)
                image = augment.flip(rng_flip, image) if config.augment.flip else image
                image = augment.colour(rng_colour, image, brightness=config.augment.brightness,
                                       saturation=config.augment.saturation)
            made["video"] = (image - jnp.array(MEAN)) / jnp.array(DEVIATION)
        if fields.has_sound(batch):
            made["audio"], length = fields.spectrogram(batch, config.audio, own.padding)
        return made, length

    def init(rng, batch):
        return net.init(rng, inputs(batch)[0], train=False)

    def sides(variables, batch):
        """What of each modality is compared: the map, and of sounds how many moments of it count."""
        made, length = inputs(batch)
        found: dict[str, Any] = dict(net.apply(variables, made, train=False))
        if "audio" in found:
            found["audio"] = (found["audio"], pool.valid_positions(length, made["audio"].shape[2], found["audio"].shape[1]))
        return found

    def embed(variables, batch):
        found = sides(variables, batch)
        means = {"video": lambda picture: picture.mean((1, 2)), "audio": lambda sound: pool.mean_over_time(*sound)}
        return {name: means[name](side) for name, side in found.items()}

    def maps(variables, batch):
        found = net.apply(variables, inputs(batch)[0], train=False)
        return {name: value[:, None] if name == "audio" else value for name, value in found.items()}

    def nearness(pictures, sound):
        return matchmap.similarity("sisa" if own.similarity == "pooled" else own.similarity, pictures, *sound)

    def loss(variables, batch, rng):
        rng_image, rng_jitter, rng_rows, rng_columns = jax.random.split(rng, 4)
        made, length = inputs(batch, rng_image)
        found, new = net.apply(variables, made, train=True, mutable=["batch_stats"], rngs={"jitter": rng_jitter})
        count = pool.valid_positions(length, made["audio"].shape[2], found["audio"].shape[1])
        scores, present = nearness(found["video"], (found["audio"], count)), length > 0
        terms = _terms(own, scores, (rng_rows, rng_columns), present)
        total = sum(part / jnp.maximum(number, 1.0) for part, number in terms.values())
        rows = jnp.float32(len(scores))
        hits = jnp.argmax(jnp.where(present[:, None], scores, -jnp.inf), 0) == jnp.arange(len(scores))
        metrics = {"loss": (total * rows, rows), **terms}
        metrics["recall_audio_to_video"] = (jnp.sum(hits & present, dtype=jnp.float32), jnp.sum(present, dtype=jnp.float32))
        return total, new, metrics

    stride = 16 if own.image_depth == 16 else 32
    return base.System(
        features=fields.image(config.data.frame_size) | fields.sound(config),
        init=init, loss=loss, embed=embed, maps=maps, common_space=True, similarity="dot", checkpoint_keys=CHECKPOINT_KEYS,
        cells={"video": (stride, stride), "audio": (40, 16)}, places=lambda variables, batch: maps(variables, batch)["video"],
        compare=base.Comparison(sides, lambda found: nearness(found["video"], found["audio"])) if by_maps else None)


def _terms(own, scores: jax.Array, rngs, present: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
    """The parts of the loss of scores f32[B, B] of pictures and captions: name -> (sum, count)."""
    if own.loss == "mms":
        return {"mms": losses.mms(scores, own.margin, present)}
    ways = {"video_to_audio": (scores, rngs[0]), "audio_to_video": (scores.T, rngs[1])}
    terms = {f"sampled_{name}": losses.triplet(way, losses.draw_impostors(rng, len(way), present), own.margin, present)
             for name, (way, rng) in ways.items()}
    if own.loss == "triplets":
        terms |= {f"semi_hard_{name}": losses.semi_hard_triplet(way, own.margin, present, legacy_floor=own.legacy_floor)
                  for name, (way, _) in ways.items()}
    return terms


# Published checkpoints ---------------------------------------------------------------------------------------------------
#
# ResDAVEnet-VQ and DAVEnet-pytorch save what hears and what sees in two files (audio_model, image_model); the networks with code
# books are not among these. Both in one file: their names behind "audio_model." and "image_model.". What sees starts with
# torchvision's weights of ImageNet, which have a classifier instead of the embedder.

_HABITS = {"system.padding": "loudest"}
_BESIDE: dict[str, tuple[int, ...] | None] = {"*.num_batches_tracked": ()}


def _audio(network: str, theirs: str = ""):
    return {"resdavenet": resdavenet, "davenet": davenet}[network](theirs, "audio/")


def _image(depth: int, theirs: str = ""):
    if depth == 16:
        return [*vgg16(theirs + "image_model.", "video/trunk/"), *torch_conv(f"{theirs}image_model.30", "video/embedder")]
    return [*resnet2d(depth, theirs, "video/trunk/"), *torch_conv(f"{theirs}embedder", "video/embedder")]


def _half(entries, missing: str, config: Mapping[str, Any]) -> Checkpoint:
    return Checkpoint(config, tuple(entries), _BESIDE, missing=(missing,), habits={} if missing == "audio" else _HABITS)


CHECKPOINT_KEYS = {
    "resdavenet": Checkpoint({}, (*_audio("resdavenet", "audio_model."), *_image(50, "image_model.")), _BESIDE, habits=_HABITS),
    "resdavenet_audio": _half(_audio("resdavenet"), "video", {}),
    "resdavenet_image": _half(_image(50), "audio", {}),
    "davenet_audio": _half(_audio("davenet"), "video", {"system.audio_network": "davenet"}),
    **{f"davenet_image_{name}{depth}": _half(_image(depth), "audio", {"system.image_depth": depth})
       for name, depth in (("vgg", 16), ("resnet", 18), ("resnet", 34))},
    **{f"imagenet_resnet{depth}": Checkpoint({"system.image_depth": depth}, tuple(resnet2d(depth, "", "video/trunk/")), BESIDE,
                                             missing=("audio",), initial=("*/video/embedder/*",)) for depth in (18, 34, 50)},
}
