"""CrossTask: steps cut out of videos of tasks (arXiv:1903.08225), as AVLnet's pickles of features hold them."""

VARIANTS = {
    "clips": "The clips for training and those for validation, on which results are reported.",
}
LISTS: dict[str, tuple[str, ...]] = {
    "clips": ("crosstask_clips_train.pkl", "crosstask_clips_val.pkl"),
}
SETTINGS = {"source": "clip_pickles", "sound": "spectrogram", "evaluate_split": "validation"}
