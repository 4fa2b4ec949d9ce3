"""A small AVLnet on clips that speak: rendering, narration, features, training and retrieval in minutes, on two CPU cores.

    make demo_avlnet
    python -m avc_jax.data.narrated --root=runs/narrated_en --language=en
    python -m avc_jax.features --videos=runs/narrated_en --manifest=manifest.csv --out=runs/features_en \\
      --random_weights=0 --streams=2d --depth_2d=18 --width=0.5 --spectrograms
    python -m avc_jax.main --config=configs/demo_avlnet.py --workdir=runs/demo_avlnet --config.data.root=runs/features_en

Data: 2,880 clips of a moving shape, whose colour, shape, size, motion and ground a voice of espeak-ng names (or words made of
tones, where it is not installed). The 480 held-out clips show scenes that training never shows, each another one.
The visual features are of a small ResNet with random weights, as ImageNet's cannot be shipped: they tell colours, sizes and
grounds well, motions and shapes less so.
Hardware: two CPU cores.
Result: the clip that a voice speaks of is found among 480 (chance 0.21 %); benchmarks/RESULTS.md has the figures.

The variant `cascade` goes on with few clips that are narrated in another language:

    make demo_cascade
    python -m avc_jax.data.narrated --root=runs/narrated_ja --language=ja --clips=1200 --seed=1
    python -m avc_jax.features --videos=runs/narrated_ja --manifest=manifest.csv --out=runs/features_ja \\
      --random_weights=0 --streams=2d --depth_2d=18 --width=0.5 --spectrograms
    python -m avc_jax.main --config=configs/demo_avlnet.py:cascade --workdir=runs/demo_cascade --config.data.root=runs/features_ja

Everything is loaded and everything trains, with a fresh optimizer, as in the paper (arXiv:2111.04823); the same command with
--config.train.init_from= and another workdir trains on Japanese alone, in the same number of steps. The column untrained of the
first is the English network asked in Japanese, without a step. Hindi: --language=hi. The features have to be of the same
network: the same seed after --random_weights.
Data: 1,000 clips to train on and 200 held out, of scenes that the English run did not see either.
"""

from avc_jax.config import default

VARIANTS = ("cascade",)


def get_config(variant: str = ""):
    """An eighth of the trunk's width, 3.2 s of sound, batches of 128 clips; with `cascade`, from its last checkpoint."""
    if variant not in ("", *VARIANTS):
        raise ValueError(f"found variant {variant!r}, expected none or {', '.join(VARIANTS)}")
    config = default("avlnet")
    config.system.embedding = 256
    config.system.trunk_width = 0.125
    config.system.video_width = 256
    config.data.source = "features"
    config.data.sound = "spectrogram"
    config.data.streams = "2d"
    config.data.clip_choice = "whole"
    config.data.manifest = "manifest.csv"
    config.data.window_s = 3.2
    config.optimizer.lr = 3e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.weight_decay = 0.0
    config.train.batch_size = 128
    config.train.steps = 1000
    config.train.checkpoint_every = 250
    config.train.evaluate_every = 250
    config.evaluators.retrieval = "every"
    for name in ("avc", "transfer", "probe"):  # they ask what an AVLnet does not answer
        config.evaluators[name] = "off"
    if variant == "cascade":
        config.train.init_from = "runs/demo_avlnet"
        config.optimizer.lr = 1e-3
        config.train.steps = 200
        config.train.checkpoint_every = config.train.evaluate_every = 100
    return config
