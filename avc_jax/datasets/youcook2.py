"""YouCook2: captioned clips of cooking videos, as AVLnet's pickles of features hold them (arXiv:2006.09199)."""

VARIANTS = {
    "youcook2": "The clips for training and those for validation, on which results are reported.",
    "sounds241": "For validation 241 clips in which speech recognition found no speech.",
    "speech241": "For validation 241 clips with at least a word of speech.",
}
LISTS: dict[str, tuple[str, ...]] = {
    "youcook2": ("youcook_train_audio.pkl", "youcook_val_audio.pkl"),
    "sounds241": ("youcook_train_audio.pkl", "youcook_val_sounds241.pkl"),
    "speech241": ("youcook_train_audio.pkl", "youcook_val_speech241.pkl"),
}
SETTINGS = {"source": "clip_pickles", "sound": "spectrogram", "evaluate_split": "validation"}
