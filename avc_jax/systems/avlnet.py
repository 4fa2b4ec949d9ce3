"""AVLnet: the pictures of a clip and its raw sound in one space; with captions AVLnet-Text, of three branches or fused.

Rouditchenko et al., "AVLnet: Learning Audio-Visual Language Representations from Instructional Videos", Interspeech 2021,
arXiv:2006.09199, and its released code, whose numbers and names of arrays these are.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax import errors, fields, losses
from avc_jax.nn import pool
from avc_jax.nn.gated import GatedFusion, GatedUnit
from avc_jax.nn.linear import Linear
from avc_jax.nn.resdavenet import ResDAVEnet
from avc_jax.nn.words import WordPool
from avc_jax.published.resdavenet import resdavenet
from avc_jax.published.table import Checkpoint, Entry, torch_linear
from avc_jax.schema import Key
from avc_jax.systems import base

CONFIG = dict(
    variant=Key("audio_video", "audio_video: AVLnet; tri: AVLnet-Text, with a branch for each of sound, pictures and words; "
                "fused: AVLnet-Text whose sound and words make one vector.", choices=("audio_video", "tri", "fused")),
    embedding=Key(4096, "Units of the common space; the paper's tri has 6144.", low=1, high=1 << 16),
    trunk_width=Key(1.0, "Factor on the channels of the network that hears.", low=1 / 64, high=8.0),
    video_width=Key(4096, "Numbers of a clip's pictures: 2048 for each stream of config.data.streams.", low=1, high=1 << 16),
    video_zeros=Key(0, "Of these, the last so many are zeros, and config.data.streams makes the others: 2048 of a picture, which "
                    "has no 3-D features, for a network of both streams.", low=0, high=1 << 16),
    loss=Key("mms", "mms: masked margin softmax (the paper); amm: with the adaptive mean margin of Spoken Moments; infonce: mms "
             "without a margin; nce: its denominators hold negatives alone; max_margin: HowTo100M's hinge; mil_nce.",
             choices=("mms", "amm", "infonce", "nce", "max_margin", "mil_nce")),
    margin=Key(0.001, "loss=mms: what true pairs are lowered by; loss=max_margin: what they have to win by (0.1 in HowTo100M).",
               low=0.0, high=100.0),
    margin_growth=Key(1.0, "loss=mms: factor on the margin every margin_every steps; the original loss has 1.002, the released "
                      "code of AVLnet a fixed margin.", low=1.0, high=10.0),
    margin_every=Key(1000, "loss=mms: steps between the factors.", low=1, high=10**9),
    margin_share=Key(0.5, "loss=amm: the margin as a share of what a pair is above the mean of its negatives.", low=0.0,
                     high=1.0),
    margin_gradient=Key(True, "loss=amm: the gradient flows through the margin, as in a re-implementation; the paper does not "
                        "say."),
    same_film=Key("negatives", "loss=mms, infonce: clips of one film in a batch are each other's negatives (the paper, even "
                  "where they overlap), or ignored.", choices=("negatives", "ignored")),
    hard_share=Key(0.5, "loss=max_margin: weight of negatives of the same film, as a share of all; 0: all weigh the same.",
                   low=0.0, high=1.0),
    tri_loss=Key("pairs", "variant=tri: the sum over the three pairs of branches (pre-training), or words against the sum of "
                 "sound and pictures (text_to_sum, the paper's fine-tuning).", choices=("pairs", "text_to_sum")),
    pool=Key("masked", "Positions of a sound that training averages over: those that are sound (masked, as inference always "
             "does), or all. The paper: all on HowTo100M, masked in fine-tuning.", choices=("masked", "all")),
    batch_norm=Key("batch", "Training normalises by the batch, or by running statistics that stay as they are (running). The "
                   "paper: batch on HowTo100M; on other sets, fine-tuned or from scratch, running, by oversight.",
                   choices=("batch", "running")),
    batch_norm_group=Key(0, "Rows that share normalisation statistics; 0: the global batch; the paper: those of one of two or "
                         "four devices.", low=0, high=1 << 20),
    padding=Key("floor", "Decibels after the end of a sound: the lowest (floor), or 0, as loud as its peak (loudest). The paper: "
                "loudest, by its padding with zeros.", choices=("floor", "loudest")),
    word_padding=Key("masked", "Places without a word have no part in a caption (masked), or count as words of zeros (counted, "
                     "the paper).", choices=("masked", "counted")),
)

# What the published network takes.
DEFAULTS = {"data.source": "features", "data.pairing": "none", "data.window_s": 10.0, "audio.front_end": "mel40",
            "audio.rate_hz": 16000}

# Of ResDAVEnet: channels of its first convolution and of its stages, and blocks of each stage.
WIDTHS, DEPTHS = (128, 128, 256, 512, 1024), (2, 2, 2, 2)

# Per variant, which embeddings the loss compares, and which queries the paper looks for which items with.
_COMPARED = {"audio_video": (("audio", "video"),), "tri": (("audio", "video"), ("audio", "text"), ("text", "video")),
             "fused": (("audio+text", "video"),)}
_ACROSS = (("audio", "video"), ("video", "audio"))
_DIRECTIONS = {
    "audio_video": _ACROSS,
    "tri": (*_ACROSS, ("text", "video"), ("video", "text"), ("text", "audio+video"), ("audio+video", "text")),
    "fused": (("audio+text", "video"), ("video", "audio+text")),
}


class Sound(nn.Module):
    """Log-mel spectrograms f32[B, 40, T] into the common space: f32[B, embedding].

    Attributes:
      trunk: arguments of `ResDAVEnet`.
      embedding: units.
      gated: whether a gated unit comes before the last layer; the fused variant declares one and does not use it.
    """

    trunk: Mapping[str, Any]
    embedding: int
    gated: bool

    @nn.compact
    def __call__(self, spectrogram: jax.Array, length: jax.Array | None, train: bool) -> jax.Array:
        """length: int32[B], the frames that are averaged over; None: all."""
        heard = ResDAVEnet(**self.trunk, name="trunk")(spectrogram, train)
        count = None if length is None else pool.valid_positions(length, spectrogram.shape[2], heard.shape[1])
        heard, dtype = pool.mean_over_time(heard, count), self.trunk["dtype"]
        if self.gated:
            heard = GatedUnit(heard.shape[-1], dtype, name="unit")(heard)
        else:
            GatedUnit(heard.shape[-1], dtype, name="unused_unit")(heard)
        return Linear(self.embedding, dtype, name="projection")(heard)


class Words(nn.Module):
    """Word vectors f[B, W, 300] into the common space: f[B, embedding]; `gated` as of `Sound`."""

    embedding: int
    gated: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, words: jax.Array, count: jax.Array | None) -> jax.Array:
        pooled = WordPool(self.embedding, self.dtype, name="words")(words, count)
        return GatedUnit(self.embedding, self.dtype, name="unit")(pooled) if self.gated else pooled


class AVLnet(nn.Module):
    """The branches of a variant, each for itself, and the fusion where there is one."""

    variant: str
    embedding: int
    trunk: Mapping[str, Any]

    def setup(self):
        fused, dtype = self.variant == "fused", self.trunk["dtype"]
        branch = self.embedding // 2 if fused else self.embedding
        self.audio = Sound(self.trunk, branch, not fused)
        self.video = GatedUnit(self.embedding, dtype)
        if self.variant != "audio_video":
            self.text = Words(branch, not fused, dtype)
        if fused:
            self.fusion = GatedFusion(self.embedding, dtype)

    def __call__(self, inputs: Mapping[str, tuple], train: bool) -> dict[str, jax.Array]:
        """The embeddings that inputs suffice for: modality -> f32[B, embedding].

        Args:
          inputs: modality -> arguments of its branch.
          train: whether normalisation is that of training.
        """
        found = {}
        if "audio" in inputs:
            found["audio"] = self.audio(*inputs["audio"], train)
        if "video" in inputs:
            found["video"] = self.video(*inputs["video"])
        if "text" in inputs:
            found["text"] = self.text(*inputs["text"])
        if self.variant == "fused":
            branches = [found.pop(name) for name in ("audio", "text") if name in found]
            if len(branches) == 2:
                found["audio+text"] = self.fusion(*branches)
        return {name: value.astype(jnp.float32) for name, value in found.items()}


def network(config) -> AVLnet:
    """The Flax module of a config."""
    own = config.system
    widths = tuple(max(1, round(width * own.trunk_width)) for width in WIDTHS)
    trunk = dict(widths=widths, depths=DEPTHS, frozen=own.batch_norm == "running", group_size=own.batch_norm_group,
                 dtype=jnp.dtype(config.train.precision), remat=config.train.remat)
    return AVLnet(own.variant, own.embedding, trunk)


def _with_sums(found: dict[str, jax.Array], present: Mapping[str, jax.Array], variant: str) -> dict[str, jax.Array]:
    """Adds what the tri variant is asked with: sound and pictures together, of which one may be missing."""
    if variant != "tri" or not {"audio", "video"} <= set(found):
        return found
    return found | {"audio+video": sum(jnp.where(present[name][:, None], found[name], 0.0) for name in ("audio", "video"))}


def make(config) -> base.System:
    """Builds the pure functions of AVLnet from a checked config.

    Raises:
      ConfigError: the front end is not the one that it hears with, a batch does not split into groups of normalisation, or
        nothing is left of a clip's pictures.
    """
    base.check_groups(config)
    own, net = config.system, network(config)
    if own.video_zeros >= own.video_width:
        raise errors.ConfigError(f"config.system.video_zeros: found {own.video_zeros}, expected less than "
                                 f"config.system.video_width = {own.video_width}, of which it is a part.")
    texts = own.variant != "audio_video"
    grows = own.loss == "mms" and own.margin_growth > 1
    compared = (("text", "audio+video"),) if (own.variant, own.tri_loss) == ("tri", "text_to_sum") else _COMPARED[own.variant]

    def inputs(batch, masked=True):
        """Arguments of each branch that the batch has something for, and in which rows it does."""
        made: dict[str, tuple] = {}
        present: dict[str, jax.Array] = {}
        if fields.has_sound(batch):
            level, length = fields.spectrogram(batch, config.audio, own.padding)
            made["audio"], present["audio"] = (level, length if masked else None), length > 0
        if "video" in batch:
            seen = jnp.pad(batch["video"], ((0, 0), (0, own.video_zeros)))
            made["video"], present["video"] = (seen,), fields.there(batch, "video")
        if texts and "words" in batch:
            count = batch.get("words_length") if own.word_padding == "masked" else None
            present["text"] = fields.there(batch, "words") if own.word_padding == "masked" else jnp.ones(
                len(batch["words"]), bool)
            made["text"] = (batch["words"].astype(jnp.float32), count)
        return made, present

    def init(rng, batch):
        variables = dict(net.init(rng, inputs(batch)[0], train=False))
        return variables | ({base.SCHEDULE: {"step": jnp.zeros((), jnp.int32)}} if grows else {})

    def embed(variables, batch):
        made, present = inputs(batch)
        return _with_sums(net.apply(variables, made, train=False), present, own.variant)

    def loss(variables, batch, rng):
        made, present = inputs(batch, own.pool == "masked")
        found, new = net.apply(variables, made, train=True, mutable=["batch_stats"])
        found, new, margin = _with_sums(found, present, own.variant), dict(new), own.margin
        if grows:
            # Counted here, once for each part of a step: the loss is not told the step.
            step = variables[base.SCHEDULE]["step"]
            margin = losses.scheduled_margin(step // config.train.accumulate, own.margin, own.margin_growth, own.margin_every)
            new[base.SCHEDULE] = {"step": step + 1}
        total, metrics = jnp.float32(0), {}
        for left, right in compared:
            scores = jnp.matmul(found[left], found[right].T, precision="highest")
            both = _present(present, left) & _present(present, right)
            part, count = _ranking(own, scores, margin, both, batch["file"])
            total += part / jnp.maximum(count, 1.0)
            best = jnp.argmax(jnp.where(both[None, :], scores, -jnp.inf), 1) == jnp.arange(len(scores))
            metrics[f"recall_{left}_to_{right}"] = (jnp.sum(best & both, dtype=jnp.float32), jnp.sum(both, dtype=jnp.float32))
        rows = jnp.float32(len(scores))
        return total, new, {"loss": (total * rows, rows)} | metrics

    features = fields.sound(config) | fields.video(own.video_width - own.video_zeros)
    if texts:
        features |= fields.words(config.data.max_words)
    return base.System(
        features=features | {"file": base.Feature((), "int32", "index of the film that the clip is of")},
        init=init, loss=loss, embed=embed, common_space=True, similarity="dot", directions=_DIRECTIONS[own.variant],
        checkpoint_keys=CHECKPOINT_KEYS)


def _present(present: Mapping[str, jax.Array], name: str) -> jax.Array:
    """bool[B]: which rows have all that an embedding, such as "audio+text", is made of."""
    return jnp.stack([present[part] for part in name.split("+")]).all(0)


def _ranking(own, scores: jax.Array, margin, present: jax.Array, film: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(sum, count) of the loss that the section `system` asks for, of scores f32[B, B]."""
    if own.loss in ("mms", "infonce"):
        same = film[:, None] == film[None, :] if own.same_film == "ignored" else None
        return losses.mms(scores, margin if own.loss == "mms" else 0.0, present, same)
    if own.loss == "amm":
        return losses.adaptive_margin(scores, own.margin_share, present, follow=own.margin_gradient)
    if own.loss == "max_margin":
        weight = losses.film_weights(film, own.hard_share, present) if own.hard_share else None
        return losses.max_margin(scores, margin, weight, present)
    return {"nce": losses.nce, "mil_nce": losses.mil_nce}[own.loss](scores, present)


