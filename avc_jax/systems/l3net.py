"""L3-Net: audio-visual correspondence from a frame and a second of sound, with the L3 and the AVE-Net heads.

Arandjelovic & Zisserman, "Look, Listen and Learn", ICCV 2017, arXiv:1705.08168 (L3);
Arandjelovic & Zisserman, "Objects that Sound", ECCV 2018, arXiv:1712.06651 (AVE);
Cramer, Wu, Salamon & Bello, "Look, Listen, and Learn More", ICASSP 2019 (OpenL3, whose published weights can be converted).
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from avc_jax import audio, augment, losses
from avc_jax.nn.vgg import VGGTrunk, global_max_pool, pool_to_grid
from avc_jax.published.table import Checkpoint, Entry, keras_layer, keras_name, keras_norm, torch_conv, torch_norm
from avc_jax.schema import Key
from avc_jax.systems import base

CONFIG = dict(
    head=Key("l3", "l3: concatenate and classify; ave: compare unit embeddings by their distance.", choices=("l3", "ave")),
    variant=Key("paper", "openl3: as its published weights, with ReLU before normalisation in conv1_2 of the vision trunk, pools "
                "there that keep odd edges, and embeddings (head=l3) and transfer features pooled from conv4_2's raw output.",
                choices=("paper", "openl3")),
    input_norm=Key(False, "Normalise frames and spectrograms by batch first, as OpenL3 does after its decibels."),
    width=Key(1.0, "Factor on the channels of both trunks.", low=1 / 64, high=8.0),
    conv1_stride=Key(1, "Stride of the first convolution: 1 as drawn in the paper, 2 at a quarter of the cost.",
                     choices=(1, 2)),
    conv_bias=Key(False, "Biases in the convolutions, as in the Keras port."),
    embedding=Key(128, "Units of the fusion layer (l3) or of the common space (ave).", low=1, high=1 << 16),
    transfer_tap=Key("conv", "variant=paper: where transfer features of sounds are read off conv4_2: its raw output (conv, "
                     "the Keras port) or after normalisation (norm); the paper says before ReLU.",
                     choices=("conv", "norm"), free=True),
    batch_norm_group=Key(0, "Rows that share normalisation statistics; 0: the global batch; 16: the paper's workers.",
                         low=0, high=1 << 20),
    batch_norm_momentum=Key(0.99, "Share of the old running statistics kept at each step.", low=0.0, high=1.0),
    batch_norm_epsilon=Key(1e-3, "Added to the variance.", low=0.0, high=1.0),
)


# Cells of the grid that conv4_2 is max-pooled to for transfer: 4 x 4 x 512 = 8192 and (frequency, time) 4 x 3 x 512 = 6144
# numbers (arXiv:1705.08168, sections 4.1 and 4.2).
TRANSFER_GRID = {"video": (4, 4), "audio": (4, 3)}


class Head(nn.Module):
    """What follows the two global max-pools: f[B, C] each into the space of the embeddings, and two embeddings to logits."""

    def project(self, vision: jax.Array, sound: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Both pooled vectors to embeddings."""
        return self.project_vision(vision), self.project_sound(sound)

    def project_vision(self, vision: jax.Array) -> jax.Array:
        return vision

    def project_sound(self, sound: jax.Array) -> jax.Array:
        return sound


class L3Head(Head):
    """Concatenates both vectors and classifies them (arXiv:1705.08168, Figure 2): f[B, C], f[B, C] -> f32[B, 2]."""

    embedding: int
    dtype: jnp.dtype

    def setup(self):
        self.fc1 = nn.Dense(self.embedding, dtype=self.dtype, kernel_init=nn.initializers.he_normal())
        self.fc2 = nn.Dense(2, dtype=jnp.float32, kernel_init=nn.initializers.he_normal())

    def fuse(self, vision: jax.Array, sound: jax.Array) -> jax.Array:
        return self.fc2(nn.relu(self.fc1(jnp.concatenate([vision, sound], -1))).astype(jnp.float32))


