"""L3-Net on Kinetics-Sounds: 34 classes of Kinetics that are heard as well as seen (arXiv:1705.08168).

    python -m avc_jax.datasets --name=kinetics_sounds --root=/data/kinetics_sounds --out=/data/kinetics_sounds/manifest.csv
    python -m avc_jax.main --config=configs/kinetics_sounds.py --workdir=runs/ks --config.data.root=/data/kinetics_sounds \\
        --config.data.manifest=manifest.csv

Data: 19,000 10 s clips, 15,000 for training (docs/datasets/kinetics_sounds.md); the manifest gives path, split (train,
validation, test) and label. Of the 34 classes (avc_jax/datasets/kinetics_sounds.py) 31 are in the released Kinetics-400.
Hardware: as configs/flickr.py. The paper does not give the length of this run; ours visits each clip as often as there.
Result in the paper: held-out AVC accuracy 0.74. This file has not been run to its end by us.
"""

from avc_jax.config import default


def get_config():
    """The recipe of configs/flickr.py, with the splits of the manifest and 150 pairs per clip."""
    config = default("l3net")
    config.data.manifest = "manifest.csv"
    config.data.evaluate_split = "test"
    config.system.batch_norm_group = 16
    config.train.batch_size = 256
    config.train.steps = 15_000 * 150 // 256
    config.optimizer.lr = 1e-4
    config.optimizer.weight_decay = 1e-5
    return config
