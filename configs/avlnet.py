"""AVLnet on HowTo100M, its variants with text, and their fine-tuning (arXiv:2006.09199); docs/systems/avlnet.md.

    python -m avc_jax.main --config=configs/avlnet.py --workdir=runs/avlnet --config.data.root=/data/howto100m
    python -m avc_jax.main --config=configs/avlnet.py:youcook2 --workdir=runs/youcook2 --config.train.init_from=runs/avlnet \\
        --config.data.root=/data/youcook2

Data: HowTo100M's published features and spectrograms, YouCook2's or MSR-VTT's pickles of clips (docs/datasets).
Hardware: the paper's runs took 2 GPUs of 32 GB (4 with three branches); how long is not said.
Result in the paper, as others quote it, sound to video R@1: YouCook2 30.7, MSR-VTT 20.1 after fine-tuning. We have not run
these to their ends.

Arguments, joined by "+":
  tri, fused            AVLnet-Text
  youcook2, msrvtt      fine-tuning of a checkpoint
  scratch               with one of these: without a checkpoint
  paper                 with what the released code does by oversight: see docs/systems/avlnet.md
  small                 small networks on features of your own videos (avc_jax.features), for a laptop:
    python -m avc_jax.main --config=configs/avlnet.py:small --workdir=runs/small --config.data.root=FEATURES
"""

from avc_jax.config import default

VARIANTS = ("tri", "fused", "youcook2", "msrvtt", "tri+youcook2", "fused+msrvtt", "msrvtt+scratch", "paper", "youcook2+paper",
            "small")
_WORDS = ("tri", "fused", "youcook2", "msrvtt", "scratch", "paper", "small")

# The number of videos is read off the name of the released list of them: in thousands.
HOWTO100M_VIDEOS = 1_166_000
# Clips for training, frames of their spectrograms, and the split that papers report.
CLIPS = {"youcook2": (9586, 5120, "validation"), "msrvtt": (6783, 3072, "test")}


def get_config(variant: str = ""):
    """The paper's run of a variant, with honest choices where it was an oversight unless `paper` is asked for."""
    words = [word for word in variant.split("+") if word]
    unknown = set(words) - set(_WORDS)
    if unknown or len({"tri", "fused"} & set(words)) > 1 or len(set(CLIPS) & set(words)) > 1:
        raise ValueError(f"found variant {variant!r}, expected some of {', '.join(_WORDS)}, joined by +")
    config = default("avlnet")
    config.system.variant = next((word for word in ("tri", "fused") if word in words), "audio_video")
    config.system.embedding = 6144 if "tri" in words else 4096
    config.optimizer.weight_decay = 0.0
    clips = next((word for word in CLIPS if word in words), "")
    if "small" in words:
        _small(config)
    elif clips:
        _clips(config, clips, "scratch" in words)
    else:
        _howto100m(config)
    if "paper" in words:
        config.system.padding = "loudest"
        config.system.word_padding = "counted"
        config.system.pool = "masked" if clips else "all"
        config.system.batch_norm = "running" if clips else "batch"
    return config


def _howto100m(config) -> None:
    """32 clips from each of a batch's videos."""
    recipes = {"audio_video": (128, 1e-3, 30), "tri": (256, 2.5e-4, 15), "fused": (64, 1e-4, 15)}
    videos, lr, epochs = recipes[config.system.variant]
    config.data.source = "howto100m"
    config.data.sound = "spectrogram"
    config.data.pairs_per_visit = 32
    config.data.together = True
    if config.system.variant != "audio_video":
        config.data.clip_choice = "captions"
        config.data.captions = "caption.pickle"
        config.data.word_vectors = "GoogleNews-vectors-negative300.bin"
        config.data.min_clip_s = config.data.window_s = 8.0 if config.system.variant == "tri" else 10.0
    config.train.batch_size = 32 * videos
    config.train.precision = "bfloat16"
    _epochs(config, HOWTO100M_VIDEOS // videos, epochs, lr, 0.9)


def _clips(config, name: str, scratch: bool) -> None:
    """Whole clips of one of the smaller sets."""
    clips, frames, reported = CLIPS[name]
    config.data.source = "clip_pickles"
    config.data.sound = "spectrogram"
    config.data.window_s = frames / 100
    config.data.evaluate_split = reported
    config.train.batch_size = 64 if scratch else 256
    epochs, lr, decay = 5, 1e-4, 1.0
    if scratch:
        epochs = 15
        if name == "msrvtt":
            config.system.embedding = 2048  # as published: the flag is left out there
    elif config.system.variant == "tri":
        epochs, decay = (3, 0.9) if name == "youcook2" else (15, 1.0)
    elif config.system.variant == "fused":
        lr = 1e-5
    if config.system.variant == "tri":
        config.system.tri_loss = "text_to_sum"
    if config.system.variant != "audio_video":
        config.data.word_vectors = "GoogleNews-vectors-negative300.bin"
    _epochs(config, clips // config.train.batch_size, epochs, lr, decay)


def _epochs(config, steps: int, epochs: int, lr: float, decay: float) -> None:
    """So many epochs of so many steps, after each of which the learning rate is multiplied by `decay`."""
    config.train.steps = steps * epochs
    config.optimizer.lr = lr
    config.optimizer.schedule = "constant" if decay == 1 else "exponential"
    config.optimizer.decay_rate = decay
    config.optimizer.decay_steps = steps


def _small(config) -> None:
    """A sixteenth of the numbers, two seconds of sound, and four clips of each video."""
    config.system.embedding = 256
    config.system.trunk_width = 0.25
    config.data.window_s = 2.0
    config.data.pairs_per_visit = 4
    config.train.batch_size = 32
    config.train.steps = 500
    config.train.log_every = 10
    config.train.checkpoint_every = 100
    config.train.evaluate_every = 250
    config.optimizer.lr = 1e-3