# Published checkpoints ---------------------------------------------------------------------------------------------------
#
# The release (roudimit/AVLnet) saves the state dict of its whole network, one for each variant.


def _gated(theirs: str, ours: str) -> list[Entry]:
    return [*torch_linear(f"{theirs}.fc", f"{ours}/linear"), *torch_linear(f"{theirs}.cg.fc", f"{ours}/gate")]


def _checkpoint(variant: str, entries: list[Entry]) -> Checkpoint:
    """A kind that has `entries` beside what all variants have; of any size, with the padding that it was trained with."""
    habits: dict[str, Any] = {"system.padding": "loudest", "system.video_zeros": 0}
    habits |= {"system.word_padding": "counted"} if variant != "audio_video" else {}
    sizes = {"system.embedding": ("GU_video.fc.weight", 0), "system.video_width": ("GU_video.fc.weight", 1)}
    unit = "audio/unused_unit" if variant == "fused" else "audio/unit"
    common = [*resdavenet("DAVEnet.", "audio/trunk/"), *torch_linear("DAVEnet_projection", "audio/projection"),
              *_gated("GU_audio", unit), *_gated("GU_video", "video")]
    return Checkpoint({"system.variant": variant}, (*common, *entries), {"*.num_batches_tracked": ()}, habits=habits, sizes=sizes)


_CAPTION = torch_linear("text_pooling_caption.fc", "text/words/linear")
CHECKPOINT_KEYS = {
    "avlnet": _checkpoint("audio_video", []),
    "avlnet_text_tri": _checkpoint("tri", [*_CAPTION, *_gated("GU_text_captions", "text/unit")]),
    "avlnet_text_fused": _checkpoint("fused", _CAPTION + [
        entry for theirs, ours in (("fc_audio", "first"), ("fc_text", "second"), ("cg.fc", "gate"))
        for entry in torch_linear(f"GU_audio_text.{theirs}", f"fusion/{ours}")]),
}
