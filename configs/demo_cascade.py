"""From English to another language: the AVLnet of configs/demo_avlnet.py goes on with few clips that are narrated in Japanese.

    make demo_cascade
    python -m avc_jax.data.narrated --root=runs/narrated_ja --language=ja --clips=1200 --seed=1
    python -m avc_jax.features --videos=runs/narrated_ja --manifest=manifest.csv --out=runs/features_ja \
      --random_weights=0 --streams=2d --depth_2d=18 --width=0.5 --spectrograms
    python -m avc_jax.main --config=configs/demo_cascade.py --workdir=runs/demo_cascade --config.data.root=runs/features_ja

Everything is loaded and everything trains, with a fresh optimizer, as in the paper (arXiv:2111.04823), whose code also holds the
running statistics of English still (--config.system.batch_norm=running). The same command with --config.init.checkpoint= and
another workdir trains on Japanese alone, in the same number of steps. The column untrained of the first is the English network
asked in Japanese, without a step. Hindi: --language=hi. The features have to be of the same
network: the same seed after --random_weights.
Data: 1,000 clips to train on and 200 held out, of scenes that the English run did not see either.
Hardware: two CPU cores.
Result: what was learned in English is worth several times the recall of Japanese alone; benchmarks/RESULTS.md has the figures.
"""

from avc_jax.config import default


def get_config():
    """The network and data of configs/demo_avlnet.py, from its last checkpoint."""
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
    config.init.checkpoint = "runs/demo_avlnet"
    config.optimizer.lr = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.weight_decay = 0.0
    config.train.batch_size = 128
    config.train.steps = 200
    config.train.checkpoint_every = 100
    config.train.evaluate_every = 100
    config.evaluators.retrieval = "every"
    for name in ("avc", "transfer", "probe"):  # they ask what an AVLnet does not answer
        config.evaluators[name] = "off"
    return config
