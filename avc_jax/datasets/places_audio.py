"""Places Audio Captions: people describe pictures of places in English, Hindi or Japanese (arXiv:1804.01452)."""

_ENGLISH = "PlacesAudio_400k_distro/metadata"
VARIANTS = {
    "english": "PlacesAudio_400k, with its lists for training and validation.",
    "english_2020_seen": "PlacesAudio_400k, with the lists of 2020, of speakers that training hears.",
    "english_2020_unseen": "PlacesAudio_400k, with the lists of 2020, of speakers that training does not hear.",
    "hindi": "PlacesHindi100k.",
    "japanese": "PlacesAudioJpn_100k.",
}
LISTS: dict[str, tuple[str, ...]] = {
    "english": (f"{_ENGLISH}/train.json", f"{_ENGLISH}/val.json"),
    "english_2020_seen": tuple(f"{_ENGLISH}/{part}_2020.json" for part in ("train", "dev_seen", "test_seen")),
    "english_2020_unseen": tuple(f"{_ENGLISH}/{part}_2020.json" for part in ("train", "dev_unseen", "test_unseen")),
    "hindi": tuple(f"PlacesHindi100k/PlacesHindi100k_{split}.json" for split in ("train", "dev", "test")),
    "japanese": tuple(f"PlacesAudioJpn_100k/PlacesAudioJpn_100k_image2audio_{split}.txt" for split in ("train", "valid")),
}
SETTINGS = {"source": "spoken_captions", "evaluate_split": "validation"}
