"""MSR-VTT: clips of all kinds of videos, each with captions, as AVLnet's pickles of features hold them (arXiv:2006.09199)."""

VARIANTS = {
    "7k": "The split with 7,000 clips for training, with which AVLnet's results are reported.",
    "9k": "The split 1k-A, with 9,000 clips for training; the clips for testing are the same.",
}
LISTS: dict[str, tuple[str, ...]] = {
    "7k": ("msrvtt_train.pkl", "msrvtt_jsfusion_test.pkl"),
    "9k": ("msrvtt_1k-A_train.pkl", "msrvtt_jsfusion_test.pkl"),
}
SETTINGS = {"source": "clip_pickles", "sound": "spectrogram", "evaluate_split": "test"}
