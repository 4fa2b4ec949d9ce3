"""A small L3-Net on rendered clips: the whole way from video files to a report in minutes, on two CPU cores.

    make demo
    python -m avc_jax.main --config=configs/demo.py --workdir=runs/demo --config.data.root=runs/demo_clips

Data: 2,048 H.264+AAC files of 16 kinds of moving things with their sounds, rendered into config.data.root first. A false
pair takes its sound from any other file, one in 16 of which is of the same kind: nobody can score above 0.97.
Hardware: two CPU cores, 2 GB of memory, 120 MB of disk; about 4 minutes.
Result: held-out AVC accuracy above 0.85, chance 0.5.
"""

from avc_jax.config import default


def get_config():
    """A quarter of the width, 64-pixel frames, 16 kHz sound, and false pairs from the batch's own features."""
    config = default("l3net")
    config.system.width = 0.25
    config.system.conv1_stride = 2
    config.system.batch_norm_momentum = 0.9
    config.data.source = "rendered"
    config.data.pairing = "shared"
    config.data.pairs_per_visit = 4
    config.data.frame_short_side = 72
    config.data.frame_size = 64
    config.audio.rate_hz = 16000
    config.audio.stft_window_s = 0.016
    config.audio.stft_hop_s = 0.016
    config.optimizer.lr = 1e-3
    config.optimizer.schedule = "cosine"
    config.train.batch_size = 16
    config.train.steps = 2000
    config.train.checkpoint_every = 250
    config.train.evaluate_every = 250
    config.transfer.subclips = 2  # of three seconds
    config.transfer.cost = 3e-4
    return config
