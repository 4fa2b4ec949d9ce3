"""Spoken ObjectNet-50k: spoken descriptions of pictures with controlled backgrounds and views (arXiv:2110.07575)."""

VARIANTS = {
    "spoken_objectnet_50k": "The captions for training, validation and testing.",
}
LISTS: dict[str, tuple[str, ...]] = {
    "spoken_objectnet_50k": tuple(f"Spoken-ObjectNet-50k/metadata/SON-{split}.json" for split in ("train", "val", "test")),
}
SETTINGS = {"source": "spoken_captions", "evaluate_split": "validation"}