class AVEHead(Head):
    """Judges by the Euclidean distance of two unit embeddings (arXiv:1712.06651, Figure 3): -> f32[B, 2].

    fc3 starts with the right sign, a small distance says "corresponds", and is free afterwards.
    """

    embedding: int
    dtype: jnp.dtype

    def setup(self):
        def dense(name):
            return nn.Dense(self.embedding, dtype=self.dtype, kernel_init=nn.initializers.he_normal(), name=name)

        self.vision_layers = (dense("vision_fc1"), dense("vision_fc2"))
        self.sound_layers = (dense("audio_fc1"), dense("audio_fc2"))
        self.fc3 = nn.Dense(2, dtype=jnp.float32, kernel_init=lambda *_: jnp.array([[1.0, -1.0]]),
                            bias_init=lambda *_: jnp.array([-1.0, 1.0]))

    def project_vision(self, vision: jax.Array) -> jax.Array:
        """Into the common space, as unit rows f32[B, embedding]."""
        return _unit(_two_layers(self.vision_layers, vision))

    def project_sound(self, sound: jax.Array) -> jax.Array:
        """Into the common space, as unit rows f32[B, embedding]."""
        return _unit(_two_layers(self.sound_layers, sound))

    def fuse(self, vision: jax.Array, sound: jax.Array) -> jax.Array:
        # Inside the root, because the gradient of a plain root is infinite where the embeddings agree.
        distance = jnp.sqrt(jnp.sum((vision - sound) ** 2, -1, keepdims=True) + 1e-12)
        return self.fc3(distance)


def _two_layers(layers, x: jax.Array) -> jax.Array:
    return layers[1](nn.relu(layers[0](x)))


def _unit(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-12)


