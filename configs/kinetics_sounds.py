"""L3-Net on Kinetics-Sounds: 34 classes of Kinetics that are heard as well as seen (arXiv:1705.08168).

    python -m avc_jax.main --config=configs/kinetics_sounds.py --workdir=runs/ks --config.data.root=/data/kinetics_sounds \\
        --config.data.manifest=manifest.csv

Data: 19,000 10 s clips, 15,000 for training; the manifest gives path, split (train, validation, test) and label, one of
CLASSES. Some of the 34 names are older than the released Kinetics-400 vocabulary, so fewer classes may match today.
Hardware: as configs/flickr.py. The paper does not give the length of this run; ours visits each clip as often as there.
Result in the paper: held-out AVC accuracy 0.74. This file has not been run to its end by us.
"""

from avc_jax.config import default

CLASSES = (
    "blowing nose", "bowling", "chopping wood", "ripping paper", "shuffling cards", "singing", "tapping pen", "typing",
    "blowing out", "dribbling ball", "laughing", "mowing the lawn by pushing lawnmower", "shoveling snow", "stomping",
    "tap dancing", "tapping guitar", "tickling", "fingerpicking", "patting", "playing accordion", "playing bagpipes",
    "playing bass guitar", "playing clarinet", "playing drums", "playing guitar", "playing harmonica", "playing keyboard",
    "playing organ", "playing piano", "playing saxophone", "playing trombone", "playing trumpet", "playing violin",
    "playing xylophone",
)  # fmt: skip


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
