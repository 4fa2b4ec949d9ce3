"""YouCook-Japanese: clips of Japanese cooking videos, as pickles of features (arXiv:2111.04823)."""

VARIANTS = {
    "youcook_japanese": "The clips for training, for validation, and for the evaluation that is reported.",
}
LISTS: dict[str, tuple[str, ...]] = {
    "youcook_japanese": tuple(f"youcook_japanese_{split}.pkl" for split in ("train", "val", "eval")),
}
SETTINGS = {"source": "clip_pickles", "sound": "spectrogram", "evaluate_split": "eval"}