class L3Net(nn.Module):
    """Two trunks and a head. Frames f32[B, S, S, 3] in [-1, 1], log-spectrograms f32[B, F, T]."""

    head: str
    embedding: int
    trunk: dict
    openl3: bool
    dtype: jnp.dtype

    def setup(self):
        self.vision = VGGTrunk(**self.trunk, openl3_vision=self.openl3, dtype=self.dtype)
        self.audio = VGGTrunk(**self.trunk, dtype=self.dtype)
        heads: dict[str, type[L3Head | AVEHead]] = {"l3": L3Head, "ave": AVEHead}
        self.fusion = heads[self.head](self.embedding, self.dtype)

    def vision_map(self, frame: jax.Array, train: bool) -> jax.Array:
        """conv4_2 after ReLU of the vision trunk: f[B, H, W, C]."""
        return self.vision(frame.astype(self.dtype), train)

    def sound_map(self, spectrogram: jax.Array, train: bool) -> jax.Array:
        """conv4_2 after ReLU of the audio trunk: f[B, F', T', C]."""
        return self.audio(spectrogram[..., None].astype(self.dtype), train)

    def embed_vision(self, frame: jax.Array, train: bool) -> jax.Array:
        """pool4 of the vision trunk, in the common space where the head has one: f[B, D]."""
        return self.fusion.project_vision(global_max_pool(self.vision_map(frame, train)))

    def embed_places(self, frame: jax.Array, train: bool) -> jax.Array:
        """Each cell of the vision trunk's map as `embed_vision` embeds the whole: f[B, H, W, D]."""
        return self.fusion.project_vision(self.vision_map(frame, train))

    def embed_sound(self, spectrogram: jax.Array, train: bool) -> jax.Array:
        """pool4 of the audio trunk, in the common space where the head has one: f[B, D]."""
        return self.fusion.project_sound(global_max_pool(self.sound_map(spectrogram, train)))

    def embed(self, frame: jax.Array, spectrogram: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Both embeddings."""
        vision, sound = global_max_pool(self.vision_map(frame, train)), global_max_pool(self.sound_map(spectrogram, train))
        return self.fusion.project(vision, sound)

    def fuse(self, vision: jax.Array, sound: jax.Array) -> jax.Array:
        """f32[B, 2] logits of two embeddings; column 1 says "these belong together"."""
        return self.fusion.fuse(vision, sound)

    def __call__(self, frame: jax.Array, spectrogram: jax.Array, train: bool) -> jax.Array:
        return self.fuse(*self.embed(frame, spectrogram, train))


def network(config) -> L3Net:
    """The Flax module of a config."""
    own = config.system
    return L3Net(
        head=own.head,
        embedding=own.embedding,
        openl3=own.variant == "openl3",
        trunk=dict(width=own.width, conv1_stride=own.conv1_stride, conv_bias=own.conv_bias, input_norm=own.input_norm,
                   group_size=own.batch_norm_group, momentum=own.batch_norm_momentum,
                   epsilon=own.batch_norm_epsilon, remat=config.train.remat),
        dtype=jnp.dtype(config.train.precision),
    )


def _present(batch, spectrogram: Callable[[jax.Array], jax.Array]):
    """(modality, network input) of each half of an example that is there."""
    if "frame" in batch:
        yield "video", 2.0 * (batch["frame"] / 255.0) - 1.0
    if "waveform" in batch:
        yield "audio", spectrogram(batch["waveform"] / 32768.0)


def _outputs(net: L3Net, spectrogram: Callable[[jax.Array], jax.Array], transfer_tap: str) -> dict[str, Any]:
    """The functions of the contract that answer for each modality alone: embed, maps, transfer."""
    towers = {"video": ("vision", net.vision_map, net.embed_vision), "audio": ("audio", net.sound_map, net.embed_sound)}
    taps = {"video": "relu", "audio": {"conv": "conv2", "norm": "norm2"}[transfer_tap]}
    if net.openl3:
        taps = dict.fromkeys(towers, "conv2")

    def read(variables, modality, x, tap):
        """f32[B, H, W, C] conv4_2 of a tower: as conv2 or norm2 give it, or after ReLU (relu)."""
        tower, method, _ = towers[modality]
        last, kept = net.apply(variables, x, train=False, method=method, mutable=["intermediates"],
                               capture_intermediates=lambda module, _: module.name == tap)
        found = last if tap == "relu" else kept["intermediates"][tower]["block4"][tap]["__call__"][0]
        return found.astype(jnp.float32)

    def embed(variables, batch):
        if net.openl3 and net.head == "l3":
            return {modality: global_max_pool(read(variables, modality, x, "conv2"))
                    for modality, x in _present(batch, spectrogram)}
        return {modality: net.apply(variables, x, train=False, method=towers[modality][2]).astype(jnp.float32)
                for modality, x in _present(batch, spectrogram)}

    def maps(variables, batch):
        return {modality: read(variables, modality, x, "relu") for modality, x in _present(batch, spectrogram)}

    def transfer(variables, batch):
        return {modality: pool_to_grid(read(variables, modality, x, taps[modality]), *TRANSFER_GRID[modality])
                for modality, x in _present(batch, spectrogram)}

    return dict(embed=embed, maps=maps, transfer=transfer)


def _parts(net: L3Net, inputs: Callable[..., tuple[jax.Array, jax.Array]]) -> base.Parts:
    """The trunks up to pool4, and the head."""

    def trunk(place: int, to_map: Callable) -> base.Part:
        def pool4(module, x, train):
            return global_max_pool(to_map(module, x, train)).astype(jnp.float32)

        def init(rng, batch):
            return net.init(rng, inputs(batch)[place], False, method=pool4)

        def apply(variables, batch, rng, train):
            return net.apply(variables, inputs(batch, rng)[place], train, method=pool4, mutable=["batch_stats"])

        return base.Part(init, apply)

    def join(module, pooled):
        return module.fuse(*module.fusion.project(pooled["video"], pooled["audio"]))

    return base.Parts(
        trunks={"video": trunk(0, L3Net.vision_map), "audio": trunk(1, L3Net.sound_map)},
        fusion=base.Part(lambda rng, pooled: net.init(rng, pooled, method=join),
                         lambda variables, pooled, rng, train: (net.apply(variables, pooled, method=join), {})))


def make(config) -> base.System:
    """Builds the pure functions of L3-Net from a checked config.

    Raises:
      ConfigError: a batch does not split into groups of normalisation.
    """
    base.check_groups(config)
    net = network(config)
    spectrogram = audio.front_end(config.audio)
    shared = config.data.pairing == "shared"

    def inputs(batch, rng=None):
        """uint8 frames and int16 samples to network inputs; with a key, augmented."""
        frame, waveform = batch["frame"] / 255.0, batch["waveform"] / 32768.0
        if rng is not None:
            rng_flip, rng_colour, rng_gain = jax.random.split(rng, 3)
            if config.augment.flip:
                frame = augment.flip(rng_flip, frame)
            frame = augment.colour(rng_colour, frame, brightness=config.augment.brightness,
                                   saturation=config.augment.saturation)
            waveform = augment.gain(rng_gain, waveform, *config.augment.gain)
        return 2.0 * frame - 1.0, spectrogram(waveform)

    def init(rng, batch):
        halves = dict(_present(batch, spectrogram))
        if len(halves) == 2:
            return net.init(rng, *halves.values(), train=False)
        (modality, half), = halves.items()
        return net.init(rng, half, train=False, method={"video": net.embed_vision, "audio": net.embed_sound}[modality])

    def loss(variables, batch, rng):
        (vision, sound), new = net.apply(variables, *inputs(batch, rng), train=True, method=net.embed, mutable=["batch_stats"])
        label, weight = batch["label"], jnp.ones(batch["label"].shape, jnp.float32)
        if shared:
            # Each frame also meets the sound of the row before: N false pairs from the N true pairs' features.
            # In a batch where a file turns up twice in a row, that pair is neither true nor false: weight 0.
            different = batch["file"] != jnp.roll(batch["file"], 1)
            vision, sound = jnp.concatenate([vision, vision]), jnp.concatenate([sound, jnp.roll(sound, 1, axis=0)])
            label = jnp.concatenate([label, jnp.zeros_like(label)])
            weight = jnp.concatenate([weight, different.astype(jnp.float32)])
        logits = net.apply(variables, vision, sound, method=net.fuse)
        total, count = losses.correspondence(logits, label, weight)
        return total / count, new, {"loss": (total, count), "accuracy": losses.hits(logits, label, weight)}

    def places(variables, batch):
        return net.apply(variables, 2.0 * (batch["frame"] / 255.0) - 1.0, train=False, method=net.embed_places)

    def score(variables, batch):
        return jax.nn.softmax(net.apply(variables, *inputs(batch), train=False))[:, 1]

    side, samples = config.data.frame_size, round(config.data.window_s * config.audio.rate_hz)
    return base.System(
        features={
            "frame": base.Feature((side, side, 3), "uint8", "RGB, 0..255", "video"),
            "waveform": base.Feature((samples,), "int16", f"full scale 32768, {config.audio.rate_hz} Hz", "audio"),
            "label": base.Feature((), "int32", "1 = same moment of the same file"),
            "file": base.Feature((), "int32", "index of the file that the frame is from"),
        },
        init=init, loss=loss, score=score, **_outputs(net, spectrogram, config.system.transfer_tap),
        common_space=config.system.head == "ave", parts=_parts(net, inputs), checkpoint_keys=CHECKPOINT_KEYS,
        cells=dict.fromkeys(("video", "audio"), (8 * config.system.conv1_stride,) * 2),
        places=places if config.system.head == "ave" else None,
    )


# Published checkpoints ---------------------------------------------------------------------------------------------------
#
# OpenL3 publishes one tower per file, cut off after conv4_2 (marl/openl3, models.py), as does its PyTorch port for sounds
# (torchopenl3, models.py); the code that trained them keeps both towers and the fusion (marl/l3embedding, model.py).


def _tower(tower: str, conv: Callable, norm: Callable, input_norm: bool, cut: bool) -> tuple[Entry, ...]:
    """A tower in the order of its layers. conv and norm: (number of its kind from 0, our path) -> entries."""
    entries = norm(0, f"{tower}/input_norm") if input_norm else []
    for place, (block, layer) in enumerate(itertools.product((1, 2, 3, 4), (1, 2))):
        entries += conv(place, f"{tower}/block{block}/conv{layer}")
        if not (cut and place == 7):
            entries += norm(place + input_norm, f"{tower}/block{block}/norm{layer}")
    return tuple(entries)


def _keras_tower(tower: str, *, model: str = "", input_norm: bool = True, cut: bool = True) -> tuple[Entry, ...]:
    def conv(place, ours):
        return keras_layer(model + (f"{tower}_embedding_layer" if place == 7 else keras_name("conv2d", place)), ours)

    def norm(place, ours):
        return keras_norm(model + keras_name("batch_normalization", place), ours)

    return _tower(tower, conv, norm, input_norm, cut)


def _torch_tower() -> tuple[Entry, ...]:
    def conv(place, ours):
        return torch_conv("audio_embedding_layer" if place == 7 else f"conv2d_{place + 1}", ours)

    def norm(place, ours):
        return torch_norm(f"batch_normalization_{place + 1}", ours)

    return _tower("audio", conv, norm, input_norm=True, cut=True)


def _whole(config: dict, input_norm: bool) -> Checkpoint:
    towers = (_keras_tower(tower, model=f"{tower}_model/", input_norm=input_norm, cut=False) for tower in ("vision", "audio"))
    fusion = (*keras_layer("dense", "fusion/fc1"), *keras_layer("dense_1", "fusion/fc2"))
    return Checkpoint(config, (*itertools.chain(*towers), *fusion), _KAPRE)


_KAPRE = {"*spectrogram/*": None}  # early files carry the constants of their front end
_PORT = {"system.variant": "openl3", "system.conv_bias": True}
_OPENL3 = _PORT | {"system.input_norm": True}


def _of_port(fft_length: int, mels: int = 0) -> dict[str, tuple[int, ...]]:
    """What the PyTorch port keeps besides: counters, and the Fourier transform and mel filters of its front end."""
    bins = fft_length // 2 + 1
    kernels = dict.fromkeys(("speclayer.dft_real_kernels", "speclayer.dft_imag_kernels"), (bins, 1, fft_length))
    return {"*.num_batches_tracked": (), **kernels} | ({"speclayer.mel_basis": (mels, bins)} if mels else {})


def _half(tower: str, entries: tuple[Entry, ...], config: dict, beside: Mapping[str, tuple[int, ...] | None]) -> Checkpoint:
    missing = {"audio": "video", "vision": "audio"}[tower]
    return Checkpoint(_OPENL3 | config, entries, beside, missing=(missing,), initial=(f"*/{tower}/block4/norm2/*",))


CHECKPOINT_KEYS = {
    "openl3_image": _half("vision", _keras_tower("vision"), {}, {}),
    **{f"openl3_audio_{name}": _half("audio", _keras_tower("audio"), {"audio.front_end": name}, _KAPRE)
       for name in ("linear", "mel128", "mel256")},
    **{f"torchopenl3_{name}": _half("audio", _torch_tower(), {"audio.front_end": name}, _of_port(*sizes))
       for name, sizes in (("linear", (512,)), ("mel128", (2048, 128)), ("mel256", (2048, 256)))},
    "cnn_L3_orig": _whole(_PORT | {"audio.stft_window_s": 512 / 48000, "audio.stft_hop_s": 242 / 48000}, input_norm=False),
    "cnn_L3_kapredbinputbn": _whole(_OPENL3 | {"audio.front_end": "linear"}, input_norm=True),
    "cnn_L3_melspec2": _whole(_OPENL3 | {"audio.front_end": "mel256"}, input_norm=True),
}
