"""L3-Net on Flickr-SoundNet, as in "Look, Listen and Learn" (arXiv:1705.08168).

    python -m avc_jax.main --config=configs/flickr.py --workdir=runs/flickr --config.data.root=/data/flickr

Data: the first 10 s of 500,000 videos, 400,000 for training (docs/datasets/flickr_soundnet.md; its manifest is given by
--config.data.manifest=manifest.csv). Any other folder of videos with sound will do.
Hardware: the paper used 16 GPUs for 2 days. The whole run costs 7.4e18 FLOP at stride 1, a quarter of it at stride 2.
Result in the paper: held-out AVC accuracy 0.78. This file has not been run to its end by us.

On a laptop, with everything small:

    python -m avc_jax.main --config=configs/flickr.py:tiny --workdir=runs/tiny --config.data.root=VIDEOS
"""

from avc_jax.config import default


def get_config(variant: str = ""):
    """The paper's run; variant `tiny` is the same in small, for a laptop."""
    config = default("l3net")
    config.system.batch_norm_group = 16
    config.train.batch_size = 256
    config.train.steps = 234_375  # 60 million pairs
    config.optimizer.lr = 1e-4
    config.optimizer.weight_decay = 1e-5
    if variant == "tiny":
        config.system.width = 0.125
        config.system.conv1_stride = 2
        config.system.batch_norm_group = 0
        config.system.batch_norm_momentum = 0.9
        config.data.frame_short_side = 72
        config.data.frame_size = 64
        config.data.pairs_per_visit = 4
        config.audio.rate_hz = 16000
        config.train.batch_size = 16
        config.train.steps = 200
        config.train.log_every = 10
        config.train.checkpoint_every = 100
        config.optimizer.lr = 1e-3
    elif variant:
        raise ValueError(f"found variant {variant!r}, expected tiny or nothing")
    return config
